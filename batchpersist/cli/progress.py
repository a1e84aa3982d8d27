"""Shows the events of a batch: a bar on a terminal, a line now and then elsewhere, or JSON."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

from ..events import BatchResumed, BatchStarted, BatchWaiting, Event, Progress, RetryStarted, RunFailed
from ..foreign_text import printable
from ..models import place_of
from .output import print_event, print_line

LINE_SECONDS = 30.0
"""Between two plain lines, so that the log of a night stays readable."""

STATUS_SECONDS = 1.0
"""Between two JSON status events."""


_MESSAGE_TYPES = {
    BatchWaiting: "waiting",
    BatchStarted: "started",
    BatchResumed: "resumed",
    RetryStarted: "retry",
}


class Display(Protocol):
    """Shows the events of a batch as they come. ``close`` it before anything else is printed."""

    def show(self, event: Event) -> None: ...
    def close(self) -> None: ...


class NoticeDisplay:
    """Prints notices, and failures if ``verbose``; no progress."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._show_progress(event)
        elif isinstance(event, BatchWaiting | BatchResumed | RetryStarted):
            self._print_line(describe_notice(event))
        elif isinstance(event, RunFailed) and self._verbose:
            self._print_line(describe_failure(event))

    def close(self) -> None:
        pass

    def _show_progress(self, progress: Progress) -> None:
        pass

    def _print_line(self, line: str) -> None:
        print_line(line, err=True)


class FailureDisplay(NoticeDisplay):
    """Prints failures if ``verbose``, and nothing else."""

    def show(self, event: Event) -> None:
        if isinstance(event, RunFailed):
            super().show(event)


class BarDisplay(NoticeDisplay):
    """Draws a tqdm bar for each phase on standard error: runs, rate, time left, failures."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._phase = ""
        self._bar: Any = None

    def _show_progress(self, event: Progress) -> None:
        if event.phase != self._phase:
            self._start(event)
        self._bar.total = event.total
        self._bar.n, self._bar.initial = event.done, event.resumed  # resumed runs do not count for the rate
        self._bar.set_postfix({_failure_word(event): event.failed}, refresh=False)
        self._bar.update(0)

    def _start(self, event: Progress) -> None:
        from tqdm import tqdm

        self.close()
        self._phase = event.phase
        # One thread of one process draws the bar: it needs neither tqdm's own thread nor its semaphore.
        tqdm.monitor_interval = 0
        tqdm.set_lock(threading.RLock())
        self._bar = tqdm(
            total=event.total,
            desc=event.phase,
            unit=f" {_unit(event)}",
            file=sys.stderr,
            dynamic_ncols=True,
            miniters=1,
        )

    def _print_line(self, line: str) -> None:
        from tqdm import tqdm

        tqdm.write(printable(line), file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class LineDisplay(NoticeDisplay):
    """Prints a line every ``seconds`` on standard error, also while a long commit reports nothing."""

    def __init__(self, verbose: bool = False, seconds: float = LINE_SECONDS) -> None:
        super().__init__(verbose)
        self._latest: Progress | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._print_progress, args=(seconds,), daemon=True)
        with suppress(RuntimeError):  # threads cannot be started: the batch runs without these lines
            self._thread.start()

    def _show_progress(self, event: Progress) -> None:
        self._latest = event

    def _print_progress(self, seconds: float) -> None:
        started = time.monotonic()
        while not self._closed.wait(seconds):
            if self._latest is not None:
                print_line(describe_progress(self._latest, time.monotonic() - started), err=True)

    def close(self) -> None:
        self._closed.set()
        with suppress(RuntimeError):  # it was not started
            self._thread.join()


class JsonDisplay:
    """Prints a JSON object a line on standard output, with its ``message_type``."""

    def __init__(self) -> None:
        self._next = 0.0
        self._phase = ""

    def show(self, event: Event) -> None:
        if isinstance(event, BatchWaiting | BatchStarted | BatchResumed | RetryStarted):
            print_event(_MESSAGE_TYPES[type(event)], **event._asdict())
            return
        if isinstance(event, RunFailed):
            print_event(
                "error",
                **event.failure._asdict(),
                **{k: v for k, v in event._asdict().items() if k != "failure"},
            )
            return
        now = time.monotonic()
        if event.phase != self._phase or now >= self._next:
            self._phase, self._next = event.phase, now + STATUS_SECONDS
            print_event("status", **event._asdict())

    def close(self) -> None:
        pass


def describe_progress(progress: Progress, seconds: float) -> str:
    """Describe the progress of a phase after so many seconds."""
    of_total = f" of {progress.total:,}" if progress.total is not None else ""
    failed = f", {progress.failed:,} {_failure_word(progress)}" if progress.failed else ""
    return f"{progress.phase}: {progress.done:,}{of_total} {_unit(progress)}{failed} after {seconds:.0f} s"


def _unit(progress: Progress) -> str:
    return "batches" if progress.phase in ("try", "measure") else "runs"


def _failure_word(progress: Progress) -> str:
    return "differing" if progress.phase in ("audit", "repair") else "failed"


def describe_notice(event: BatchWaiting | BatchResumed | RetryStarted) -> str:
    """Describe what a user should know in any case: why the batch waits, resumes or retries."""
    if isinstance(event, BatchWaiting):
        return f"Waiting for another batch to end, {event.seconds:g} s at most: {event.holder}"
    if isinstance(event, RetryStarted):
        gone = f"; {event.gone:,} no longer in the sources" if event.gone else ""
        runs = f"runs that did not stand: {event.runs:,}{gone}" if event.runs or gone else "invalid input"
        return f"Retrying batch {event.batch_id}: {runs}"
    return (
        f"Continuing batch {event.batch_id}: "
        f"{event.settled:,} of its {event.selected:,} runs had settled (--no-resume begins anew)"
    )


def describe_failure(event: RunFailed) -> str:
    """Describe a failure: where it is, what failed, and whose run it was."""
    run = f" ({event.task_id}/{event.run_id})" if event.task_id else ""
    return f"{place_of(event.source, event.line)}: {event.stage}: {event.failure}{run}"


class DisplayPair:
    """Shows each event on two displays."""

    def __init__(self, first: Display, second: Display) -> None:
        self._displays = (first, second)

    def show(self, event: Event) -> None:
        for display in self._displays:
            display.show(event)

    def close(self) -> None:
        for display in self._displays:
            display.close()


def choose_display(mode: str, as_json: bool, quiet: bool, verbosity: int) -> Display:
    """Make the display for ``--progress`` (auto, bar, lines, none), ``--json``, ``--quiet`` and ``-v``.

    ``auto`` with ``-vv`` is ``lines``: debug lines would tear a bar apart.
    """
    verbose = verbosity > 0
    if as_json:
        return JsonDisplay()
    if quiet:
        return FailureDisplay(verbose)
    if mode == "none":
        return NoticeDisplay(verbose)
    if mode == "bar" or (mode == "auto" and sys.stderr.isatty() and verbosity < 2):
        return BarDisplay(verbose)
    return LineDisplay(verbose)
