"""The command's entry: finds the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib

import click

from .. import __version__
from ..errors import BatchPersistError, exit_code_of, failure_of

_COMMANDS = {"generate": "generate", "run": "run"}


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
        failure = failure_of(error)
        words = f"{failure.message}: {failure.detail}" if isinstance(error, OSError) else str(error)
        super().__init__(words)
        vars(self)["exit_code"] = exit_code_of(error)  # a class variable to click's types


class _Main(LazyGroup):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (BatchPersistError, OSError) as error:
            raise _CodedError(error) from error


@click.command(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchpersist")
def cli() -> None:
    """Persist the completed runs of an agent orchestrator, many at once.

    For each run, its task's snapshot and its own manifest are written concurrently and
    settled independently. `batchpersist run --help` is where to begin.
    """


def main() -> None:
    """Entry point of the console script; exits with the code that docs and README list."""
    cli(prog_name="batchpersist")
