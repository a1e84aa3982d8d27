"""Interruptions: the first signal lets what has begun be settled, the second stops at once."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..exit_codes import ExitCode
from .output import say


class StopNowError(BaseException):
    """A second signal: unwind, releasing locks and removing temporaries on the way."""


class Interruption:
    """Which signal, if any, asked the batch to stop."""

    number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> ExitCode:
        """As a shell reports the signal; a hang-up counts as SIGTERM."""
        return ExitCode.INTERRUPTED if self.number == signal.SIGINT else ExitCode.TERMINATED


@contextmanager
def interruptible(notice: str) -> Iterator[Interruption]:
    """Catch SIGINT, SIGTERM and SIGHUP while a batch runs; the previous handlers come back after.

    One that is ignored already (``nohup``, a shell's background job) stays ignored. The first sets the
    interruption, and says so (``notice``: what is done now). The second tells the workers to end, which
    they do once no commit is under way, and raises StopNowError in the main thread.
    """
    interruption = Interruption()

    def handle(number: int, _frame: FrameType | None) -> None:
        if interruption:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise StopNowError
        interruption.number = number
        name = signal.Signals(number).name
        say(f"{name}: {notice}; once more to stop at once", err=True)

    previous = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
