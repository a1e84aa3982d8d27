"""The orchestrator's own layout of a runs root: which file is where, and how to recognize it.

Below a root, a task's folder holds for each run, by the run's id:

    <task>/cli/<run>/run-summary.json    the completed run with all its members; none: it has not completed
    <task>/<run>/manifest.json           its manifest, which older versions wrote alone

Everything else is the orchestrator's own business, and some of it is secret. A root has no name of its own
(it may be a copy), so only its structure distinguishes it from other folders. Nothing here opens a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

RUNS = ".runs"
"""What a root is called in the repository whose runs it holds."""

CLI = "cli"
"""In a task's folder: the folder of the run folders."""

SUMMARY = "run-summary.json"

MANIFEST = "manifest.json"

LOCAL_MCP = "local-mcp"
"""Beside the tasks' folders, but not a task: links for old programs, and the control host."""

NOT_TASKS = frozenset({LOCAL_MCP, "learning-snapshots"})
"""Folders beside the tasks' folders that are not called after a task."""

NOT_RUNS = frozenset({CLI, "mcp", "metrics", "metrics.pending"})
"""Folders in a task's folder that are not called after a run."""

KEPT_BESIDE_RUNS = frozenset({"metrics.json", "metrics.lock"})
"""Files in a task's folder."""

KEPT_BESIDE_MANIFEST = frozenset({"artifacts"})
"""What else may lie in the folder of a run's manifest."""

KEPT_BESIDE_SNAPSHOT = frozenset(
    {
        "state.json",
        "experiences.jsonl",
        "metrics",
        "control-plane",
        "design",
        "doctor",
        "cloud-sync",
        "manual",
    }
)
"""What else may lie in a task's folder below the out root."""

SIGNS = (SUMMARY, ".heartbeat")
"""Files of a run folder that neither batchpersist nor a task called ``cli`` puts at this place."""

SECRETS = frozenset({"control_auth.json", "delegation_tokens.json", ".resume-token"})
"""Files that nobody but the orchestrator may open."""


def summary_of(run: str) -> str:
    """Where a run's summary is, from its task's folder."""
    return f"{CLI}/{run}/{SUMMARY}"


def manifest_of(run: str) -> str:
    """Where a run's manifest is, from its task's folder."""
    return f"{run}/{MANIFEST}"


def folders(path: str) -> Iterator[str]:
    """The names of the folders in a folder, in no order, without hidden ones and links.

    A folder that does not exist is empty. Raises OSError where one cannot be listed.
    """
    return (entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False))


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        yield from (entry for entry in entries if entry.name[0] != ".")


def tasks_in(root: str) -> Iterator[str]:
    """The names of what may be tasks' folders in a root, in no order. Raises as ``folders`` does."""
    return (name for name in folders(root) if name not in NOT_TASKS)


def runs_in(task: str) -> set[str]:
    """The ids that runs may have in a task's folder: those of its run folders, and of its manifests.

    Raises as ``folders`` does.
    """
    in_task = set(folders(task))
    in_cli = set(folders(f"{task}/{CLI}")) if CLI in in_task else set()
    return in_task - NOT_RUNS | in_cli


def is_run_folder(path: str) -> bool:
    """Whether a folder within ``cli`` is a run folder."""
    return any(os.path.lexists(f"{path}/{sign}") for sign in SIGNS)


def is_task_folder(path: str) -> bool:
    """Whether a folder is a task's in a root: it has run folders. No: it cannot be listed, perhaps."""
    cli = f"{path}/{CLI}"
    with suppress(OSError):
        return any(is_run_folder(f"{cli}/{run}") for run in folders(cli)) and not os.path.islink(cli)
    return False


def is_root(path: str) -> bool:
    """Whether a folder is a root: one of the folders in it is a task's. No: it cannot be listed, perhaps."""
    with suppress(OSError):
        return any(is_task_folder(f"{path}/{task}") for task in tasks_in(path))
    return False


def linked_tasks(root: str) -> Iterator[str]:
    """The names of links in a root that lead to tasks' folders elsewhere. Raises as ``folders`` does."""
    return (name for name in _links_out_of(root) if is_task_folder(f"{root}/{name}"))


def linked_run_folders(task: str) -> Iterator[str]:
    """The links in a task's folder that lead to a run folder elsewhere, or to all of them: paths from there.

    Raises as ``folders`` does.
    """
    cli = f"{task}/{CLI}"
    if not os.path.islink(cli):
        yield from (f"{CLI}/{run}" for run in _links_out_of(cli) if is_run_folder(f"{cli}/{run}"))
    elif any(is_run_folder(f"{cli}/{run}") for run in folders(cli)):
        yield CLI


def _links_out_of(path: str) -> Iterator[str]:
    # One that stays in the folder is another name for the same folder.
    for entry in _entries(path):
        if entry.is_symlink() and os.path.dirname(os.path.realpath(entry.path)) != os.path.realpath(path):
            yield entry.name


def root_above(names: Sequence[str]) -> int | None:
    """How many of a file's folders lead to a root, if the file is what shows that there is one.

    ``names``: the folders from the topmost down, and the file. For storage that is listed as a whole.
    """
    return len(names) - 4 if names[-1] in SIGNS and len(names) >= 4 and names[-3] == CLI else None


def run_of(names: Sequence[str]) -> str | None:
    """The id of the run that a file belongs to, which lies there as ``names`` say, from its root down.

    None for whatever is the orchestrator's own business.
    """
    task, *rest = names
    run = None
    if len(rest) > 2 and rest[0] == CLI:
        run = rest[1]
    elif len(rest) == 2 and rest[1] == MANIFEST and rest[0] not in NOT_RUNS:
        run = rest[0]
    is_own = task in NOT_TASKS or task.startswith(".") or run is None or run.startswith(".")
    return None if is_own else run
