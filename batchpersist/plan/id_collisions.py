"""Ids that cannot have their folder: another id has it if case is folded, or a file of the batch has it.

The second of two such ids is refused, and so is one whose folder the metrics would take (docs/formats.md).
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..contract.identifiers import LOCK_SUFFIXES, folded
from ..errors import UnsafeIdentifierError, UsageError
from ..models import Reject
from ..paths import OWN_FOLDER, Layout
from .selection import reject_row

if TYPE_CHECKING:
    import pyarrow as pa


class OwnPaths:
    """Paths that a batch writes its own files to, and the ids whose folders they take.

    Letters of another case count as the same, whether or not the file system folds case.
    """

    def __init__(self, layout: Layout, paths: Iterable[str]) -> None:
        self._paths: dict[str, dict[str, str]] = {}
        """Folded task id -> folded run id (or "": all runs of the task) -> path."""
        for path in paths:
            ids = _ids_at(layout, path)
            if ids is not None:
                self._paths.setdefault(ids[0], {})[ids[1]] = path

    def at(self, task_id: str, run_id: str) -> str | None:
        """The path that takes the folder of these ids, if there is one."""
        paths = self._paths.get(folded(task_id), {})
        return paths.get("", paths.get(folded(run_id)))

    def concern(self, task_ids: Iterable[str]) -> bool:
        """Whether any path takes a folder of one of these tasks."""
        return not self._paths.keys().isdisjoint(map(folded, task_ids))


def refuse_places_of_runs(layout: Layout, paths: Iterable[str]) -> None:
    """Raise UsageError for a path that a snapshot, a manifest or a lock of any task has, and for one in
    batchpersist's own folder of any root."""
    for path in paths:
        match [root and _names_below(root, path) for root in (layout.out_dir, layout.runs_dir)]:
            case ([_, "runs.json" | "state.json"], _) | (_, [_, _, "manifest.json"]):
                is_refused = True
            case (_, [name]):
                is_refused = name.endswith(LOCK_SUFFIXES)
            case _:
                is_refused = OWN_FOLDER in folded(os.path.realpath(os.path.dirname(path))).split(os.sep)
        if is_refused:
            raise UsageError(
                f"runs have their own files there, which would be lost; name another file: {path}"
            )


def _ids_at(layout: Layout, path: str) -> tuple[str, str] | None:
    """The folded ids of the task, or run, that has its folder at a path."""
    match _names_below(layout.out_dir, path):
        case [task_id]:
            return task_id, ""
    match _names_below(layout.runs_dir, path):
        case [task_id]:
            return task_id, ""
        case [task_id, run_id]:
            return task_id, run_id
    return None


def _names_below(root: str, path: str) -> list[str]:
    """Folded names of the folders from a root to a path; none where it is not below the root."""
    folder, name = os.path.split(os.path.abspath(path))
    path = os.path.join(os.path.realpath(folder), name)
    names = os.path.relpath(folded(path), folded(os.path.realpath(root))).split(os.sep)
    return [] if names[0] in (os.pardir, os.curdir) else names


_FOLDED = "id differs from another only in what the file system does not keep apart: case, or Unicode's form"
_CAUSES = {
    "task": f"task {_FOLDED}",
    "run": f"run {_FOLDED}",
    "own": "its ids have their place where the batch writes a file of its own; name another for that",
}


def folds_case(path: str) -> bool:
    """Whether ``path``, which exists, is found under its name in other letters as well."""
    folder, name = os.path.split(path)
    if name == name.swapcase():
        return False
    try:
        return os.path.samestat(os.lstat(path), os.lstat(os.path.join(folder, name.swapcase())))
    except FileNotFoundError:
        return False


def _folding_of(layout: Layout) -> Callable[[str], str] | None:
    """How the roots' file systems compare names, if one of them does not compare bytes; else None.

    Writes nothing: a root is judged by batchpersist's own folder in it, or by its own name. Those of macOS
    treat the forms of a letter as equal, whether or not they fold case.
    """
    if folds_case(layout.own_dir) or folds_case(layout.out_dir):
        return folded
    return partial(unicodedata.normalize, "NFC") if sys.platform == "darwin" else None


@dataclass(frozen=True)
class IdCheck:
    """Finds ids that cannot have a folder of their own below the roots of a batch."""

    layout: Layout
    own_paths: Iterable[str] = ()
    """Paths that the batch itself writes to."""

    def split(self, rows: pa.Table) -> tuple[pa.Table, list[tuple[str, Reject]]]:
        """The rows of an index whose ids can be persisted; and the others, each with its task, as rejects.

        Of several ids that the file system takes for one, the one that has its folder already is kept, or
        else the first in the rows. Writes nothing. Raises OSError.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        fold = _folding_of(self.layout)
        own_paths = OwnPaths(self.layout, self.own_paths)
        if fold is None and not own_paths.concern(pc.unique(rows["task_id"]).to_pylist()):
            return rows, []
        tasks = _Ids([*_names(self.layout.out_dir), *_names(self.layout.runs_dir)], fold or folded)
        runs: dict[str, _Ids] = {}
        errors: dict[int, UnsafeIdentifierError] = {}
        keys = zip(rows["task_id"].cast("string").to_pylist(), rows["run_id"].to_pylist(), strict=True)
        for number, (task_id, run_id) in enumerate(keys):
            path = own_paths.at(task_id, run_id)
            if path is not None:
                errors[number] = _error("own", path)
            if path is not None or fold is None:
                continue
            if task_id not in runs:
                runs[task_id] = _Ids(_names(self.layout.task_runs_dir(task_id)), fold)
            twin = tasks.twin(task_id)
            other = twin or runs[task_id].twin(run_id)
            if other:
                errors[number] = _error("task" if twin else "run", other)
        kept = pa.array([number not in errors for number in range(rows.num_rows)], pa.bool_())
        return (rows.filter(kept) if errors else rows), _rejects(rows, errors)


def _rejects(rows: pa.Table, errors: Mapping[int, UnsafeIdentifierError]) -> list[tuple[str, Reject]]:
    import pyarrow as pa

    refused = rows.select(["task_id", "origin", "file", "line"]).take(pa.array(errors, pa.int64()))
    return [
        (row["task_id"], reject_row(row, error))
        for row, error in zip(refused.to_pylist(), errors.values(), strict=True)
    ]


def _error(cause: str, other: str) -> UnsafeIdentifierError:
    return UnsafeIdentifierError(_CAUSES[cause], ascii(other))


class _Ids:
    """Ids seen so far."""

    def __init__(self, names: Iterable[str], fold: Callable[[str], str]) -> None:
        self._fold = fold
        self._first = {fold(name): name for name in names}

    def twin(self, name: str) -> str | None:
        """An earlier id that is the same file name."""
        first = self._first.setdefault(self._fold(name), name)
        return first if first != name else None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
