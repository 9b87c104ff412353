"""The entrance: jobs, loops and settings of one service."""

import logging
import os
import sys
import threading
import weakref
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar, Union

from . import _texts
from ._death import DeathWatch
from ._http import Client, HeadwayError, TokenSource, settings_of
from ._job import Job, is_in_event_loop, job_of_context
from ._opening import attaching, creation_of, creating
from ._outage import SLOW, Outage, patience_after
from ._sender import Sender
from ._texts import as_number, fit_shown
from ._track import Trackable, Tracked, size_of

Item = TypeVar("Item")
Stage = Union[str, "tuple[str, float]", Mapping[str, Any]]

_log = logging.getLogger("headway")


def _warn(problem: HeadwayError) -> None:
    _log.warning("%s The work goes on.", problem)


def program_name() -> str:
    """The name of the program, for jobs that name no type."""
    path = sys.argv[0] if getattr(sys, "argv", None) else ""
    name = os.path.splitext(os.path.basename(path))[0]
    if name == "__main__":  # python -m package
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
    return name if name not in ("", "-c", "-m") else "script"


class Service:
    """What the jobs of one worker share: the connection to the service, and how long they wait
    for it."""

    def __init__(
        self,
        client: Client,
        on_problem: Callable[[HeadwayError], None],
        patience_seconds: Optional[float],
        death_watch: Optional[DeathWatch],
    ) -> None:
        self.client = client
        self.outage = Outage(on_problem)
        self.sender = Sender(client, self.outage)
        self._patience = patience_seconds
        self.slow = SLOW if patience_seconds is None else 0.0
        self._death_watch = death_watch
        self._jobs: "weakref.WeakSet[Job]" = weakref.WeakSet()

    def patience_after(self, worked: float) -> float:
        return patience_after(worked) if self._patience is None else self._patience

    def add(self, job: Job) -> None:
        if self._death_watch is not None:
            self._death_watch.add(self.sender, self.client)
        self._jobs.add(job)
        self.sender.add(job._reporter)

    def unfinished_jobs(self) -> "list[Job]":
        return [job for job in list(self._jobs) if not job.has_ended]

    def forget_parent(self) -> None:
        """After a fork."""
        for job in list(self._jobs):
            job.disown()
        self._jobs = weakref.WeakSet()
        self.sender.forget_parent()


