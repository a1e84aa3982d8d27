"""What a shell is told when it completes the name of a batch, or of a task that is locked."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

from ..batches.batchfolder import LATEST, list_batches
from ..foreign_text import printable
from ..layout import Layout


def complete_batch(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """``latest``, and the ids of the batches of the runs-dir that is named, or else of the default one."""
    try:
        names = [LATEST, *(folder.batch_id for folder in list_batches(_layout(ctx)))]
    except OSError:
        return []
    return _usable(names, incomplete)


def complete_locked_task(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The tasks whose lock or gate is there."""
    from ..operations.tasklocks import list_locks

    try:
        names = {state.task_id for state in list_locks(_layout(ctx))}
    except OSError:
        return []
    return _usable(sorted(names), incomplete)


def _usable(names: Iterable[str], incomplete: str) -> list[str]:
    """Without what would steer the terminal, or be another word to the shell's script."""
    return [name for name in names if name.startswith(incomplete) and name == printable(name)]


def _layout(ctx: click.Context) -> Layout:
    return Layout("", os.path.abspath(ctx.params.get("runs_dir") or ".runs"))
