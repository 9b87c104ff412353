"""Why the work of a job should stop."""

from typing import Optional

CANCEL_REQUESTED = "cancel_requested"
ALREADY_FINISHED = "already_finished"
SUPERSEDED = "superseded"

_SENTENCES = {
    CANCEL_REQUESTED: "The job was cancelled.",
    ALREADY_FINISHED: "The job has ended without this worker.",
    SUPERSEDED: "The job was retried, and another attempt is under way.",
}


class Stopped(Exception):
    """Raised in the work of a job that should stop.

    `code` is `cancel_requested` (somebody asked for it), `already_finished` (the job has ended
    without this worker; `job_status` is its status) or `superseded` (the job was retried, and
    another worker has it now).
    """

    def __init__(self, code: str, job_status: Optional[str] = None) -> None:
        sentence = _SENTENCES[code]
        super().__init__(sentence if job_status is None else f"{sentence} It is {job_status}.")
        self.code = code
        self.job_status = job_status

    def __reduce__(self) -> "tuple[type[Stopped], tuple[str, Optional[str]]]":
        # Errors of worker processes are pickled, with the arguments of the constructor.
        return (Stopped, (self.code, self.job_status))


def is_stop_code(code: str) -> bool:
    """Whether a refusal means that this worker has lost its job."""
    return code in (ALREADY_FINISHED, SUPERSEDED)


def is_of_job(code: str) -> bool:
    """Whether a refusal is about the job, and not about the contents of a report."""
    return is_stop_code(code) or code == "job_not_found"
