"""Loops as jobs."""

import asyncio
from types import TracebackType
from typing import (
    Any,
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Generic,
    Iterable,
    Iterator,
    Optional,
    Type,
    TypeVar,
    Union,
)

from . import _stop
from ._job import Job, in_thread
from ._stop import Stopped

Item = TypeVar("Item")
Trackable = Union[Iterable[Item], AsyncIterable[Item]]


def size_of(items: object) -> Optional[int]:
    """How many items there will be; None if that is not known."""
    try:
        return len(items)  # type: ignore[arg-type]
    except Exception:
        return None


class Tracked(Generic[Item]):
    """A tracked loop. The job is made when the loop begins; before that, `job` is None.

    Each item counts as done when the next one is asked for. A loop that is left by `break`,
    `return` or an error fails its job, since these look the same from inside. In a `with` block
    they do not: there the error is that of the job, and a `break` completes it.
    """

    def __init__(self, items: "Trackable[Item]", make: Callable[[], Job]) -> None:
        if not hasattr(items, "__aiter__"):
            try:
                # Refused here, and not in the middle of the work. A list is iterated anew.
                iter(items)
            except TypeError as error:
                raise TypeError(f"track(items): {error}") from None
        self._items = items
        self._loop = _Loop(make)
        self._generator: Optional[Generator[Item, None, None]] = None
        self._async_generator: Optional[AsyncGenerator[Item, None]] = None

    @property
    def job(self) -> Optional[Job]:
        """The job of the loop, once it has begun."""
        return self._loop.job

    def __iter__(self) -> Iterator[Item]:
        if self._generator is None:
            # A generator of its own is the loop with the least cost per item.
            self._generator = self._loop.over(iter(self._items))  # type: ignore[arg-type]
        return self._generator

    def __next__(self) -> Item:
        return next(iter(self))

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]

    def __aiter__(self) -> AsyncIterator[Item]:
        if self._async_generator is None:
            self._async_generator = self._loop.over_async(aiter_of(self._items))
        return self._async_generator

    def __enter__(self) -> "Tracked[Item]":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self.job is not None:
            self.job.__exit__(kind, error, trace)
        if self._generator is not None:
            self._generator.close()

    async def __aenter__(self) -> "Tracked[Item]":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self.job is not None:
            await self.job.__aexit__(kind, error, trace)
        if self._async_generator is not None:
            await self._async_generator.aclose()


class _Loop:
    """What a loop runs. It does not know its `Tracked`: a generator that did would not be closed
    when its loop is left, but with the next garbage collection."""

    def __init__(self, make: Callable[[], Job]) -> None:
        self.job: Optional[Job] = None
        self._make = make

    def over(self, source: Iterator[Item]) -> Generator[Item, None, None]:
        job = self.job = self._make().begin()
        progress = job.progress
        try:
            _raise_if_stopped(job)
            for item in source:
                yield item
                progress.tracked += 1
                if job._stopped is not None:
                    break
        except GeneratorExit:
            _leave(job)
            raise
        except BaseException as error:
            job.fail(error)
            raise
        _end(job, source)

    async def over_async(self, source: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
        job = self.job = self._make()
        await in_thread(job.begin)
        progress = job.progress
        wait = _StoppableWait(job)
        try:
            _raise_if_stopped(job)
            while True:
                try:
                    item = await wait.of(source)
                except StopAsyncIteration:
                    break
                yield item
                progress.tracked += 1
                if job._stopped is not None:
                    break
        except GeneratorExit:
            _leave(job)
            raise
        except BaseException as error:
            await in_thread(lambda: job.fail(error))
            raise
        finally:
            wait.forget()
        stopped = job.stop_reason
        if stopped is None:
            await in_thread(job.complete)
            return
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
        await in_thread(lambda: job.fail(stopped))
        raise stopped


def _raise_if_stopped(job: Job) -> None:
    if job.stop_reason is not None:
        raise job.stop_reason


def _end(job: Job, source: object) -> None:
    """Ends the job of a loop that has no more items, or should stop. If a stopped loop ended
    normally, the code after it would take a part of the items for all."""
    stopped = job.stop_reason
    if stopped is None:
        job.complete()
        return
    try:
        close = getattr(source, "close", None) if isinstance(source, Generator) else None
        if close is not None:
            close()
    except BaseException as error:
        job.fail(error)
        raise
    job.fail(stopped)
    raise stopped


def _leave(job: Job) -> None:
    done = job.progress.describe()
    job.abandon(f"The loop was left after {done}, by break, return or an error.")


def aiter_of(items: object) -> "AsyncIterator[Any]":
    """The asynchronous iterator of items; Python 3.9 has no `aiter`."""
    make: Any = getattr(type(items), "__aiter__", None)
    if make is None:
        raise TypeError("track(items): the items are not asynchronous: use `for`, not `async for`")
    iterator: "AsyncIterator[Any]" = make(items)
    return iterator


class _StoppableWait:
    """Waits for the next item of an asynchronous source, which may be silent for ever, and ends
    the wait by cancelling the task when the job should stop, as `asyncio.timeout` does. Without
    asyncio a stop is seen with the next item."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._task: "Optional[asyncio.Task[Any]]" = None
        self._is_cancelled = False
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self.forget: Callable[[], None] = lambda: None
            return
        self.forget = job.on_stop(self._on_stop)

    def _on_stop(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._is_cancelled = True
            self._task.cancel()

    async def of(self, source: "AsyncIterator[Item]") -> Item:
        try:
            self._task = asyncio.current_task()
        except RuntimeError:
            return await source.__anext__()
        try:
            return await source.__anext__()
        except asyncio.CancelledError:
            stopped = self._job.stop_reason
            if not self._is_cancelled or stopped is None:
                raise
            uncancel = getattr(self._task, "uncancel", None)
            if uncancel is not None and uncancel() > 0:
                raise  # Somebody else has cancelled the task as well.
            raise stopped from None
        finally:
            self._task = None
