"""Reports the progress of work to a Headway service, in one line.

    import headway

    for row in headway.track(rows, name="Nightly import"):
        store(row)

    with headway.job("Export", total=1200) as job:
        for page in pages:
            write(page)
            job.advance(len(page))

Nothing that goes wrong with Headway is raised into the work, holds it up, or keeps the process
alive. The address is HEADWAY_URL and the token HEADWAY_TOKEN, or those of `configure`.
"""

from typing import Any, Optional

from ._http import HeadwayError, RefusedError, UnavailableError
from ._job import Job
from ._stop import Stopped
from ._track import Item, Trackable, Tracked
from ._version import VERSION
from ._worker import Worker, configure, default_worker

__version__ = VERSION

__all__ = [
    "HeadwayError",
    "Job",
    "RefusedError",
    "Stopped",
    "Tracked",
    "UnavailableError",
    "Worker",
    "attach",
    "configure",
    "default_worker",
    "job",
    "track",
]


def job(name: Optional[str] = None, *, total: Optional[int] = None, **options: Any) -> Job:
    """Makes a job: `with headway.job("Import", total=500) as job: …`. Takes the options of
    `Worker.job`."""
    return default_worker().job(name, total=total, **options)


def attach(job_id: str, *, worker_id: Optional[str] = None, attempt: Optional[int] = None) -> Job:
    """Works on a job, or a partition, that was made elsewhere."""
    return default_worker().attach(job_id, worker_id=worker_id, attempt=attempt)


def track(
    items: "Trackable[Item]",
    name: Optional[str] = None,
    *,
    total: Optional[int] = None,
    **options: Any,
) -> "Tracked[Item]":
    """Makes a job of a loop: `for row in headway.track(rows, name="Import"): …`, or `async for`.
    Takes the options of `Worker.job`."""
    return default_worker().track(items, name, total=total, **options)
