"""Runs the work of a command: signals, progress, log, summary, and the exit code in the end."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import click

from .. import __version__
from ..batch.run import run_batch
from ..batch_job import BatchJob
from ..errors import BatchLockedError, BatchPersistError, ScanStoppedError, exit_code_of, failure_of
from ..events import BatchStarted, Event
from ..exit_codes import ExitCode
from ..memory_limit import call_glibc
from ..metrics.batch_report import BatchReport
from ..options import BatchOptions
from ..storage.result_files import ReaderMissingError
from ..system_limits import system_error_in
from .logfile import Log, log_to
from .on_failure import Invocation
from .output import final_exit_code, print_event, print_line
from .progress import Display, DisplayPair, choose_display
from .summary import metrics_fields, summary_lines


class StopNowError(BaseException):
    """A second signal arrived. While it unwinds, locks are released and temporary files removed."""


class Interruption:
    """Which signal, if any, asked the command to stop."""

    number: int | None = None

    def should_stop(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> ExitCode:
        """The one that a shell gives for the signal; SIGHUP counts as SIGTERM."""
        return ExitCode.INTERRUPTED if self.number == signal.SIGINT else ExitCode.TERMINATED


@contextmanager
def catch_signals(notice: str) -> Iterator[Interruption]:
    """Catch SIGINT, SIGTERM and SIGHUP inside the block, and restore the previous handlers after it.

    A signal that is ignored already (``nohup``, a shell's background job) stays ignored. The first signal
    sets the interruption and prints ``notice``, which says what the command does now. The second terminates
    the workers, each as soon as it is in no commit, and raises StopNowError in the main thread.
    """
    interruption = Interruption()

    def handle(number: int, _frame: FrameType | None) -> None:
        if interruption.should_stop():
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise StopNowError
        interruption.number = number
        name = signal.Signals(number).name
        print_line(f"{name}: {notice}; once more to stop at once", err=True)

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


_M_MMAP_THRESHOLD = -3
"""From glibc's ``malloc.h``."""

_LARGE = 1 << 20
"""Bytes. A block from this size on gets its own pages, which return to the system as soon as it is freed."""

_ARROW_POOL = "ARROW_DEFAULT_MEMORY_POOL"


def minimize_retained_memory() -> None:
    """Let the allocators of this process keep little of what is freed, while its workers do the work.

    Arrow's usual allocator is a little faster, but keeps half as much again as is in use. glibc would raise
    its own threshold with each large block that is freed, up to 32 MB, and keep fragments below it.
    """
    if "pyarrow" not in sys.modules:  # Arrow reads the variable once, at its first allocation
        is_unset = _ARROW_POOL not in os.environ
        os.environ.setdefault(_ARROW_POOL, "system")
        import pyarrow as pa

        pa.default_memory_pool()
        if is_unset:  # workers must not inherit it
            del os.environ[_ARROW_POOL]
    call_glibc("mallopt", _M_MMAP_THRESHOLD, _LARGE)


class ReadReport(Protocol):
    """What a command reports that writes nothing."""

    @property
    def interrupted(self) -> bool: ...
    @property
    def is_empty(self) -> bool: ...
    @property
    def exit_code(self) -> ExitCode: ...


NO_NIGHTLY_OPTIONS = {"log_file": None, "on_failure": None}
"""For commands without the options of a nightly job."""

_WRITER_NOTICES = ("settling what has begun", "Stopped at once. The same command again does what is left.")
_READER_NOTICES = ("ending with what was looked at so far", "Stopped at once. Nothing was changed.")
"""What the first signal prints, and the second."""


@dataclass
class Job:
    """The work of one command."""

    params: dict[str, Any]
    """The command's options, as click parsed them."""
    log: Log
    interruption: Interruption
    invocation: Invocation
    exit_code: int = ExitCode.SUCCESS

    def display(self) -> closing[Display]:
        names = ("progress", "as_json", "quiet", "verbose")
        return closing(DisplayPair(choose_display(*(self.params[name] for name in names)), self.log))

    def persist(
        self, sources: Sequence[str], options: BatchOptions, executor: Executor | None = None
    ) -> None:
        """Run a batch, print its summary, and set the exit code."""
        metrics = BatchJob(options).metrics_path
        if self.params["workers"] > 1:
            minimize_retained_memory()
        with self.display() as display:

            def on_event(event: Event) -> None:
                if isinstance(event, BatchStarted):
                    self.invocation.batch_id = event.batch_id
                display.show(event)

            should_stop = self.interruption.should_stop
            report = run_batch(
                sources, options, executor=executor, on_event=on_event, should_stop=should_stop
            )
        interrupted = report.state == "interrupted" or (report.unwritten and should_stop())
        self.exit_code = self.interruption.exit_code if interrupted else report.exit_code
        self._print_summary(report, metrics)
        for failure in report.unwritten:
            line = f"the report could not be written: {failure}"
            self.log.error(line)
            print_line(f"Error: {line}", err=True)
        if not report.unwritten and os.path.isfile(metrics):
            self.invocation.metrics = os.path.abspath(metrics)

    def _print_summary(self, report: BatchReport, metrics: str) -> None:
        lines = list(summary_lines(report.metrics, metrics))
        for line in lines:
            self.log.outcome(line, self.exit_code)
        if self.params["as_json"]:
            names = ("counts", "passed_over", "unknown_suffixes", "bytes", "timing")
            fields = metrics_fields(report.metrics, *names)
            print_event("summary", state=report.state, **fields, metrics=metrics, exit_code=self.exit_code)
        else:
            self.print(lines)

    def set_exit_code(self, report: ReadReport) -> None:
        """Set the exit code of a command that writes nothing."""
        if report.interrupted:
            self.exit_code = self.interruption.exit_code
        elif report.is_empty and not report.exit_code and self.params["fail_if_empty"]:
            self.exit_code = ExitCode.SOME_FAILED
        else:
            self.exit_code = report.exit_code

    def print(self, lines: Iterable[str]) -> None:
        """Print the closing lines. With ``--quiet``: only if something is wrong, and on standard error."""
        if self.exit_code or not self.params["quiet"]:
            for line in lines:
                print_line(line, err=self.params["quiet"])

    def log_exit_code(self) -> None:
        code = final_exit_code(self.exit_code)
        self.log.outcome(f"exit code {code}", code)


@contextmanager
def run_job(params: dict[str, Any], *, reads_only: bool = False) -> Iterator[Job]:
    """Run the block as a job with signals caught and a log file; exit with the code that it sets.

    An exception is logged, printed as an event with ``--json``, and raised again. ``reads_only``: the block
    writes nothing, so an interruption leaves nothing to settle or to continue.
    """
    notice, stopped = _READER_NOTICES if reads_only else _WRITER_NOTICES
    ctx = click.get_current_context()
    invocation = ctx.find_object(Invocation)
    assert invocation is not None  # MainGroup.main makes it
    invocation.options = params
    with catch_signals(notice) as interruption:
        try:
            debug = params["verbose"] > 1
            with log_to(params["log_file"], interruption.should_stop, debug=debug) as log:
                job = Job(params, log, interruption, invocation)
                with _log_job(job):
                    yield job
                code = job.exit_code
        except ReaderMissingError as error:
            code = interruption.exit_code
            print_line(f"Error: {failure_of(error)}", err=True)
        except StopNowError:
            code = interruption.exit_code
            invocation.options = {}  # no command for failures: the user is there
            print_line(stopped, err=True)
    ctx.exit(code)


@contextmanager
def _log_job(job: Job) -> Iterator[None]:
    log = job.log
    command_line = shlex.join(["batchpersist", *job.invocation.words])
    log.info(f"batchpersist {__version__}, process {os.getpid()}: {command_line}")
    try:
        yield
    except Exception as error:
        _report_error(job, system_error_in(error))
    except StopNowError:
        code = job.interruption.exit_code
        log.outcome(f"stopped at once, exit code {code}", code)
        raise
    else:
        job.log_exit_code()
    if log.failure is not None:
        message = failure_of(log.failure).message
        print_line(f"Error: the log could not be written: {message}: {job.params['log_file']}", err=True)
        job.exit_code = job.exit_code or ExitCode.ERROR


def _report_error(job: Job, error: Exception) -> None:
    """Log an error and raise it again, unless it only means that the user interrupted a wait."""
    if job.interruption.should_stop() and isinstance(error, BatchLockedError | ScanStoppedError):
        job.exit_code = job.interruption.exit_code
        job.log.outcome("interrupted while it waited; nothing was done", job.exit_code)
        print_line("Interrupted while it waited. Nothing was done.", err=True)
        job.log_exit_code()
        return
    is_interrupted = isinstance(error, ReaderMissingError)
    job.exit_code = job.interruption.exit_code if is_interrupted else exit_code_of(error)
    failure = failure_of(error)
    job.log.error(str(error) or failure.type)
    if job.params["as_json"] and isinstance(error, BatchPersistError | OSError):
        print_event("error", stage="batch", **failure._asdict(), exit_code=job.exit_code)
    job.log_exit_code()
    raise error
