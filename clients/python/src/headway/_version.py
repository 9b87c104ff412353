"""The version, for `pyproject.toml` and for what the service sees."""

VERSION = "0.2.0"
