"""The thread that tells the service how far the jobs of this process are.

Words: a *step* makes or ends one job. A *round* is one report for all running jobs that have
something new, or whose heartbeat is due. One thread does both, and works for all jobs. While steps
wait behind each other (many short jobs, a service that is far away), further threads take steps.
"""

import threading
import time
from typing import Callable, Optional

from ._http import Client, RefusedError, UnavailableError, backoff
from ._outage import Outage
from ._reporter import MAX_BULK, Ending, Reporter, send_reports

# Threads that take steps besides the first one. Each is a connection.
_MAX_HELPERS = 7
# How long (s) a thread without work stays, so that a program with one job after the other has one.
_IDLE = 10.0
_HELPER_IDLE = 1.0
# How long (s) the reason why a loop was left is waited for. Nobody waits for the end meanwhile.
_GRACE = 0.5
# So many ends are kept for a service that is away; then the oldest are forgotten.
_MAX_UNHEARD = 10_000
# After so many failures in a row the program is told. A single one happens at every restart.
_NOTEWORTHY_FAILURES = 3

Task = Callable[[], None]


class Sender:
    """Sends reports and ends of the jobs of one process to one service. It never raises into the
    work, and its threads keep no process alive."""

    def __init__(self, client: Client, outage: Outage) -> None:
        self._client = client
        self._outage = outage
        self._running: "dict[Reporter, None]" = {}
        self._steps: "dict[Reporter, None]" = {}
        self._look_at = 0.0
        # No call before this time; set by failures. `_is_told_when`: the service has named it.
        self._gate_at = 0.0
        self._is_told_when = False
        # The service has taken a call and not answered yet, or has answered that it is busy.
        self._in_flight = 0
        self._is_busy = False
        self._round_at = 0.0
        self._make_locks()

    def _make_locks(self) -> None:
        # A signal handler may run in a thread that holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._thread: Optional[threading.Thread] = None
        self._helpers = 0
        self._idle_helpers = 0
        # The first thread makes a call.
        self._is_working = False

    def forget_parent(self) -> "list[Reporter]":
        """After a fork: the threads, the connections and the jobs are the parent's. Returns the
        jobs, which are no longer this process's."""
        jobs = [*self._running, *self._steps]
        self._running.clear()
        self._steps.clear()
        self._in_flight = 0
        self._make_locks()
        self._client.close_all()
        return jobs

    @property
    def is_heard(self) -> bool:
        """The service is available, but has not answered yet or has too much to do."""
        return self._in_flight > 0 or self._is_busy

    @property
    def unfinished(self) -> "list[Reporter]":
        with self._changed:
            return [*self._running, *self._steps]

    def add(self, reporter: Reporter) -> None:
        """Makes the job as soon as possible, and reports for it until it has ended."""
        with self._changed:
            if self._outage.is_known:
                reporter.begun.set()
            self._steps[reporter] = None
            self._need_threads()

    def end(self, reporter: Reporter) -> None:
        """The work of the job has ended: the service is told at once, however long it has been
        away, because the program waits for that."""
        with self._changed:
            if reporter.is_over:
                return
            self._running.pop(reporter, None)
            self._steps[reporter] = None
            self._forget_oldest()
            if not self._is_told_when:
                self._gate_at = 0.0
                reporter.retry_at = 0.0
                reporter.failures = 0
            self._need_threads()

    def _forget_oldest(self) -> None:
        """A program that makes jobs all the time must not grow while the service is away. Called
        with the lock."""
        if len(self._steps) <= _MAX_UNHEARD:
            return
        for each in self._steps:
            if each.ending is not None and not each.is_busy:
                del self._steps[each]
                each.over.set()
                return

    def abandon(self, reporter: Reporter, ending: Ending) -> None:
        """The work was left, and why is not known here. The job ends so, unless the program gives
        a better reason within a moment: by `fail`, or by dying of an error."""
        with self._changed:
            if reporter.is_over or reporter.is_ending:
                return
            reporter.abandoned = ending
            reporter.retry_at = time.monotonic() + _GRACE
            self._running.pop(reporter, None)
            self._steps[reporter] = None
            self._need_threads()

    def explain(self, ending: Ending) -> None:
        """The process dies of an error: that is why work was left a moment ago."""
        with self._changed:
            for each in self._steps:
                if each.abandoned is not None:
                    each.abandoned = ending

    def _need_threads(self) -> None:
        """Called with the lock."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = self._start(self._work, "headway")
        waiting = sum(1 for each in self._steps if not each.is_busy)
        free = self._idle_helpers + (0 if self._is_working else 1)
        # A service that is away is tried by one thread.
        if waiting > free and self._outage.failures == 0:
            if self._helpers < _MAX_HELPERS:
                self._helpers += 1
                if self._start(self._help, "headway-helper") is None:
                    self._helpers -= 1
        self._changed.notify_all()

    def _start(self, target: Task, name: str) -> Optional[threading.Thread]:
        def run() -> None:
            try:
                target()
            finally:
                self._client.close()

        thread = threading.Thread(target=run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None  # The interpreter is shutting down, or has no more threads.
        return thread

    def _work(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._changed:
                now = time.monotonic()
                task, wait = self._next_round(now)
                if task is None:
                    task, step_wait = self._next_step(now)
                    wait = min(wait, step_wait)
                if task is None:
                    if self._running or self._steps:
                        idle_since = now
                    elif now - idle_since >= _IDLE:
                        self._thread = None
                        return
                    else:
                        wait = _IDLE
                    self._changed.wait(wait)
                    continue
                self._is_working = True
            task()
            with self._changed:
                self._is_working = False
            idle_since = time.monotonic()

    def _help(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._changed:
                now = time.monotonic()
                task, _ = self._next_step(now)
                if task is None:
                    if now - idle_since >= _HELPER_IDLE or self._outage.failures > 0:
                        self._helpers -= 1
                        return
                    self._idle_helpers += 1
                    self._changed.wait(_HELPER_IDLE)
                    self._idle_helpers -= 1
                    continue
            task()
            idle_since = time.monotonic()

    def _next_step(self, now: float) -> "tuple[Optional[Task], float]":
        wait = _IDLE
        for reporter in self._steps:
            if reporter.is_busy:
                continue
            due_in = max(reporter.retry_at, self._gate_at) - now
            if due_in <= 0:
                reporter.is_busy = True
                return (lambda: self._step(reporter)), 0.0
            wait = min(wait, due_in)
        return None, wait

    def _next_round(self, now: float) -> "tuple[Optional[Task], float]":
        if not self._running:
            return None, _IDLE
        due_in = max(self._look_at, self._gate_at) - now
        if due_in > 0:
            return None, due_in
        interval = min(each.report_seconds for each in self._running)
        self._look_at = now + interval
        due = [each for each in self._running if each.is_due(now)]
        if not due:
            return None, interval
        for each in due:
            each.is_busy = True
        self._round_at = now
        return (lambda: self._round(due)), 0.0

    def _round(self, due: "list[Reporter]") -> None:
        left = list(due)
        try:
            while left:
                chunk = left[:MAX_BULK]
                if not self._try(lambda connected: self._report(chunk, connected)):
                    return
                del left[: len(chunk)]
                # The end of a job waits for its own report, and not for those of all.
                self._put_back(chunk)
        finally:
            self._put_back(left)

    def _step(self, reporter: Reporter) -> None:
        try:
            self._try(lambda connected: self._take_step(reporter, connected), reporter)
        finally:
            self._put_back([reporter])

    def _put_back(self, reporters: "list[Reporter]") -> None:
        with self._changed:
            for each in reporters:
                each.is_busy = False
            self._tidy(reporters)
            # The end of a job may have waited for this.
            self._changed.notify_all()

    def _tidy(self, reporters: "list[Reporter]") -> None:
        """Puts jobs to where they belong after their call. Called with the lock."""
        for each in reporters:
            if each.is_over:
                self._running.pop(each, None)
                self._steps.pop(each, None)
            elif each.opened is not None and not each.is_ending and each in self._steps:
                del self._steps[each]
                self._running[each] = None
                # The service may want more of its reports than of others.
                self._look_at = min(self._look_at, self._round_at + each.report_seconds)

    def _try(
        self, call: "Callable[[Callable[[], None]], None]", reporter: Optional[Reporter] = None
    ) -> bool:
        """One call, which is given a function for "the service has taken it". Returns whether
        there was an answer; otherwise it is tried again later."""
        taken: "list[bool]" = []

        def connected() -> None:
            if not taken:
                taken.append(True)
                with self._changed:
                    self._in_flight += 1

        try:
            call(connected)
        except UnavailableError as error:
            self._unavailable(error, reporter)
            return False
        except Exception as error:  # A mistake of this package must not end its thread.
            self._unavailable(UnavailableError(f"{type(error).__name__}: {error}"), reporter)
            return False
        finally:
            with self._changed:
                self._in_flight = max(0, self._in_flight - len(taken))
        with self._changed:
            self._outage.over()
            self._is_busy = False
            self._gate_at = 0.0
            self._is_told_when = False
        return True

    def _unavailable(self, error: UnavailableError, reporter: Optional[Reporter]) -> None:
        with self._changed:
            self._outage.failed()
            self._is_busy = error.is_busy
            now = time.monotonic()
            failures = self._outage.failures
            self._gate_at = now + max(backoff(failures), error.retry_after)
            self._is_told_when = error.retry_after > 0
            self._look_at = 0.0
            if reporter is not None:
                reporter.failures += 1
                reporter.retry_at = now + backoff(reporter.failures)
            if self._outage.is_known:
                for each in self._steps:
                    each.begun.set()
        if failures == _NOTEWORTHY_FAILURES:
            self._outage.tell(error)

    def _report(self, reporters: "list[Reporter]", connected: "Callable[[], None]") -> None:
        """One request with a report for each of the jobs."""
        errors = send_reports(self._client, reporters, connected)
        for reporter, error in zip(reporters, errors):
            if isinstance(error, RefusedError):
                self._refused(reporter, error)

    def _take_step(self, reporter: Reporter, connected: "Callable[[], None]") -> None:
        """Makes or ends a job."""
        try:
            if reporter.opened is None:
                self._open(reporter, connected)
            else:
                reporter.ending = reporter.ending or reporter.abandoned
                reporter.end(self._client, connected, self._tell)
        except RefusedError as error:
            self._refused(reporter, error)
        reporter.answered_at = time.monotonic()

    def _open(self, reporter: Reporter, connected: "Callable[[], None]") -> None:
        reporter.open(self._client, connected)
        try:
            if not reporter.is_ending:
                # The first report comes at once: with it the job runs, and others see that it has
                # a worker. The program waits for both calls, or a second.
                self._report([reporter], connected)
        finally:
            reporter.begun.set()

    def _refused(self, reporter: Reporter, error: RefusedError) -> None:
        if reporter.refused(error):
            self._tell(error)

    def _tell(self, error: RefusedError) -> None:
        self._outage.tell(error, error.code)
