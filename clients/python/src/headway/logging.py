"""The last log line as the job's message: `logging.getLogger().addHandler(headway.logging.Handler())`"""

import logging
from typing import Optional

from ._job import Job
from ._worker import current_job


class Handler(logging.Handler):
    """Makes the first line of each record the message of a job: of `job`, or else of the job that
    the thread or task which logs has begun, or else of the only one of the process. A bar shows the
    newest message once a second, so records cost no request of their own."""

    def __init__(self, job: Optional[Job] = None, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._job = job

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "headway" or record.name.startswith("headway."):
            return  # What is wrong with Headway is no news of the work.
        try:
            job = self._job or current_job()
            if job is None or job.has_ended:
                return
            lines = self.format(record).splitlines()
            if lines:
                job.report(lines[0])
        except Exception:
            self.handleError(record)
