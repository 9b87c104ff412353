"""tqdm with a job beside the bar: `from headway.tqdm import tqdm, trange`.

The outer one of nested bars is the job. Its name is the bar's `desc`. A cancelled job raises
`headway.Stopped` into the loop, or out of `update`. `job=False` makes no job, and `job={…}` gives it
options of `headway.Worker.job`. `disable=True` makes no job either, because programs say so for all
but one of their processes; `disable=None` only hides the bar where there is no terminal.
"""

import contextvars
import io
import sys
import weakref
from typing import Any, Iterator, Optional

import tqdm.std

from ._job import Job
from ._worker import Worker, default_worker

_UNITS = {"it": "iterations", "B": "bytes", "": "unknown"}


class _Nowhere(io.TextIOBase):
    """Where a bar is drawn that nobody sees."""

    def write(self, text: str) -> int:
        return len(text)


# The bar around the code that runs, of this thread or task.
_outer: "contextvars.ContextVar[Optional[weakref.ref[tqdm_with_job]]]" = contextvars.ContextVar(
    "headway.tqdm", default=None
)


class tqdm_with_job(tqdm.std.tqdm):  # type: ignore[misc]
    """A bar in the terminal as ever, and the job beside it."""

    # `__del__` runs also for bars that were never made.
    _job: Optional[Job] = None
    _may_have_job = False
    _is_loop = False

    def __init__(
        self, *args: Any, job: Any = None, worker: Optional[Worker] = None, **options: Any
    ) -> None:
        file = options.get("file") or sys.stderr
        if options.get("disable", False) is None and not _is_terminal(file):
            options = {**options, "disable": False, "file": _Nowhere()}
        self._job_options = job if isinstance(job, dict) else {}
        self._worker = worker
        # An error that was being handled already is none of this bar.
        self._error_before = sys.exc_info()[1]
        super().__init__(*args, **options)
        self._may_have_job = job is not False and not self.disable
        self._told_total = self.total
        self._told_text = ""

    @property
    def job(self) -> Optional[Job]:
        """The job, once the bar has begun; None for inner bars."""
        return self._job

    def _begin(self) -> Optional[Job]:
        if not self._may_have_job or self._job is not None:
            return self._job
        self._may_have_job = False
        outer = _outer.get()
        bar = outer() if outer is not None else None
        if bar is not None and bar._job is not None and not bar._job.has_ended:
            return None
        text = (self.desc or "").rstrip().rstrip(":")
        unit = str(self.unit or "").strip()
        options = {
            "name": text or None,
            "total": self.total,
            "unit": _UNITS.get(unit, unit),
            **self._job_options,
        }
        self._job = (self._worker or default_worker()).job(**options)
        self._told_text = self._text()
        if self.initial:
            self._job.report(processed_count=self.initial)
        _outer.set(weakref.ref(self))
        return self._job

    def __iter__(self) -> Iterator[Any]:
        job = self._begin()
        if job is None:
            yield from super().__iter__()
            return
        self._is_loop = True
        progress = job.progress
        try:
            for item in super().__iter__():
                job.raise_if_cancelled()
                yield item
                progress.tracked += 1
            job.raise_if_cancelled()
        except GeneratorExit:
            job.abandon(f"The loop was left after {progress.describe()}.")
            raise
        except BaseException as error:
            job.fail(error)
            raise
        job.complete()

    def __enter__(self) -> "tqdm_with_job":
        self._begin()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._job is not None:
            self._job.__exit__(kind, error, trace)
        self.close()

    def update(self, n: Any = 1) -> Any:
        job = self._begin()
        shown = super().update(n)
        if job is None:
            return shown
        if self.total != self._told_total:
            self._told_total = self.total
            job.report(total=self.total)
        if not self._is_loop:
            job.advance(1 if n is None else n)
            job.raise_if_cancelled()
        return shown

    def refresh(self, *args: Any, **options: Any) -> Any:
        job = self._job
        if job is not None:
            text = self._text()
            if text != self._told_text:
                self._told_text = text
                job.report(text)
        return super().refresh(*args, **options)

    def _text(self) -> str:
        """What the program says beside the bar: its description, and its figures."""
        parts = (self.desc or "").rstrip().rstrip(":"), str(self.postfix or "").strip()
        return " ".join(part for part in parts if part)

    def reset(self, total: Any = None) -> None:
        super().reset(total)
        if self._job is not None:
            self._told_total = self.total
            self._job.report(processed_count=0, total=self.total)

    def close(self) -> None:
        super().close()
        job = self._job
        if job is None or self._is_loop or job.has_ended:
            return
        error = sys.exc_info()[1]
        if error is not None and error is not self._error_before:
            job.fail(error)  # `finally: bar.close()`
        else:
            job.__exit__(None, None, None)

    def __del__(self) -> None:
        if self._job is not None and not self._is_loop:
            done = self._job.progress
            if done.total is None or done.processed < done.total:
                # Nobody has closed the bar.
                self._job.abandon(f"The bar was left after {done.describe()}.")
                self._is_loop = True
        super().__del__()


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except Exception:
        return False


def trange(*args: Any, **options: Any) -> tqdm_with_job:
    """`tqdm(range(*args), **options)`"""
    return tqdm_with_job(range(*args), **options)


#: The name under which programs know it.
tqdm = tqdm_with_job
