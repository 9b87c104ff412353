"""How far one worker is, and what the service does not know yet."""

import math
import threading
from typing import Any, Mapping, Optional

from . import _texts
from ._texts import as_number, as_object, fit, fit_shown

_MAX_COUNT = 2**53 - 1
_MAX_RATE = 1e15


def _field(name: str, value: Any) -> "tuple[bool, Any]":
    """Whether a value can be sent as this field, and its form. The service would refuse others,
    and one wrong number must not lose the rest of a report."""
    if value is None:
        return True, None
    if name == "message":
        return isinstance(value, str), fit(value, _texts.MESSAGE)
    if name == "stage":
        stage = fit_shown(value, _texts.STAGE)
        return stage != "", stage
    if name == "unit":
        return isinstance(value, str), fit_shown(value, _texts.UNIT) or "unknown"
    if name == "payload":
        payload = as_object(value)
        return payload is not None, payload
    number = as_number(value)
    if number is None or number < 0:
        return False, None
    if name in ("processedCount", "totalCount"):
        return number == int(number) and number <= _MAX_COUNT, int(number)
    if name == "progressPercent":
        return True, min(int(number), 100)
    if name == "etaSeconds":
        return number <= _MAX_COUNT, math.ceil(number)
    return number <= _MAX_RATE, number


def tidy(report: Mapping[str, Any]) -> "dict[str, Any]":
    """The fields of a report that the service takes."""
    tidied = {}
    for name, value in report.items():
        is_fit, fitting = _field(name, value)
        if is_fit:
            tidied[name] = fitting
    return tidied


class Taken:
    """A report with the present state, on its way to the service."""

    def __init__(self, body: "dict[str, Any]", fields: "dict[str, Any]") -> None:
        self.body = body
        # Those besides the count.
        self.fields = fields


class Progress:
    """The newest state and no queue, so reports cost no memory while the service is away.

    `tracked` is the count of a tracked loop. It is a plain number that only the loop changes, so
    that an item costs no lock; everything else is changed under the lock.
    """

    def __init__(self, total: Optional[int], has_stages: bool) -> None:
        self.tracked = 0
        # The counts are those of the current stage.
        self.has_stages = has_stages
        self._lock = threading.RLock()
        # None: nothing has been counted by hand. Added to `tracked`.
        self._counted: Optional[float] = None
        self._sent_count: Optional[int] = None
        # The service refuses counts of this worker.
        self._is_uncounted = False
        self._total = total
        self._stage: Optional[str] = None
        self._fields: "dict[str, Any]" = {}
        self._is_dirty = False

    def make_locks(self) -> None:
        """After a fork: another thread may have held the lock."""
        self._lock = threading.RLock()

    @property
    def processed(self) -> int:
        return self._count() or 0

    @property
    def total(self) -> Optional[int]:
        return self._total

    @property
    def is_dirty(self) -> bool:
        """The state has changed since the service last confirmed a report."""
        return self._is_dirty or self._count() != self._sent_count

    def advance(self, count: float) -> None:
        with self._lock:
            self._counted = (self._counted or 0) + count

    def report(self, report: Mapping[str, Any]) -> None:
        fields = tidy(report)
        with self._lock:
            processed = fields.pop("processedCount", None)
            stage = fields.get("stage")
            if self.has_stages and stage is not None and stage != self._stage:
                self._stage = stage
                self._counted = -self.tracked
                self._total = None
                # A total that has not been sent belongs to the earlier stage.
                self._fields.pop("totalCount", None)
            if processed is not None:
                self._counted = processed - self.tracked
            if "totalCount" in fields:
                self._total = fields["totalCount"]
            self._fields.update(fields)
            self._is_dirty = True

    def take(self) -> Taken:
        """The body of a report with the present state. Call `restore` when the service did not
        receive it, and `drop` when it refused it."""
        with self._lock:
            fields, self._fields = self._fields, {}
            count = self._count()
            self._sent_count = count
            self._is_dirty = False
            body = dict(fields)
            if count is not None:
                body["processedCount"] = count
            return Taken(body, fields)

    def restore(self, taken: Taken) -> None:
        with self._lock:
            fields = dict(taken.fields)
            stage = self._fields.get("stage")
            if self.has_stages and stage is not None and stage != fields.get("stage"):
                fields.pop("totalCount", None)  # A total belongs to its stage.
            self._fields = {**fields, **self._fields}
            self._is_dirty = True

    def drop(self, taken: Taken) -> bool:
        """Whether a report with less may be taken. The fields of the refused report are dropped.
        If the count alone is refused as well, only heartbeats without a count are left."""
        with self._lock:
            if not taken.fields and taken.body:
                self._is_uncounted = True
            self._is_dirty = True
            return bool(taken.body)

    def _count(self) -> Optional[int]:
        if self._is_uncounted or (self._counted is None and self.tracked == 0):
            return None
        return max(0, min(int((self._counted or 0) + self.tracked), _MAX_COUNT))

    def describe(self) -> str:
        """For people: `41 of 1200`, or `41` if no total is known."""
        return str(self.processed) if self._total is None else f"{self.processed} of {self._total}"
