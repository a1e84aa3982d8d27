"""``batchpersist completion``: shell completion of commands, batches and locked tasks."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click
from click.shell_completion import get_completion_class

from ..foreign_text import printable
from ..paths import Layout
from ..records.batch_folder import LATEST, list_batches
from .output import write_document


def complete_batch(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete ``latest`` and the ids of the batches of the runs-dir."""
    try:
        names = [LATEST, *(folder.batch_id for folder in list_batches(_layout(ctx)))]
    except OSError:
        return []
    return _completions(names, incomplete)


def complete_locked_task(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the tasks that have a lock or a gate."""
    from ..locks import list_locks

    try:
        names = {state.task_id for state in list_locks(_layout(ctx))}
    except OSError:
        return []
    return _completions(sorted(names), incomplete)


def _completions(names: Iterable[str], incomplete: str) -> list[str]:
    """Leave out names with control characters, which would steer the terminal or split a word."""
    return [name for name in names if name.startswith(incomplete) and name == printable(name)]


def _layout(ctx: click.Context) -> Layout:
    return Layout("", os.path.abspath(ctx.params.get("runs_dir") or ".runs"))


_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print the completion script of SHELL, for its start-up file or completions folder.

    bash: `eval "$(batchpersist completion bash)"` in ~/.bashrc (bash 4.4 or newer);
    zsh: the same with zsh in ~/.zshrc; fish: `batchpersist completion fish >
    ~/.config/fish/completions/batchpersist.fish`.
    """
    root = click.get_current_context().find_root().command
    completion = get_completion_class(shell)
    assert completion is not None  # click knows these three
    script = completion(root, {}, "batchpersist", "_BATCHPERSIST_COMPLETE").source()
    write_document((f"{script}\n".encode(),))
