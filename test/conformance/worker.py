"""A worker with the client for Python, for run.js: it attaches to the job of the suite, and works as
long as it is asked to."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "clients/python/src"))
import headway  # noqa: E402

STEPS = 100
seconds = float(os.environ["HEADWAY_CONFORMANCE_SECONDS"])
with headway.attach(os.environ["HEADWAY_JOB_ID"]) as job:
    for step in range(STEPS):
        time.sleep(seconds / STEPS)
        job.raise_if_cancelled()
        job.advance()
