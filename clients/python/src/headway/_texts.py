"""Texts and values in the form that the service takes, so that no report is refused for them."""

import math
import re
import traceback
from typing import Any, Optional

# The service's limits (docs/operate/limits.md), in code points.
MESSAGE = 500
ERROR_MESSAGE = 2_000
ERROR_STACK = 10_000
NAME = 255
JOB_TYPE = 100
STAGE = 100
UNIT = 30
WORKER_ID = 200
DESCRIPTION = 1_000

# The service refuses JSON that is nested deeper than 32, within the object around a value.
_MAX_DEPTH = 30
_MAX_SAFE_INTEGER = 2**53 - 1

# The rest of a longer text is ignored.
_MAX_LOOKED_AT = 10_000

# The rule for texts within a line is that of src/contract/shown-text.ts, with the same lists.
_CONTROLS = "\\x00-\\x1f\\x7f-\\x9f"
_HIDDEN = (
    _CONTROLS + "\ud800-\udfff\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f"
    "\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
_SPACE = "\\t-\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_BLANK = _SPACE + "\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_SELECTORS = "\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_JOINERS = "\u200c\u200d"
_TAGS = "\U000e0020-\U000e007f"
_JOINABLE = f"[^\\x00-\\x7f{_HIDDEN}{_BLANK}{_JOINERS}{_TAGS}]"
_BREAKS = re.compile(f"[{_CONTROLS}\u2028\u2029]+")
_UNSHOWN = re.compile(
    f"[{_HIDDEN}]|(?<!{_JOINABLE})[{_JOINERS}]|(?<![\U0001f3f4{_TAGS}])[{_TAGS}]+"
)
_VISIBLE = re.compile(f"[^{_HIDDEN}{_BLANK}{_SELECTORS}{_JOINERS}{_TAGS}]")
_ENDS = re.compile(f"^[{_SPACE}]+|[{_SPACE}]+$")
_UNSTORABLE = re.compile("[\\x00\ud800-\udfff]")


def _shown(text: str) -> str:
    shown = _ENDS.sub("", _UNSHOWN.sub("", _BREAKS.sub(" ", text)))
    return shown if _VISIBLE.search(shown) else ""


def fit_shown(given: object, limit: int) -> str:
    """A text as the service takes it for a name; empty if it has no visible character."""
    text = given[:_MAX_LOOKED_AT] if isinstance(given, str) else ""
    return _shown(_shown(text)[:limit])


def fit(given: object, limit: int) -> str:
    """A text as the service stores it; any other value is an empty text."""
    return _UNSTORABLE.sub("\ufffd", given[:limit]) if isinstance(given, str) else ""


def as_text(value: object) -> str:
    """`str(value)`, or an empty text if that fails: values of the work may be of any kind."""
    try:
        return str(value)
    except Exception:
        return ""


def as_number(value: object) -> Optional[float]:
    """A finite number, of a driver's Decimal, NumPy or text too; None for everything else."""
    try:
        if isinstance(value, int):
            return int(value)
        number = float(value)  # type: ignore[arg-type]
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() else number
    except Exception:
        return None


def error_fields(error: object, stack: Optional[str] = None) -> "dict[str, str]":
    """The error of the work as the service stores it. A text is a message without a stack."""
    if isinstance(error, SystemExit):
        text = _exit_sentence(error.code)
    elif isinstance(error, KeyboardInterrupt):
        text = "The process was interrupted (KeyboardInterrupt)."
    elif isinstance(error, BaseException):
        text = as_text(error) or type(error).__name__
    else:
        text = as_text(error)
    fields = {"errorMessage": fit(text, ERROR_MESSAGE) or "The work failed, and did not say why."}
    if stack is None and isinstance(error, BaseException) and not isinstance(error, SystemExit):
        stack = _stack_of(error)
    if stack:
        # A stack in Python has its error in the last line.
        fields["errorStack"] = fit(stack[-ERROR_STACK:], ERROR_STACK)
    return fields


def _exit_sentence(code: object) -> str:
    if isinstance(code, str):
        return code
    return f"The process ended with code {code or 0} before the job had ended."


def _stack_of(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        return ""


def plain(value: Any, depth: int = 0) -> Any:
    """A value of the work as JSON can write it, and the service takes it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_SAFE_INTEGER else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth >= _MAX_DEPTH:
        return fit(as_text(value), MESSAGE)
    if isinstance(value, dict):
        return {plain(as_text(key)): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, depth + 1) for each in value]
    for name in ("item", "isoformat"):
        # Numbers of NumPy and PyTorch, and times.
        method = getattr(value, name, None)
        if callable(method):
            try:
                return plain(method(), depth + 1)
            except Exception:
                continue
    return fit(as_text(value), MESSAGE)


def as_object(value: object) -> "Optional[dict[str, Any]]":
    """A value as a JSON object; None if it is no mapping, or cannot be read."""
    if not isinstance(value, dict):
        return None
    try:
        return {plain(as_text(key)): plain(each, 1) for key, each in value.items()}
    except Exception:
        return None
