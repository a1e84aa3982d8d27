"""The command's entry: finds the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .. import __version__
from ..errors import BatchPersistError, UsageError, exit_code_of, failure_of
from ..exit_codes import ExitCode
from ..foreign_text import printable
from ..system_limits import is_memory_limited, require_memory, system_error_in
from .config import configure, default_map
from .on_failure import Invocation, run_failure_command
from .output import (
    final_exit_code,
    print_traceback,
    replace_closed_streams,
    report_lost_output,
    take_over_streams,
)

_COMMANDS = (
    *("audit", "compare", "completion", "config", "generate", "locks", "merge-metrics"),
    *("repair", "report", "retry", "run", "status", "validate"),
)
"""Each is the ``command`` of the module of its name."""

_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For libraries that pyarrow loads: they would start threads that this program does not need.

Where threads cannot be started, NumPy's OpenBLAS sends this process a SIGINT, and Arrow's jemalloc complains.
"""


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Escape control characters in click's messages, which repeat file names as they are."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # its message is the help
        raise
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)  # final to click's types
        raise


class _CodedError(click.ClickException):
    """An error of the batch itself, which click prints as ``Error: ...`` before it exits with the code."""

    def __init__(self, error: BatchPersistError | OSError) -> None:
        super().__init__(str(error if isinstance(error, BatchPersistError) else failure_of(error)))
        vars(self)["exit_code"] = exit_code_of(error)  # a class variable to click's types


class MainGroup(click.Group):
    """Imports the module of a subcommand when it is asked for: ``--help`` and ``--version`` start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"batchpersist.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def main(  # type: ignore[override]  # click's has an overload for each standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command and, if it fails, the one of ``--on-failure``.

        Exits with a code that README lists: 1 if output was lost that standard output should have got.
        """
        invocation = Invocation(list(sys.argv[1:] if args is None else args))
        try:
            return super().main(list(invocation.words), prog_name, obj=invocation, **extra)
        except SystemExit as end:
            code = final_exit_code(int(end.code or 0))
        except Exception:
            self._run_failure_command(invocation, ExitCode.ERROR)
            raise
        if code:
            report_lost_output()
            self._run_failure_command(invocation, code)
        _exit_past_hanging_requests(code)
        sys.exit(code)

    def _run_failure_command(self, invocation: Invocation, code: int) -> None:
        if invocation.options is None and invocation.words:
            invocation.options = self._read_leniently(invocation.words)
        run_failure_command(invocation, code)

    def _read_leniently(self, words: Sequence[str]) -> dict[str, Any]:
        """Read as many options as possible from a command line or a file that is wrong."""
        place = next((place for place, word in enumerate(words) if word in _COMMANDS), None)
        name, rest = ("run", words) if place is None else (words[place], words[place + 1 :])
        lenient: dict[str, Any] = {
            "resilient_parsing": True,
            "ignore_unknown_options": True,
            "allow_extra_args": True,
        }
        ctx = super().make_context("batchpersist", list(words), **lenient)
        command = self.get_command(ctx, name)
        assert command is not None
        defaults = default_map(configure(ctx, name, command, lenient=True), command)
        return command.make_context(name, list(rest), default_map=defaults, **lenient).params

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _printable_errors():
            return super().make_context(info_name, args, parent, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:
            ctx.default_map = {name: default_map(configure(ctx, name, command), command)}
        return name, command, rest

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _printable_errors(), _coded_errors():
                require_memory()
                return super().invoke(ctx)
        except KeyboardInterrupt:  # from a command that does not catch signals
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


def _exit_past_hanging_requests(code: int) -> None:
    """Exit at once if a request to an object store hangs.

    At a normal exit Arrow waits for the request; without that wait it crashes when Python unloads it.
    """
    object_store = sys.modules.get("batchpersist.sources.object_store")  # only some sources import it
    if object_store is None or not object_store.is_request_left():
        return
    from pyarrow.fs import ensure_s3_finalized

    atexit.unregister(ensure_s3_finalized)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _coded_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError as error:
        words = f"a file's name cannot be spelt in this locale's encoding ({error.encoding}): {error.object}"
        raise _CodedError(UsageError(f"{words}; LC_ALL=C.UTF-8 helps")) from error
    except Exception as error:
        known = system_error_in(error)
        if not isinstance(known, BatchPersistError | OSError):
            raise
        if isinstance(known, OSError) and known.errno == errno.ENOMEM:
            atexit.register(os._exit, ExitCode.ERROR)  # libraries short of memory may crash at exit
        raise _CodedError(known) from error


@click.command(cls=MainGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchpersist")
@click.option(
    "--config",
    metavar="FILE",
    envvar="BATCHPERSIST_CONFIG",
    help="Options from a TOML file.  [default: batchpersist.toml, or [tool.batchpersist] in pyproject.toml]",
)
@click.option(
    "--profile",
    metavar="NAME",
    envvar="BATCHPERSIST_PROFILE",
    help="With the options of [profile.NAME] in that file.",
)
def cli(config: str | None, profile: str | None) -> None:
    """Persist the completed runs of an agent orchestrator, many at once.

    For each run, its task's snapshot and its own manifest are written concurrently and
    settled independently. `batchpersist run --help` is where to begin.

    An option is taken from the command line, else from the environment (BATCHPERSIST_RUN_OUT_DIR
    or BATCHPERSIST_OUT_DIR for --out-dir), else from a file; `batchpersist config show`
    says where each one comes from.
    """


def main() -> None:
    """Entry point of the console script; exits with the code that docs and README list."""
    replace_closed_streams()
    for name, value in _NO_THREADS.items():
        os.environ.setdefault(name, value)
    if is_memory_limited():  # Arrow's usual allocator reserves a gigabyte at once
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    take_over_streams()
    sys.excepthook = print_traceback
    cli(prog_name="batchpersist")
