"""What one job of this process has told the service, and must tell it next."""

import datetime
import threading
import time
from typing import Any, Callable, Mapping, Optional, Sequence

from . import _stop
from ._http import Client, HeadwayError, RefusedError, UnavailableError, job_path
from ._progress import Progress, Taken
from ._stop import Stopped

# The most heartbeats in one request (docs/reference/api.md).
MAX_BULK = 1_000

# A bar should move about once a second, and not more often.
_SMOOTH = 1.0
# When the service asks for fewer heartbeats, reports become fewer in proportion.
_REPORTS_PER_HEARTBEAT = 5
# Used until an answer names another interval.
_DEFAULT_HEARTBEAT = 5.0
_SLOWEST_HEARTBEAT = 60.0
# A last report may be refused, then its counts. Other threads of the program may go on counting.
_LAST_REPORTS = 4
# Timers come early or late by so much.
_SLACK = 0.01
# A token may be renewed, or a right granted, but not within a second.
_UNAUTHORIZED_PAUSE = 30.0

Call = Callable[..., "dict[str, Any]"]
Connected = Callable[[], None]
Tell = Callable[[RefusedError], None]

_EPOCH = time.time() - time.monotonic()


def report_time() -> str:
    """The time of a report. It only orders reports, so it comes from a monotonic clock: if the
    wall clock is set back, the service must not take the next reports for late ones."""
    now = datetime.datetime.fromtimestamp(_EPOCH + time.monotonic(), datetime.timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Opened:
    """What a worker must know about its job."""

    def __init__(self, job_id: str, attempt: int, cancel_requested: bool, has_stages: bool) -> None:
        self.id = job_id
        self.attempt = attempt
        self.cancel_requested = cancel_requested
        self.has_stages = has_stages


class Ending:
    """How the worker ends the job. `path` is `complete`, `fail`, `cancelled`, or None: the job
    continues without this worker."""

    def __init__(self, path: Optional[str], body: "dict[str, Any]") -> None:
        self.path = path
        self.body = body


class Reporter:
    """The protocol of one job. Its calls are made by one thread at a time (`is_busy`)."""

    def __init__(
        self,
        open_job: Callable[[Call], Opened],
        progress: Progress,
        worker_id: Optional[str],
        on_stop: Callable[[Stopped], None],
    ) -> None:
        self.progress = progress
        self.opened: Optional[Opened] = None
        self.ending: Optional[Ending] = None
        # The ending of work that was left, unless somebody gives a better one within a moment.
        self.abandoned: Optional[Ending] = None
        # Set when the job has been made, or the work need not wait for that.
        self.begun = threading.Event()
        # Set when nothing more is sent for the job.
        self.over = threading.Event()
        # Whether the service knows how this worker ended the job.
        self.is_heard = False
        self.is_busy = False
        self.failures = 0
        self.retry_at = 0.0
        # When the service last answered for good, and when the last report was sent.
        self.answered_at = 0.0
        self.sent_at = 0.0
        self.report_seconds = _SMOOTH
        self._heartbeat_seconds = _DEFAULT_HEARTBEAT
        self._has_reported = False
        # The service has the last report on disk.
        self._is_written = False
        self._open_job = open_job
        self._worker_id = worker_id
        self._on_stop = on_stop
        self._stopped: Optional[Stopped] = None

    @property
    def is_ending(self) -> bool:
        return self.ending is not None or self.abandoned is not None

    @property
    def is_over(self) -> bool:
        return self.over.is_set()

    def is_due(self, now: float) -> bool:
        """Whether a report should be sent: there is something new, or a heartbeat is due."""
        if self.is_busy or self.is_ending or now < self.retry_at:
            return False
        is_news = self.progress.is_dirty or not self._has_reported
        wait = self.report_seconds if is_news else self._heartbeat_seconds
        return now >= self.sent_at + wait - _SLACK

    def open(self, client: Client, connected: Connected) -> None:
        """Makes or finds the job."""
        self.opened = self._open_job(_caller(client, connected))
        if self.opened.has_stages:
            self.progress.has_stages = True
        if self.opened.cancel_requested:
            self._stop_work(Stopped(_stop.CANCEL_REQUESTED))
        self.failures = 0
        self.retry_at = 0.0

    def end(self, client: Client, connected: Connected, tell: Tell) -> None:
        """Sends the last report, and then the end, so that the job ends with its final counts.
        `tell` is called with refusals of details, which are left out then."""
        assert self.ending is not None
        for _ in range(_LAST_REPORTS):
            if not self.progress.is_dirty and self._has_reported:
                break
            self._send_last_report(client, connected, tell)
        call = _caller(client, connected)
        if self.ending.path is not None:
            self._send_ending(call, self.ending, tell)
        if not self.is_over:
            self._finish(is_heard=True)

    def _send_last_report(self, client: Client, connected: Connected, tell: Tell) -> None:
        (error,) = send_reports(client, [self], connected)
        if isinstance(error, _DroppedError):
            tell(error)
        elif error is not None:
            raise error
        elif not self._is_written:
            raise UnavailableError("The service keeps reports in memory: its database is away.")

    def _send_ending(self, call: Call, ending: Ending, tell: Tell) -> None:
        path = f"{self._path}/{ending.path}"
        attempt = {"attempt": self._known.attempt}
        try:
            call(path, {**ending.body, **attempt})
        except RefusedError as error:
            if _is_final(error) or error.is_unauthorized:
                raise
            tell(error)
            # An end without details is better than none: a job without further heartbeats looks
            # as if its worker had died.
            if ending.path == "complete" and ending.body:
                call(path, attempt)
            elif ending.path == "fail" and "errorStack" in ending.body:
                call(path, {"errorMessage": ending.body["errorMessage"], **attempt})
            elif ending.path == "cancelled":
                message = "The worker stopped before the end."
                call(f"{self._path}/fail", {"errorMessage": message, **attempt})
            else:
                self._finish(is_heard=False)

    @property
    def _known(self) -> Opened:
        assert self.opened is not None
        return self.opened

    @property
    def _path(self) -> str:
        return job_path(self._known.id)

    def take(self, at: str) -> "tuple[Taken, dict[str, Any]]":
        """The next report."""
        self.sent_at = time.monotonic()
        taken = self.progress.take()
        body = {**taken.body, "attempt": self._known.attempt, "reportedAt": at}
        if self._worker_id is not None:
            body["workerId"] = self._worker_id
        return taken, body

    def took(self, taken: Taken, result: "dict[str, Any] | HeadwayError") -> Optional[HeadwayError]:
        """What the service has said about a report; returns the refusal."""
        if isinstance(result, HeadwayError):
            return self._not_taken(taken, result)
        self._is_written = result.get("durable") is True
        if self._is_written:
            self._has_reported = True
            self.answered_at = time.monotonic()
        else:
            self.progress.restore(taken)
        self._follow(result.get("heartbeatIntervalMs"))
        if result.get("cancelRequested") is True:
            self._stop_work(Stopped(_stop.CANCEL_REQUESTED))
        return None

    def _not_taken(self, taken: Taken, error: HeadwayError) -> HeadwayError:
        if not isinstance(error, RefusedError) or _is_final(error) or error.is_unauthorized:
            self.progress.restore(taken)
        elif self.progress.drop(taken):
            # The service refuses a field. The next report leaves the fields out, so that the job
            # at least has heartbeats.
            return _DroppedError(error)
        return error

    def _follow(self, heartbeat_interval_ms: object) -> None:
        if not isinstance(heartbeat_interval_ms, (int, float)) or heartbeat_interval_ms <= 0:
            return
        self._heartbeat_seconds = min(heartbeat_interval_ms / 1000, _SLOWEST_HEARTBEAT)
        slower = self._heartbeat_seconds / _REPORTS_PER_HEARTBEAT
        self.report_seconds = min(self._heartbeat_seconds, max(_SMOOTH, slower))

    def refused(self, error: RefusedError) -> bool:
        """The service has refused a call. Returns whether the program should be told."""
        self.answered_at = time.monotonic()
        self.begun.set()
        if isinstance(error, _DroppedError):
            return True
        if _stop.is_stop_code(error.code):
            self._stop_work(Stopped(error.code, error.job_status))
            self._finish(is_heard=False)
            return False
        if error.is_unauthorized and self.ending is None:
            self.retry_at = time.monotonic() + _UNAUTHORIZED_PAUSE
        else:
            self._finish(is_heard=False)
        return True

    def _finish(self, is_heard: bool) -> None:
        self.is_heard = is_heard
        self.begun.set()
        self.over.set()

    @property
    def _is_cancel_requested(self) -> bool:
        return self._stopped is not None and self._stopped.code == _stop.CANCEL_REQUESTED

    def _stop_work(self, reason: Stopped) -> None:
        if self._stopped is None:
            self._stopped = reason
            self._on_stop(reason)

    def last_words(self, death: "Death", at: str) -> "list[tuple[str, dict[str, Any]]]":
        """What must still be sent for this job when its process dies."""
        if self.opened is None or self.is_over:
            return []
        ending = self.ending
        if ending is None and death.is_signal and self._is_cancel_requested:
            ending = Ending("cancelled", {})  # Whoever asked for the end has brought it about.
        if ending is None:
            ending = death.ending if death.is_reason else self.abandoned or death.ending
        words = [(f"{self._path}/heartbeat", self.take(at)[1])]
        if ending.path is not None:
            body = {**ending.body, "attempt": self._known.attempt}
            words.append((f"{self._path}/{ending.path}", body))
        return words


class Death:
    """How the process dies. `is_reason`: that explains why the work was left."""

    def __init__(self, ending: Ending, is_reason: bool, is_signal: bool = False) -> None:
        self.ending = ending
        self.is_reason = is_reason
        self.is_signal = is_signal


class _DroppedError(RefusedError):
    """A report was refused, and the next one leaves its details out."""

    def __init__(self, error: RefusedError) -> None:
        super().__init__(error.code, error.status, str(error), error.job_status)


def _is_final(error: RefusedError) -> bool:
    return _stop.is_of_job(error.code)


def _caller(client: Client, connected: Connected) -> Call:
    def call(
        path: str, body: Mapping[str, Any], headers: Optional[Mapping[str, str]] = None
    ) -> "dict[str, Any]":
        return client.call(path, body, headers, on_connected=connected)

    return call


def send_reports(
    client: Client, reporters: "Sequence[Reporter]", connected: Connected
) -> "list[Optional[HeadwayError]]":
    """Sends a report for each of the jobs, in one request. Returns their refusals, in order.
    Raises `UnavailableError`: then all is to be sent again."""
    at = report_time()
    sent_before = [each.sent_at for each in reporters]
    taken = [each.take(at) for each in reporters]
    try:
        results = _exchange(client, reporters, [body for _, body in taken], connected)
    except BaseException:
        for each, (state, _), sent_at in zip(reporters, taken, sent_before):
            each.progress.restore(state)
            each.sent_at = sent_at  # The next try need not wait as long as a next report.
        raise
    return [each.took(state, result) for each, (state, _), result in zip(reporters, taken, results)]


def _exchange(
    client: Client,
    reporters: "Sequence[Reporter]",
    bodies: "list[dict[str, Any]]",
    connected: Connected,
) -> "list[dict[str, Any] | HeadwayError]":
    try:
        if len(reporters) == 1:
            path = f"{reporters[0]._path}/heartbeat"
            return [_checked(client.call(path, bodies[0], on_connected=connected))]
        heartbeats = [{"jobId": each._known.id, **body} for each, body in zip(reporters, bodies)]
        answer = client.call("/heartbeats", {"heartbeats": heartbeats}, on_connected=connected)
    except RefusedError as error:
        if len(reporters) == 1 or error.is_unauthorized:
            return [error] * len(reporters)
        # The request is too large for a proxy, or one job is refused for all: the halves are sent
        # by themselves, until what is refused stands alone.
        half = len(reporters) // 2
        return [
            *_exchange(client, reporters[:half], bodies[:half], connected),
            *_exchange(client, reporters[half:], bodies[half:], connected),
        ]
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(reporters):
        raise UnavailableError("The answer to heartbeats does not come from Headway.")
    return [_result(each) for each in results]


def _checked(answer: "dict[str, Any]") -> "dict[str, Any]":
    if not isinstance(answer.get("durable"), bool):
        raise UnavailableError("The answer to a heartbeat does not come from Headway.")
    return answer


# Refusals of one heartbeat among several that say nothing about its contents.
_PASSING = ("overloaded", "rate_limited", "too_much_in_flight", "database_unavailable")


def _result(result: object) -> "dict[str, Any] | HeadwayError":
    if not isinstance(result, dict):
        raise UnavailableError("The answer to heartbeats does not come from Headway.")
    code = result.get("code")
    if not isinstance(code, str):
        return _checked(result)
    detail = result.get("detail")
    sentence = detail if isinstance(detail, str) else code
    if code in _PASSING:
        return UnavailableError(sentence)
    job_status = result.get("jobStatus")
    return RefusedError(code, 422, sentence, job_status if isinstance(job_status, str) else None)
