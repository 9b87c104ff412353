"""Each task of a Celery app as a job.

    app = celery.Celery("imports", broker=…)
    headway.celery.report(app)

Progress that a task gives to `update_state(meta={"current": …, "total": …})` comes along, retries
and deliveries after a crash are attempts of the same job, and a job that is cancelled in Headway
revokes its task.
"""

import sys
import threading
from typing import Any, Callable, Mapping, Optional

from celery import signals
from celery.exceptions import Ignore

from ._job import Job
from ._stop import Stopped
from ._texts import as_object, as_text
from ._worker import Worker, default_worker

# Under which keys tasks put how far they are, in their order.
_CURRENT = ("current", "done", "processed")
_MESSAGE = ("message", "status", "description")


class TaskStopped(Stopped, Ignore):  # type: ignore[misc]
    """`headway.Stopped` in a form that Celery neither retries nor takes for a result."""


class _Reports:
    """The jobs of the tasks that this process runs, by their ids."""

    def __init__(
        self,
        app: Any,
        worker: Optional[Worker],
        include: "Callable[[Any], bool]",
        options: "Callable[[Any], Mapping[str, Any]]",
        terminate: bool,
    ) -> None:
        self._app = app
        self._worker = worker
        self._include = include
        self._options = options
        self._terminate = terminate
        self._jobs: "dict[str, Job]" = {}

    def job_of(self, task_id: Optional[str]) -> Optional[Job]:
        return self._jobs.get(task_id or "")

    def begin(self, task_id: str, task: Any) -> None:
        if task.app is not self._app or not self._include(task):
            return
        worker = self._worker or default_worker()
        given = {
            "name": task.name,
            "job_type": task.name,
            "meta": {"taskId": task_id},
            # The same task is the same job; a worker that had it before has died, or lost it.
            "idempotency_key": f"celery {task_id}",
            "restart": True,
            **self._options(task),
        }
        _report_state(task, self)
        job = worker.job(**given)
        self._jobs[task_id] = job
        job.stop_as = lambda reason: self._stopped(task, task_id, reason)
        job.on_stop(lambda: self._revoke(task_id, job))

    def _revoke(self, task_id: str, job: Job) -> None:
        reason = job.stop_reason
        if reason is not None and reason.code == "cancel_requested":
            # From a thread of its own: the broker may be slow, and reports must go on.
            threading.Thread(
                target=self._app.control.revoke,
                args=[task_id],
                kwargs={"terminate": self._terminate},
                name="headway-revoke",
                daemon=True,
            ).start()

    @staticmethod
    def _stopped(task: Any, task_id: str, reason: Stopped) -> Stopped:
        if reason.code == "cancel_requested":
            task.backend.mark_as_revoked(task_id, str(reason), request=task.request)
        return TaskStopped(reason.code, reason.job_status)

    def fail(self, task_id: str, error: object) -> None:
        job = self.job_of(task_id)
        if job is not None:
            job.fail(error)

    def end(self, task_id: str, result: Any, state: Optional[str]) -> None:
        job = self._jobs.pop(task_id, None)
        if job is None or job.has_ended:
            return
        if job.stop_reason is not None and state in (None, "IGNORED", "REVOKED"):
            job.acknowledge()
        elif state is None:  # The process of the task was told to end.
            job.fail(sys.exc_info()[1] or "The task was ended.")
        elif state in ("REJECTED", "REVOKED"):
            job.fail(f"The task was {state.lower()}.")
        elif result is None or state != "SUCCESS":
            job.complete()
        else:
            job.complete(as_object(result) or {"result": result})

    def progress(self, task_id: str, meta: Any) -> Optional[Job]:
        job = self.job_of(task_id)
        if job is not None and isinstance(meta, dict):
            message = _first(meta, _MESSAGE)
            job.report(
                None if message is None else as_text(message),
                processed_count=_first(meta, _CURRENT),
                total=meta.get("total"),
                progress_percent=meta.get("percent"),
            )
        return job


def _first(meta: "Mapping[str, Any]", names: "tuple[str, ...]") -> Any:
    return next((meta[name] for name in names if meta.get(name) is not None), None)


def _report_state(task: Any, reports: _Reports) -> None:
    """Celery has no signal for the progress of a task, so its `update_state` is wrapped, once."""
    before = task.update_state
    if getattr(before, "is_of_headway", False):
        return

    def update_state(
        task_id: Optional[str] = None, state: Any = None, meta: Any = None, **more: Any
    ) -> None:
        before(task_id=task_id, state=state, meta=meta, **more)
        own = task.request.id
        job = reports.progress(task_id or own, meta)
        if job is not None and task_id in (None, own):
            job.raise_if_cancelled()

    update_state.is_of_headway = True  # type: ignore[attr-defined]
    task.update_state = update_state


def report(
    app: Any,
    *,
    worker: Optional[Worker] = None,
    include: "Callable[[Any], bool]" = lambda task: True,
    options: "Callable[[Any], Mapping[str, Any]]" = lambda task: {},
    terminate: bool = False,
) -> "Callable[[Optional[str]], Optional[Job]]":
    """Makes each task of `app` a job. Call it where the app is made, before its worker starts.

    `include` says which tasks, and `options` gives options of `Worker.job` for one, such as its
    name. A job that is cancelled in Headway revokes its task: the task stops with its next
    `update_state` or `raise_if_cancelled`. With `terminate`, its process is ended at once; that
    needs the prefork pool, and can hit the next task of the process if the cancelled one has just
    ended. Returns a function that gives the job of a task by its id.
    """
    reports = _Reports(app, worker, include, options, terminate)

    def prerun(task_id: str, task: Any, **_: Any) -> None:
        reports.begin(task_id, task)

    def failure(task_id: str, exception: object, **_: Any) -> None:
        reports.fail(task_id, exception)

    def retry(request: Any, reason: object, **_: Any) -> None:
        reports.fail(request.id, reason)

    def postrun(task_id: str, retval: Any, state: Optional[str], **_: Any) -> None:
        reports.end(task_id, retval, state)

    # Not weak: nobody else keeps these functions.
    signals.task_prerun.connect(prerun, weak=False)
    signals.task_failure.connect(failure, weak=False)
    signals.task_retry.connect(retry, weak=False)
    signals.task_postrun.connect(postrun, weak=False)
    return reports.job_of
