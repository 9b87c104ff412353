"""Training loops of one's own, as with PyTorch. It imports no PyTorch.

    training = headway.loops.Training(epochs=3, name="Train")
    for epoch in training:
        for batch in training.batches(loader):
            loss = step(batch)
            training.report(loss=loss)
"""

import time
from typing import Any, Iterable, Iterator, Optional, TypeVar

from ._job import Job
from ._track import size_of
from ._worker import Worker, default_worker
from .keras import _READ, figures, sentence

Batch = TypeVar("Batch")


class Training:
    """A training as a job: `for epoch in training` are its epochs, from 0, and `batches` its steps.
    It completes with its epochs, fails as the loops of `headway.track` do, and raises
    `headway.Stopped` when somebody cancels it. Use it as a context manager as well: then errors
    are told with their reason, and a `break` completes the job."""

    def __init__(
        self,
        epochs: int,
        name: Optional[str] = None,
        *,
        worker: Optional[Worker] = None,
        **options: Any,
    ) -> None:
        self._epochs = epochs
        options = {"total": epochs, "unit": "epochs", **options}
        self._tracked = (worker or default_worker()).track(range(epochs), name, **options)
        self._epoch = 0
        self._read_at = 0.0
        self._steps: Optional[int] = None

    @property
    def job(self) -> Optional[Job]:
        """The job, once the first epoch has begun."""
        return self._tracked.job

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._tracked.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[int]:
        for epoch in self._tracked:
            self._epoch = epoch
            if self.job is not None and self._steps is None:
                self.job.report(sentence(epoch + 1, self._epochs, {}))
            yield epoch

    def batches(self, loader: "Iterable[Batch]") -> "Iterator[Batch]":
        """The batches of an epoch. With a loader that has a length, the job counts batches."""
        job, steps = self.job, size_of(loader)
        if job is None:
            yield from loader
            return
        job.report(sentence(self._epoch + 1, self._epochs, {}))
        if steps and self._steps is None:
            self._steps = steps
            job.report(total=self._epochs * steps, unit="iterations")
        for index, batch in enumerate(loader):
            job.raise_if_cancelled()
            yield batch
            if self._steps:
                # The loop around counts an epoch as one.
                job.report(processed_count=self._epoch * self._steps + index + 1)
        job.raise_if_cancelled()
        if self._steps:
            job.report(processed_count=(self._epoch + 1) * self._steps - 1)

    def report(self, **numbers: Any) -> None:
        """The figures of the present step. They are read at most once a second, because reading
        one may wait for a GPU."""
        now = time.monotonic()
        if self.job is None or now - self._read_at < _READ:
            return
        self._read_at = now
        found = figures(numbers)
        if found:
            self.job.report(sentence(self._epoch + 1, self._epochs, found), payload=found)
