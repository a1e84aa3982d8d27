"""The command's entry: finds the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .. import __version__
from ..errors import BatchPersistError, UsageError, exit_code_of, failure_of
from ..exit_codes import ExitCode
from ..foreign_text import printable
from ..system_limits import is_memory_limited, refusal_in, require_memory
from .config_file import CONFIGURATION, Setting, default_map, name_variables, read_configuration, settings_of
from .on_failure import Ending, tell
from .output import final_code, open_streams, prepare, print_traceback, report_loss

_COMMANDS = {
    "audit": "audit",
    "compare": "compare",
    "completion": "completion",
    "config": "config",
    "generate": "generate",
    "locks": "locks",
    "merge-metrics": "merge_metrics",
    "repair": "repair",
    "report": "report",
    "retry": "retry",
    "run": "run",
    "status": "status",
    "validate": "validate",
}


_WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For what comes with pyarrow, and starts threads that nobody here needs as it is loaded.

Where they cannot be started, NumPy's OpenBLAS sends this process a SIGINT, and Arrow's jemalloc complains.
"""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is asked for: ``--help`` and ``--version`` start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"batchpersist.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@contextmanager
def _printable_errors() -> Iterator[None]:
    """click prints what it complains of, names of files among it, as it is."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # its message is the help
        raise
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)  # final to click's types
        raise


class _CodedError(click.ClickException):
    """An error of the batch itself, on its way to ``Error: ...`` and its exit code."""

    def __init__(self, error: BatchPersistError | OSError) -> None:
        super().__init__(str(error if isinstance(error, BatchPersistError) else failure_of(error)))
        vars(self)["exit_code"] = exit_code_of(error)  # a class variable to click's types


class _Main(LazyGroup):
    def main(  # type: ignore[override]  # click's has an overload for each standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command, and the one for failures after it (``onfailure``).

        Exits with a code that README lists: 1 where standard output was to be written, but could not be.
        """
        ending = Ending(list(sys.argv[1:] if args is None else args))
        try:
            return super().main(list(ending.words), prog_name, obj=ending, **extra)
        except SystemExit as ended:
            code = final_code(int(ended.code or 0))
        except Exception:
            tell(ending, ExitCode.ERROR, self._read_leniently)
            raise
        if code:
            report_loss()
            tell(ending, code, self._read_leniently)
        _leave_requests(code)
        sys.exit(code)

    def _read_leniently(self, words: Sequence[str]) -> dict[str, Any]:
        """The options of a command line that is wrong, or whose file is, as far as they can be read."""
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
        configuration = read_configuration(ctx.params["config"], ctx.params["profile"], lenient=True)
        name_variables(command, name)
        settings = settings_of(configuration, name, command, lambda: iter(()), lenient=True)
        defaults = default_map(settings, command)
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
            ctx.default_map = {name: default_map(self.configure(ctx, name, command), command)}
        return name, command, rest

    def configure(self, ctx: click.Context, name: str, command: click.Command) -> dict[str, Setting]:
        """Have a command's options come from the environment, too; returns those that the file gives."""
        configuration = read_configuration(ctx.params["config"], ctx.params["profile"])
        ctx.meta[CONFIGURATION] = configuration.path
        configuration.check_sections(set(_COMMANDS))
        name_variables(command, name)
        return settings_of(configuration, name, command, lambda: self._commands(ctx))

    def _commands(self, ctx: click.Context) -> Iterator[click.Command]:
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None:
                yield command

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _printable_errors(), _coded_errors():
                require_memory()
                return super().invoke(ctx)
        except KeyboardInterrupt:  # a command that has nothing to bring to an end
            raise click.exceptions.Exit(128 + signal.SIGINT) from None


def _leave_requests(code: int) -> None:
    """End the process here where a request to an object storage hangs: Arrow would wait for it.

    Without that wait it crashes as the interpreter unloads it.
    """
    objects = sys.modules.get("batchpersist.sources.object_store")  # imported where a source needs it
    if objects is None or not objects.is_request_left():
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
        known = refusal_in(error)
        if not isinstance(known, BatchPersistError | OSError):
            raise
        if isinstance(known, OSError) and known.errno == errno.ENOMEM:
            atexit.register(os._exit, 1)  # libraries that got too little may crash as they are unloaded
        raise _CodedError(known) from error


@click.command(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
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
    open_streams()
    for name, value in _WITHOUT_THREADS.items():
        os.environ.setdefault(name, value)
    if is_memory_limited():  # Arrow's usual allocator reserves a gigabyte, whatever is used of it
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    prepare()
    sys.excepthook = print_traceback
    cli(prog_name="batchpersist")
