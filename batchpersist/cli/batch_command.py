"""Runs a batch for a command: signals, progress, log, summary, and the exit code in the end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import click

from .. import __version__
from ..context import OnEvent, ShouldStop
from ..errors import BatchLockedError, BatchPersistError, ScanStoppedError, exit_code_of, failure_of
from ..events import BatchStarted, Event
from ..exit_codes import ExitCode
from ..metrics.batch_report import BatchReport
from ..storage.result_files import ReaderMissingError
from ..system_limits import refusal_in
from .allocator import keep_little
from .logfile import Log, log_to
from .on_failure import Ending
from .output import emit, final_code, say
from .progress import Both, Display, choose_display
from .signals import Interruption, StopNowError, interruptible
from .summary import figures_of, summary_lines


class Persist(Protocol):
    """``run_batch`` with all but these two arguments."""

    def __call__(self, *, on_event: OnEvent, should_stop: ShouldStop) -> BatchReport: ...


class Found(Protocol):
    """What a command found that only looks."""

    @property
    def interrupted(self) -> bool: ...
    @property
    def is_empty(self) -> bool: ...
    @property
    def exit_code(self) -> ExitCode: ...


UNATTENDED = {"log_file": None, "on_failure": None}
"""For a command that has none of the options of a nightly job."""

_SETTLING = ("settling what has begun", "Stopped at once. The same command again does what is left.")
_READING = ("ending with what was looked at so far", "Stopped at once. Nothing was changed.")
"""What is said when a command is interrupted, and when it is once more."""


@dataclass
class Job:
    """A command's batch on its way."""

    given: dict[str, Any]
    """The command's options."""
    log: Log
    interruption: Interruption
    ending: Ending

    def display(self) -> closing[Display]:
        names = ("progress", "as_json", "quiet", "verbose")
        return closing(Both(choose_display(*(self.given[name] for name in names)), self.log))

    def persist(self, work: Persist, metrics: str) -> int:
        """Have a batch done, which writes its metrics to ``metrics``, and say what it did.

        Returns the exit code.
        """
        if self.given["workers"] > 1:  # they do the work
            keep_little()
        with self.display() as display:

            def on_event(event: Event) -> None:
                if isinstance(event, BatchStarted):
                    self.ending.batch_id = event.batch_id
                display.show(event)

            report = work(on_event=on_event, should_stop=self.interruption.__bool__)
        interrupted = report.state == "interrupted" or (report.unwritten and self.interruption)
        code = self.interruption.exit_code if interrupted else report.exit_code
        self._tell(report, metrics, code)
        for failure in report.unwritten:
            line = f"the report could not be written: {failure}"
            self.log.error(line)
            say(f"Error: {line}", err=True)
        if not report.unwritten and os.path.isfile(metrics):
            self.ending.metrics = os.path.abspath(metrics)
        return code

    def _tell(self, report: BatchReport, metrics: str, code: int) -> None:
        lines = list(summary_lines(report.metrics, metrics))
        for line in lines:
            self.log.outcome(line, code)
        if self.given["as_json"]:
            names = ("counts", "passed_over", "unknown_suffixes", "bytes", "timing")
            figures = figures_of(report.metrics, *names)
            emit("summary", state=report.state, **figures, metrics=metrics, exit_code=code)
        else:
            self.print(lines, code)

    def exit_code_of(self, found: Found) -> int:
        """The exit code after a command that only looks."""
        if found.interrupted:
            return self.interruption.exit_code
        lacking = found.is_empty and self.given["fail_if_empty"]
        return found.exit_code or (ExitCode.SOME_FAILED if lacking else ExitCode.SUCCESS)

    def print(self, lines: Iterable[str], code: int) -> None:
        """The closing words. A quiet batch speaks only when something is wrong, on standard error then."""
        if code or not self.given["quiet"]:
            for line in lines:
                say(line, err=self.given["quiet"])

    def end(self, code: int) -> None:
        """Note the exit code."""
        self.log.outcome(f"exit code {final_code(code)}", final_code(code))


def conduct(given: dict[str, Any], work: Callable[[Job], int], *, reads_only: bool = False) -> None:
    """Do a command's work, and exit with its code; errors are told, and raised again.

    ``reads_only``: there is nothing to settle when it is interrupted, and nothing left to do.
    """
    notice, stopped = _READING if reads_only else _SETTLING
    ctx = click.get_current_context()
    ending = ctx.find_object(Ending)
    assert ending is not None  # the group's main made it
    ending.options = given
    with interruptible(notice) as interruption:
        try:
            with log_to(given["log_file"], interruption.__bool__) as log:
                code = _conducted(Job(given, log, interruption, ending), work)
        except ReaderMissingError as error:
            code = interruption.exit_code
            say(f"Error: {failure_of(error)}", err=True)
        except StopNowError:
            code = interruption.exit_code
            ending.options = {}  # nobody is to be informed: whoever stopped it is there
            say(stopped, err=True)
    ctx.exit(code)


def _conducted(job: Job, work: Callable[[Job], int]) -> int:
    log = job.log
    command_line = shlex.join(["batchpersist", *job.ending.words])
    log.info(f"batchpersist {__version__}, process {os.getpid()}: {command_line}")
    try:
        code = work(job)
    except Exception as error:
        code = _failed(job, refusal_in(error))
    except StopNowError:
        code = job.interruption.exit_code
        log.outcome(f"stopped at once, exit code {code}", code)
        raise
    else:
        job.end(code)
    if log.failure is not None:
        message = failure_of(log.failure).message
        say(f"Error: the log could not be written: {message}: {job.given['log_file']}", err=True)
        code = code or ExitCode.ERROR
    return code


def _failed(job: Job, error: Exception) -> int:
    """Raises the error again, but where it only says that the user's patience ended first."""
    if job.interruption and isinstance(error, BatchLockedError | ScanStoppedError):
        job.log.outcome("interrupted while it waited; nothing was done", job.interruption.exit_code)
        say("Interrupted while it waited. Nothing was done.", err=True)
        job.end(job.interruption.exit_code)
        return job.interruption.exit_code
    is_interrupted = isinstance(error, ReaderMissingError)
    failure, code = failure_of(error), job.interruption.exit_code if is_interrupted else exit_code_of(error)
    job.log.error(str(error) or failure.type)
    if job.given["as_json"] and isinstance(error, BatchPersistError | OSError):
        emit("error", stage="batch", **failure._asdict(), exit_code=code)
    job.end(code)
    raise error