class Worker:
    """Reports jobs to one service.

    `url` and `token` are HEADWAY_URL and HEADWAY_TOKEN where they are not given; `token` may be a
    function that is called before each call. `on_problem` is called with what goes wrong, each
    kind once; by default it is a warning of the logger `headway`. `patience_seconds` is how long
    the end of a job waits for a service that is away: by default a tenth of the time that the job
    has taken, at least 1 and at most 30, and at least 10 while the service is slow. With
    `watch_death=False` the jobs of a process that dies stay as they are.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        token: Optional[TokenSource] = None,
        *,
        on_problem: Callable[[HeadwayError], None] = _warn,
        patience_seconds: Optional[float] = None,
        watch_death: bool = True,
    ) -> None:
        self._service = Service(
            Client(*settings_of(url, token)),
            on_problem,
            patience_seconds,
            _process.death_watch if watch_death else None,
        )
        _process.services.add(self._service)
        if watch_death:
            # Only the main thread can, and jobs may be begun by others.
            _process.death_watch.listen_to_signals()

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._service.client.url

    def job(
        self,
        name: Optional[str] = None,
        *,
        total: Optional[int] = None,
        job_type: Optional[str] = None,
        unit: Optional[str] = None,
        description: Optional[str] = None,
        stages: "Optional[Sequence[Stage]]" = None,
        meta: "Optional[Mapping[str, Any]]" = None,
        cancellable: Optional[bool] = None,
        parent_job_id: Optional[str] = None,
        partition_index: Optional[int] = None,
        priority: Optional[int] = None,
        heartbeat_timeout_seconds: Optional[int] = None,
        pending_timeout_seconds: Optional[int] = None,
        finish_by: Optional[str] = None,
        finish_within_seconds: Optional[int] = None,
        worker_id: Optional[str] = None,
        idempotency_key: Optional[str] = None,
        restart: bool = False,
    ) -> Job:
        """Makes a job. Use it as a context manager, or end it by `complete` or `fail`.

        The work does not wait for a service that cannot be reached, and waits at most a second for
        one that does not answer: the job is then made as soon as possible. Jobs are cancellable
        unless you say `cancellable=False`; a partition has that of its batch. The same
        `idempotency_key` is the same job, also after a restart of the program: one that has failed
        begins its next attempt, and with `restart` one that runs or was cancelled does, too.
        """
        fields = {name: value for name, value in locals().items() if name in _OPTION_FIELDS}
        return _begun(self._make(fields, worker_id, idempotency_key, restart))

    def attach(
        self, job_id: str, *, worker_id: Optional[str] = None, attempt: Optional[int] = None
    ) -> Job:
        """Works on a job, or a partition, that was made elsewhere."""
        named = fit_shown(worker_id, _texts.WORKER_ID) or None
        return _begun(Job(self._service, attaching(job_id, attempt, named), worker_id=named))

    def track(
        self, items: "Trackable[Item]", name: Optional[str] = None, **options: Any
    ) -> "Tracked[Item]":
        """Makes a job of a loop: `for row in headway.track(rows, name="Nightly import")`, or
        `async for` over what is asynchronous. Takes the options of `job`.

        The job completes with the loop. It fails with the error of `items`, or when the loop is
        left early, unless the loop is in a `with` block: that tells a `break` from an error. When the job is cancelled, the loop raises `headway.Stopped`. Raises
        `TypeError` for `items` that cannot be iterated.
        """
        total = options.pop("total", None)
        known = size_of(items) if total is None and options.get("stages") is None else total
        worker_id = options.pop("worker_id", None)
        key = options.pop("idempotency_key", None)
        restart = options.pop("restart", False)
        unknown = set(options) - _OPTIONS
        if unknown:
            raise TypeError(f"track() got an unexpected option: {', '.join(sorted(unknown))}")
        fields = {"name": name, "total": known, **options}
        return Tracked(items, lambda: self._make(fields, worker_id, key, restart))

    def _make(
        self, fields: "Mapping[str, Any]", worker_id: Any, key: Optional[str], restart: bool
    ) -> Job:
        given = {_OPTION_FIELDS[name]: value for name, value in fields.items()}
        if given.get("cancellable") is None and given.get("parentJobId") is None:
            given["cancellable"] = True
        body = creation_of(given, program_name())
        total = as_number(body.get("totalCount"))
        return Job(
            self._service,
            creating(body, key, bool(restart)),
            total=None if total is None else int(total),
            has_stages="stages" in body,
            worker_id=fit_shown(worker_id, _texts.WORKER_ID) or None,
        )


_OPTION_FIELDS = {
    "name": "name",
    "total": "totalCount",
    "job_type": "jobType",
    "unit": "unit",
    "description": "description",
    "stages": "stages",
    "meta": "meta",
    "cancellable": "cancellable",
    "parent_job_id": "parentJobId",
    "partition_index": "partitionIndex",
    "priority": "priority",
    "heartbeat_timeout_seconds": "heartbeatTimeoutSeconds",
    "pending_timeout_seconds": "pendingTimeoutSeconds",
    "finish_by": "finishBy",
    "finish_within_seconds": "finishWithinSeconds",
}
_OPTIONS = set(_OPTION_FIELDS) - {"name", "total"}


def _begun(job: Job) -> Job:
    """The job, after the wait for its making; `async with` waits without holding up its loop."""
    return job if is_in_event_loop() else job.begin()


class _Process:
    """What belongs to this process: a child that was forked begins without jobs."""

    def __init__(self) -> None:
        self.death_watch = DeathWatch()
        self.services: "weakref.WeakSet[Service]" = weakref.WeakSet()
        self._default: Optional[Worker] = None
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.death_watch.before_fork,
                after_in_parent=self.death_watch.after_fork,
                after_in_child=self._after_fork,
            )

    def default(self) -> Worker:
        """The worker of `headway.job` and `headway.track`."""
        with self._lock:
            if self._default is None:
                self._default = Worker()
            return self._default

    def set_default(self, worker: Worker) -> None:
        with self._lock:
            self._default = worker

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        for service in list(self.services):
            service.forget_parent()
        self.death_watch.forget_parent()
        self.death_watch.after_fork()


_process = _Process()


def current_job() -> Optional[Job]:
    """The job that this thread or task has begun, or else the only one of the process."""
    job = job_of_context()
    if job is not None:
        return job
    running = [job for service in list(_process.services) for job in service.unfinished_jobs()]
    return running[0] if len(running) == 1 else None


def default_worker() -> Worker:
    """The worker of `headway.job` and `headway.track`: that of `headway.configure`, or one with
    the settings of the environment."""
    return _process.default()


def configure(
    url: Optional[str] = None, token: Optional[TokenSource] = None, **options: Any
) -> Worker:
    """Sets where `headway.job` and `headway.track` report to; takes the options of `Worker`."""
    worker = Worker(url, token, **options)
    _process.set_default(worker)
    return worker
