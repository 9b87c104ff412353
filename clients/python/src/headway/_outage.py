"""What an outage of the service costs a program: one longest wait, and one warning."""

import threading
import time
from typing import Callable, Optional

from ._http import HeadwayError, TRY_TIMEOUT, UnavailableError

# Even the end of the shortest work is tried a second time (s).
_SHORTEST = 1.0
# A restart of the service, with the migrations of a new version, takes less.
_LONGEST = 30.0
# The wait is at most this part of the time that the work has taken.
_SHARE = 0.1
# The least time for a service that is available but slow: as long as one answer may take.
SLOW = TRY_TIMEOUT

# Every job tries more often than this.
_KNOWN = 10.0
# How often a waiting program looks whether a slow service has gone away.
_LOOK = 0.2


def patience_after(worked: float) -> float:
    """How long (s) the end of work waits for a service that is away, after `worked` seconds: a
    tenth of that, at least 1 s and at most 30 s. Jobs of a second that run every minute must not
    pile up during an outage. The end of an import of three hours must reach the service even if
    that restarts meanwhile."""
    return min(max(_SHORTEST, worked * _SHARE), _LONGEST)


class UnheardError(UnavailableError):
    """The program has continued without knowing whether the service knows how the job ended."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} has not heard how the job ended.")


class Outage:
    """All waits of one outage together last no longer than the longest of them. Otherwise a
    thousand jobs would each wait at their start and at their end."""

    def __init__(self, on_problem: Callable[[HeadwayError], None]) -> None:
        self._waited = 0.0
        self._failures = 0
        self._failed_at = 0.0
        self._told: "set[str]" = set()
        self._on_problem = on_problem

    def over(self) -> None:
        """The service has answered."""
        self._waited = 0.0
        self._failures = 0

    def failed(self) -> None:
        """A try has failed."""
        self._failures += 1
        self._failed_at = time.monotonic()

    @property
    def failures(self) -> int:
        """How many tries have failed in a row."""
        return self._failures

    @property
    def is_known(self) -> bool:
        """Whether the service is away. A single failure may only mean that a connection was
        closed, and an old failure says nothing."""
        return self._failures > 1 and time.monotonic() - self._failed_at < _KNOWN

    def wait(
        self,
        event: threading.Event,
        longest: Callable[[], float],
        answered_at: Callable[[], float] = lambda: 0.0,
    ) -> bool:
        """Waits for `event`, and says whether it came. The wait begins anew with each answer."""
        began_at = time.monotonic()
        while not event.is_set():
            most = longest()
            left = max(began_at, answered_at()) + most - self._waited - time.monotonic()
            if left <= 0:
                self._waited = max(most, self._waited)
                return event.is_set()
            event.wait(min(left, _LOOK))
        return True

    def tell(self, problem: HeadwayError, kind: Optional[str] = None) -> None:
        """Tells the program of a problem, each kind once."""
        what = kind or ("away" if isinstance(problem, UnavailableError) else type(problem).__name__)
        if what in self._told:
            return
        self._told.add(what)
        try:
            self._on_problem(problem)
        except Exception:
            pass  # An error of the program's own handler must not stop the work.
