"""Ids that would have their place where the batch writes a file of its own: a task ``metrics.json``, say."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import UsageError
from ..layout import OWN_FOLDER, Layout
from ..runs.identifiers import LOCK_SUFFIXES, folded

OwnPlaces = dict[str, dict[str, str]]
"""Folded task id -> folded run id ("": whatever the run is) -> the path that is there."""


def own_places(layout: Layout, paths: Iterable[str]) -> OwnPlaces:
    """Which tasks and runs the paths are in the way of, whether or not the file system folds case."""
    places: OwnPlaces = {}
    for path in paths:
        ids = _ids_at(layout, path)
        if ids is not None:
            places.setdefault(ids[0], {})[ids[1]] = path
    return places


def own_path_at(task_id: str, run_id: str, places: OwnPlaces) -> str | None:
    """The path that the ids' own place is; None where there is none."""
    of_task = places.get(folded(task_id), {})
    return of_task.get("", of_task.get(folded(run_id)))


def refuse_places_of_runs(layout: Layout, paths: Iterable[str]) -> None:
    """Raise UsageError for a path where a snapshot, a manifest or a lock has its place, whatever the task,
    and for one in the own folder of any root."""
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
