"""Makes the jobs of a process that dies end as failed with the reason, instead of timing out a
minute later. It does not change how the process dies."""

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType, TracebackType
from typing import Any, Callable, Optional, Type

from ._http import Client, HeadwayError, RefusedError
from ._reporter import Death, Ending, report_time
from ._sender import Sender
from ._texts import error_fields

# A dying process is delayed for at most this long (s).
_LAST_WORDS = 5.0

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class DeathWatch:
    """One for each process: several would leave signals to each other. A signal is only listened
    to where the program leaves it to the system, and only from the main thread, because Python
    sets handlers nowhere else."""

    def __init__(self) -> None:
        self._senders: "list[tuple[Sender, Client]]" = []
        self._is_listening = False
        self._uncaught: "Optional[dict[str, str]]" = None
        self._hook_before: Any = None
        # The process whose end by finalizers is watched.
        self._process = 0
        # The signals that a thread held back before it forked.
        self._forking = threading.local()

    def add(self, sender: Sender, client: Client) -> None:
        """Watches the jobs of a sender."""
        if all(each is not sender for each, _ in self._senders):
            self._senders.append((sender, client))
        if not self._is_listening:
            self._is_listening = True
            atexit.register(self._on_exit)
            self._hook_before = sys.excepthook
            sys.excepthook = self._on_uncaught
        if self._process != os.getpid():
            self._process = os.getpid()
            _on_end_of_child(self._on_exit)
        self.listen_to_signals()

    def listen_to_signals(self) -> None:
        """Listens to the signals that the program leaves to the system, if this is the thread that
        can. The first process of a container ignores signals without a handler."""
        if threading.current_thread() is not threading.main_thread() or os.getpid() == 1:
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._on_signal)

    def before_fork(self) -> None:
        """Python forgets signals that arrive in a child before it has set itself up: without a
        handler, they would have ended the child. They are held back until it has."""
        held = [each for each in _SIGNALS if signal.getsignal(each) == self._on_signal]
        if held:
            self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, held)

    def after_fork(self) -> None:
        """In the parent, and in the child."""
        mask = getattr(self._forking, "mask", None)
        self._forking.mask = None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def forget_parent(self) -> None:
        """After a fork: the hooks are there, but what died is the parent's."""
        self._uncaught = None

    def _on_uncaught(
        self,
        kind: Type[BaseException],
        error: BaseException,
        trace: Optional[TracebackType],
    ) -> None:
        try:
            stack = "".join(traceback.format_exception(kind, error, trace))
            self._uncaught = error_fields(error, stack)
            for sender, _ in self._senders:
                sender.explain(Ending("fail", self._uncaught))
        except Exception:
            pass
        self._hook_before(kind, error, trace)

    def _on_exit(self) -> None:
        unknown = error_fields("The process ended before the job had ended.")
        death = Ending("fail", self._uncaught or unknown)
        self._say(Death(death, is_reason=self._uncaught is not None))
        for _, client in self._senders:
            client.close_all()

    def _on_signal(self, number: int, _: Optional[FrameType]) -> None:
        sentence = f"The process was ended by {signal.Signals(number).name}."
        death = Ending("fail", error_fields(sentence))
        self._say(Death(death, is_reason=True, is_signal=True))
        # The process dies as it would have without this handler.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _say(self, death: Death) -> None:
        """Sends what is missing from this thread: others may no longer run."""
        deadline = time.monotonic() + _LAST_WORDS
        for sender, client in self._senders:
            _say_all(sender, client, death, deadline)


def _say_all(sender: Sender, client: Client, death: Death, deadline: float) -> None:
    at = report_time()
    for reporter in sender.unfinished:
        try:
            for path, body in reporter.last_words(death, at):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                try:
                    client.call(path, body, timeout=left, is_last_word=True)
                except RefusedError:
                    continue  # A report that is refused must not keep back the end.
        except HeadwayError:
            return  # The service is away.
        finally:
            reporter.over.set()


def _on_end_of_child(call: Callable[[], None]) -> None:
    """Children of `multiprocessing` end without `atexit`, with finalizers of their own."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or process.parent_process() is None:
        return
    util.Finalize(None, call, exitpriority=0)
