"""The command's entry: finds the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator

import click

from .. import __version__
from ..errors import BatchPersistError, exit_code_of, failure_of
from ..limits import refusal_in
from .configuration import Setting, read_configuration
from .defaults import default_map, name_variables, settings_of
from .output import say, silence

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


class _CodedError(click.ClickException):
    """An error of the batch itself, on its way to ``Error: ...`` and its exit code."""

    def __init__(self, error: BatchPersistError | OSError) -> None:
        words = str(error if isinstance(error, BatchPersistError) else failure_of(error))
        from ..report.wording import printable  # seldom needed

        super().__init__(printable(words))
        vars(self)["exit_code"] = exit_code_of(error)  # a class variable to click's types


class _Main(LazyGroup):
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
            return super().invoke(ctx)
        except (BatchPersistError, OSError) as error:
            raise _CodedError(error) from error
        except Exception as error:
            if isinstance(refusal := refusal_in(error), OSError):
                raise _CodedError(refusal) from error
            raise
        except KeyboardInterrupt:  # a command that has nothing to bring to an end
            raise click.exceptions.Exit(128 + signal.SIGINT) from None


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
    for name, value in _WITHOUT_THREADS.items():
        os.environ.setdefault(name, value)
    try:
        cli(prog_name="batchpersist")
    except OSError as error:  # of a full disk, say, that the help was to be printed to
        silence(sys.stdout)
        say(f"Error: {failure_of(error)}", err=True)
        sys.exit(exit_code_of(error))
