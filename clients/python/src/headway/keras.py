"""A callback for Keras, and for what takes the same callbacks. It imports no Keras.

    model.fit(x, y, epochs=10, callbacks=[headway.keras.Callback("Train the model")])
"""

import time
from typing import Any, Mapping, Optional

from ._job import Job
from ._texts import as_number
from ._worker import Worker, default_worker

# How often (s) figures of a batch are read: reading one may wait for a GPU.
_READ = 1.0


def figures(logs: "Optional[Mapping[str, Any]]") -> "dict[str, float]":
    """The numbers in the logs of a framework."""
    numbers = {name: as_number(value) for name, value in (logs or {}).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def sentence(epoch: int, epochs: "Optional[int]", numbers: "Mapping[str, float]") -> str:
    """`Epoch 3 of 10, loss 0.1234`"""
    of = "" if epochs is None else f" of {epochs}"
    return ", ".join([f"Epoch {epoch}{of}", *(f"{name} {n:.4g}" for name, n in numbers.items())])


class Callback:
    """Makes each call of `fit` a job: its batches are counted, and its figures shown. Cancelling
    the job ends the training after the present batch, by `model.stop_training`."""

    # What Keras asks of its callbacks.
    async_safe = False

    def __init__(
        self, name: Optional[str] = None, *, worker: Optional[Worker] = None, **options: Any
    ) -> None:
        self.job: Optional[Job] = None
        self.params: "dict[str, Any]" = {}
        self.model: Any = None
        self._name = name
        self._worker = worker
        self._options = options
        self._epoch = 0
        self._read_at = 0.0

    def set_params(self, params: "Optional[dict[str, Any]]") -> None:
        self.params = params or {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Any = None) -> None:
        if self.job is not None:
            self.job.fail("Another training has begun.")
        epochs, steps = self._epochs, self._steps
        total = None if epochs is None else epochs * (steps or 1)
        unit = "iterations" if steps else "epochs"
        options: "dict[str, Any]" = {"total": total, "unit": unit, **self._options}
        self._counts_batches = bool(steps)
        self.job = (self._worker or default_worker()).job(self._name, **options)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        if self.job is not None:
            self.job.report(sentence(epoch + 1, self._epochs, {}))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        job = self.job
        if job is None:
            return
        if self._counts_batches:
            steps = self._steps or 0
            job.report(processed_count=self._epoch * steps + batch + 1)
        now = time.monotonic()
        if now - self._read_at >= _READ:
            self._read_at = now
            self._show(logs)
        self._stop_if_cancelled()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.job is None:
            return
        done = (epoch + 1) * (self._steps or 1) if self._counts_batches else epoch + 1
        self.job.report(processed_count=done)
        self._show(logs)
        self._stop_if_cancelled()

    def on_train_end(self, logs: Any = None) -> None:
        job, self.job = self.job, None
        if job is None:
            return
        if job.stop_reason is not None:
            job.acknowledge()
        else:
            job.complete(figures(logs))

    def _show(self, logs: Any) -> None:
        numbers = figures(logs)
        if self.job is not None and numbers:
            text = sentence(self._epoch + 1, self._epochs, numbers)
            self.job.report(text, payload=numbers)

    def _stop_if_cancelled(self) -> None:
        if self.job is not None and self.job.stop_reason is not None and self.model is not None:
            self.model.stop_training = True

    @property
    def _epochs(self) -> Optional[int]:
        return self.params.get("epochs")

    @property
    def _steps(self) -> Optional[int]:
        return self.params.get("steps")

    _counts_batches = False

    def _implements_train_batch_hooks(self) -> bool:
        return True

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        # Frameworks call more hooks than these, and new versions add some.
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(name)


def _nothing(*_: Any, **__: Any) -> None:
    return None


_nothing._is_default = True  # type: ignore[attr-defined]
