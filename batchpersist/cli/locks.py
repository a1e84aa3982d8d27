"""``batchpersist locks``: lists the locks of a root, and removes those of dead owners."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from ..locks import LockState, held_locks, list_locks, unlock
from ..paths import Layout
from ..wording import number
from . import batch_options, source_options
from .completion import complete_locked_task
from .output import print_event, print_line, print_table
from .params import SectionedCommand, add_options
from .summary import approximate_duration

_COLUMNS = ("task", "what", "owner", "since", "age", "owner is", "stale", "kept because")


@click.group("locks", short_help="Show who holds which lock, and take one from the dead.")
def command() -> None:
    """The locks of a root: those of the tasks, with the gates to them, and the batch's."""


@command.command("list", cls=SectionedCommand, short_help="List all locks, with their owners.")
@add_options(source_options.RUNS_DIR, batch_options.LOCK_STALE, batch_options.JSON)
def list_command(runs_dir: str, lock_stale: float, as_json: bool) -> None:
    """List all locks: who holds each, since when, whether it is stale, and if not, why it is kept.

    Changes nothing. age: since the lock was refreshed last; stale: whoever tries for it clears it.
    """
    layout = _layout(runs_dir)
    states = list(list_locks(layout, lock_stale))
    batches = list(held_locks(layout))
    if as_json:
        for path, holder in batches:
            held = {"pid": holder.pid, "host": holder.host, "acquired_at": holder.started}
            print_event("batch_lock", path=path, description=holder.description, **held)
        for state in states:
            print_event("lock", **asdict(state))
        return
    for path, holder in batches:
        print_line(f"The batch lock {os.path.relpath(path)} is held by {holder}.")
    if states:
        print_table(_COLUMNS, map(_row, states))
    print_line(
        f"{number(len(states), 'lock')} in {runs_dir}, {sum(state.stale for state in states):,} stale."
    )


@command.command("unlock", cls=SectionedCommand, short_help="Remove a task's lock that a dead owner left.")
@click.argument("task_id", metavar="TASK", shell_complete=complete_locked_task)
@click.option(
    "--force",
    is_flag=True,
    is_eager=True,  # never from the environment or a file, where `force` may be meant for other commands
    help="Also from an owner that may be alive: its snapshot may be lost.",
)
@add_options(source_options.RUNS_DIR, batch_options.LOCK_STALE, batch_options.JSON)
def unlock_command(task_id: str, force: bool, runs_dir: str, lock_stale: float, as_json: bool) -> None:
    """Remove the lock of TASK, and its gate, that a dead process left behind.

    An owner that lives, or may live on another host, keeps it (exit code 11), and so does a lock that
    changes meanwhile. The batch lock needs no unlocking: the kernel releases it.
    """
    layout = _layout(runs_dir)
    removed = unlock(layout, task_id, force=force, stale_seconds=lock_stale)
    if as_json:
        for state in removed:
            print_event("unlocked", **asdict(state))
    elif not removed:
        print_line(f"Task {task_id} is not locked.")
    for state in removed if not as_json else ():
        what = "gate" if state.is_gate else "lock"
        print_line(f"Removed the {what} of task {task_id}: {_owner_name(state)}, {state.owner.value}.")


def _layout(runs_dir: str) -> Layout:
    layout = Layout("", os.path.abspath(runs_dir))
    layout.check_runs_dir()
    return layout


def _row(state: LockState) -> tuple[str, ...]:
    return (
        state.task_id,
        "gate" if state.is_gate else "lock",
        _owner_name(state),
        state.acquired_at or "-",
        approximate_duration(state.age_seconds),
        state.owner.value,
        "yes" if state.stale else "no",
        state.kept_because or "-",
    )


def _owner_name(state: LockState) -> str:
    if state.pid is None and not state.host:
        return "-"
    return f"{state.pid or '?'}@{state.host or '?'}"
