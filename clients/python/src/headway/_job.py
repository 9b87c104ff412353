"""A job as its worker sees it."""

import asyncio
import contextvars
import functools
import threading
import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Mapping, Optional, Type

from . import _stop, _texts
from ._outage import UnheardError
from ._progress import Progress
from ._reporter import Call, Ending, Opened, Reporter
from ._stop import Stopped
from ._texts import as_number, as_object, error_fields, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._worker import Service

# How long (s) work waits at its start for a service that does not answer.
_BEGIN = 1.0


class Cancelled(threading.Event):
    """Set when the work should stop. It remembers that the program has seen it: a block that was
    left after that has stopped because of it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_seen = False

    def is_set(self) -> bool:
        is_set = super().is_set()
        self.is_seen = self.is_seen or is_set
        return is_set

    def wait(self, timeout: Optional[float] = None) -> bool:
        is_set = super().wait(timeout)
        self.is_seen = self.is_seen or is_set
        return is_set


class Job:
    """A job of this process. No method raises anything, except `raise_if_cancelled`.

    As a context manager it completes with its block, fails with the error that leaves the block,
    and is cancelled where the block stops because somebody asked for it.
    """

    def __init__(
        self,
        service: "Service",
        open_job: "Callable[[Call], Opened]",
        total: Optional[int] = None,
        has_stages: bool = False,
        worker_id: Optional[str] = None,
    ) -> None:
        #: Set when the work should stop: somebody asked for it, or the job has ended without this
        #: worker. Look at it, wait for it, or call `raise_if_cancelled`.
        self.cancelled = Cancelled()
        self._service = service
        #: For adapters: makes the error that `raise_if_cancelled` raises.
        self.stop_as: "Callable[[Stopped], Stopped]" = _as_it_is
        self._stopped: Optional[Stopped] = None
        self._on_stop: "list[Callable[[], None]]" = []
        self._began_at = time.monotonic()
        self._is_ours = True
        outer = job_of_context()
        self._outer = None if outer is None else weakref.ref(outer)
        _current.set(self)
        self._progress = Progress(total, has_stages)
        self._reporter = Reporter(open_job, self._progress, worker_id, self._stop)
        service.add(self)

    def __repr__(self) -> str:
        return f"<headway.Job {self.id or '(not made yet)'}: {self._progress.describe()}>"

    @property
    def id(self) -> Optional[str]:
        """None until the service has made the job."""
        opened = self._reporter.opened
        return opened.id if opened is not None else None

    @property
    def attempt(self) -> Optional[int]:
        """Which attempt this is, from 1; None until the service has made the job."""
        opened = self._reporter.opened
        return opened.attempt if opened is not None else None

    @property
    def stop_reason(self) -> Optional[Stopped]:
        """Why the work should stop; None while it should not."""
        return self._stopped

    @property
    def has_ended(self) -> bool:
        """Whether this worker has ended the job, or has lost it."""
        return self._reporter.ending is not None or self._reporter.is_over or not self._is_ours

    def advance(self, count: Any = 1) -> None:
        """Adds to the count of items that are done."""
        number = count if type(count) is int else as_number(count)
        if number is not None:
            self._progress.advance(number)

    def report(
        self,
        message: Optional[str] = None,
        *,
        processed_count: Any = None,
        total: Any = None,
        progress_percent: Any = None,
        unit: Optional[str] = None,
        stage: Optional[str] = None,
        eta_seconds: Any = None,
        throughput_per_second: Any = None,
        payload: "Optional[Mapping[str, Any]]" = None,
        clear: "tuple[str, ...] | list[str]" = (),
    ) -> None:
        """Reports how far the work is; the newest state is sent within a second.

        `processed_count` is absolute. `progress_percent` only counts while no total is known. A
        new `stage` begins with a count of 0. `payload` is stored with this worker, at most 4 KB as
        JSON. `clear` names arguments whose values are removed, such as `["message"]`.
        """
        given = {
            "message": message,
            "processedCount": processed_count,
            "totalCount": total,
            "progressPercent": progress_percent,
            "unit": unit,
            "stage": stage,
            "etaSeconds": eta_seconds,
            "throughputPerSecond": throughput_per_second,
            "payload": payload,
        }
        fields = {name: value for name, value in given.items() if value is not None}
        for name in clear:
            field = _CLEARABLE.get(name)
            if field is not None:
                fields[field] = None
        try:
            self._progress.report(fields)
        except Exception:
            pass  # A value that cannot be read must not raise into the work.

    def raise_if_cancelled(self) -> None:
        """Raises `headway.Stopped` if the work should stop."""
        if self._stopped is not None:
            self.cancelled.is_seen = True
            raise self.stop_as(self._stopped)

    def complete(
        self, result: "Optional[Mapping[str, Any]]" = None, *, message: Optional[str] = None
    ) -> bool:
        """The work is done. Returns whether the service knows: as soon as it does, or when the
        patience has run out. `result` is the job's result summary, and `message` the last message
        that the job shows; without it the last reported message stays."""
        body: "dict[str, Any]" = {}
        summary = as_object(result)
        if summary is not None:
            body["resultSummary"] = summary
        if isinstance(message, str):
            body["message"] = fit(message, _texts.MESSAGE)
        return self._end(Ending("complete", body))

    def fail(self, error: object) -> bool:
        """The work could not be done. An error that results from a cancellation acknowledges the
        cancellation instead."""
        if self._is_cancel_requested and self._is_of_stop(error):
            return self.acknowledge()
        return self._end(Ending("fail", error_fields(error)))

    def acknowledge(self) -> bool:
        """The work has stopped because it was cancelled."""
        return self._end(Ending("cancelled", {}))

    def abandon(self, reason: str) -> None:
        """The work was left, and why is not known here. Nothing waits for the end of the job."""
        if self.has_ended:
            return
        cancelled = Ending("cancelled", {}) if self._is_cancel_requested else None
        self._service.sender.abandon(
            self._reporter, cancelled or Ending("fail", error_fields(reason))
        )

    def leave(self) -> bool:
        """This worker has done its part, and others continue the job: its last report is sent, and
        the job stays as it is."""
        return self._end(Ending(None, {}))

    def __enter__(self) -> "Job":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self.has_ended:
            return
        if isinstance(error, GeneratorExit):
            self.abandon("The work was left before its end.")  # Why is not known here.
        elif error is not None:
            self.fail(error)
        elif self.cancelled.is_seen and self._is_cancel_requested:
            self.acknowledge()
        else:
            self.complete()

    async def __aenter__(self) -> "Job":
        await in_thread(self.begin)
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await in_thread(functools.partial(self.__exit__, kind, error, trace))

    def begin(self) -> "Job":
        """Waits until the job has been made, is known to have to wait, or a second has passed."""
        self._service.outage.wait(self._reporter.begun, lambda: _BEGIN)
        return self

    @property
    def _is_cancel_requested(self) -> bool:
        return self._stopped is not None and self._stopped.code == _stop.CANCEL_REQUESTED

    def _is_of_stop(self, error: object) -> bool:
        """Whether an error only says that the work was told to stop."""
        seen = []
        while isinstance(error, BaseException) and error not in seen:
            if isinstance(error, (Stopped, asyncio.CancelledError)):
                return True
            seen.append(error)
            error = error.__cause__
        return False

    def _stop(self, reason: Stopped) -> None:
        self._stopped = reason
        self.cancelled.set()
        for call in list(self._on_stop):
            try:
                call()
            except Exception:
                pass  # The loop that would be told has ended.

    @property
    def progress(self) -> Progress:
        """For loops of this package, which count without a lock."""
        return self._progress

    def on_stop(self, call: "Callable[[], None]") -> "Callable[[], None]":
        """Calls a function, from another thread, when the work should stop. Returns a function
        that forgets it."""
        self._on_stop.append(call)
        if self._stopped is not None:
            call()
        return lambda: self._on_stop.remove(call) if call in self._on_stop else None

    def disown(self) -> None:
        """After a fork: the job is the parent's, and nothing is reported for it from here."""
        self._is_ours = False
        is_set = threading.Event.is_set(self.cancelled)
        self.cancelled = Cancelled()
        if is_set:
            self.cancelled.set()
        self._progress.make_locks()

    def _end(self, ending: Ending) -> bool:
        """The first ending counts: `fail` after `complete` changes nothing."""
        if not self._is_ours:
            return False
        reporter, service = self._reporter, self._service
        if reporter.ending is None:
            reporter.ending = ending
        service.sender.end(reporter)
        patience = service.patience_after(time.monotonic() - self._began_at)

        def longest() -> float:
            return max(patience, service.slow) if service.sender.is_heard else patience

        if service.outage.wait(reporter.over, longest, lambda: reporter.answered_at):
            return reporter.is_heard
        service.outage.tell(UnheardError(service.client.url))
        return False


# The job that a thread or a task has begun last.
_current: "contextvars.ContextVar[Optional[Job]]" = contextvars.ContextVar("headway", default=None)


def _as_it_is(reason: Stopped) -> Stopped:
    return reason


_CLEARABLE = {
    "message": "message",
    "total": "totalCount",
    "progress_percent": "progressPercent",
    "stage": "stage",
    "eta_seconds": "etaSeconds",
    "throughput_per_second": "throughputPerSecond",
    "payload": "payload",
}


def job_of_context() -> Optional[Job]:
    """The job that this thread or task has begun last, and that has not ended."""
    job = _current.get()
    while job is not None and job.has_ended:
        job = None if job._outer is None else job._outer()
    return job


def is_in_event_loop() -> bool:
    """Whether waiting here would hold up an event loop of asyncio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_thread(call: "Callable[[], Any]") -> None:
    """Makes a call that may wait, without holding up an event loop. In an event loop of another
    kind than asyncio's nothing waits: the job is made and ended by its thread."""
    if is_in_event_loop():
        await asyncio.get_running_loop().run_in_executor(None, call)
    else:
        threading.Thread(target=call, name="headway-wait", daemon=True).start()
