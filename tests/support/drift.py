"""Trees that have drifted: damage to snapshots and manifests, and the findings that an audit must report.

``slow_audit`` is slow and obvious: it reads each file whole with Python's json.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.model import Run, persist, stringify
from support.processes import dead_pid

from batchpersist.contract.identifiers import check_run_id, check_task_id
from batchpersist.locks.lock_file import new_owner
from batchpersist.storage import temp_files

TASKS = ("billing", "mail", "search")
Found = set[tuple[str, str, str]]
"""(kind, task, run)"""


def make_run(task: str, number: int, **more: Any) -> Run:
    """A run; each two numbers share a timestamp."""
    return {
        "taskId": task,
        "runId": f"{task}-{number}",
        "timestamp": f"2026-01-01T00:{number // 2:02d}:00.000Z",
        "notes": f"é{number}",
        **more,
    }


@dataclass
class Tree:
    """The two roots below a folder."""

    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def fill(self, numbers: Iterable[int] = range(4), tasks: Iterable[str] = TASKS) -> Tree:
        persist([make_run(task, number) for task in tasks for number in numbers], self.out, self.runs)
        return self

    def snapshot(self, task: str) -> Path:
        return self.out / task / "runs.json"

    def manifest(self, task: str, run_id: str) -> Path:
        return self.runs / task / run_id / "manifest.json"

    def manifests(self, task: str) -> list[Path]:
        return sorted((self.runs / task).glob("*/manifest.json"))

    def read(self, task: str) -> dict[str, Any]:
        """The content of a valid snapshot."""
        content: dict[str, Any] = json.loads(self.snapshot(task).read_text("utf-8"))
        return content

    def write(self, task: str, snapshot: Any, **how: Any) -> None:
        text = json.dumps(snapshot, **how) if how else stringify(snapshot)
        self.snapshot(task).write_text(text, "utf-8")


# -- Drifts: ``at`` and ``byte`` choose the place, modulo what there is -------------------------------------


def delete_manifest(tree: Tree, task: str, at: int, byte: int) -> None:
    if manifests := tree.manifests(task):
        manifests[at % len(manifests)].unlink()


def delete_snapshot(tree: Tree, task: str, at: int, byte: int) -> None:
    tree.snapshot(task).unlink(missing_ok=True)


def _change_snapshot(tree: Tree, task: str, change: Callable[[dict[str, Any]], None]) -> None:
    if is_snapshot(tree.snapshot(task), task):
        snapshot = tree.read(task)
        if snapshot["runs"]:
            change(snapshot)
        tree.write(task, snapshot)


def delete_entry(tree: Tree, task: str, at: int, byte: int) -> None:
    def change(snapshot: dict[str, Any]) -> None:
        del snapshot["runs"][at % len(snapshot["runs"])]
        if snapshot["runs"]:
            snapshot["lastRunAt"] = snapshot["runs"][-1]["timestamp"]

    _change_snapshot(tree, task, change)


def swap_entries(tree: Tree, task: str, at: int, byte: int) -> None:
    def change(snapshot: dict[str, Any]) -> None:
        runs = snapshot["runs"]
        one, other = at % len(runs), byte % len(runs)
        runs[one], runs[other] = runs[other], runs[one]

    _change_snapshot(tree, task, change)


def repeat_entry(tree: Tree, task: str, at: int, byte: int) -> None:
    def change(snapshot: dict[str, Any]) -> None:
        runs = snapshot["runs"]
        again = dict(runs[at % len(runs)])
        if byte % 2:
            again["notes"] = f"again {byte}"
        runs.insert(byte % (len(runs) + 1), again)

    _change_snapshot(tree, task, change)


def change_last_run_at(tree: Tree, task: str, at: int, byte: int) -> None:
    def change(snapshot: dict[str, Any]) -> None:
        snapshot["lastRunAt"] = f"2027-{byte}"

    _change_snapshot(tree, task, change)


def reformat_snapshot(tree: Tree, task: str, at: int, byte: int) -> None:
    if is_snapshot(tree.snapshot(task), task):
        tree.write(task, tree.read(task), separators=(",", ":"), ensure_ascii=bool(byte % 2))


def change_manifest(tree: Tree, task: str, at: int, byte: int) -> None:
    if manifests := tree.manifests(task):
        path = manifests[at % len(manifests)]
        run = read_json(path)
        if isinstance(run, dict):
            path.write_text(stringify(run | {"notes": f"changed {byte}"}), "utf-8")


def misplace_manifest(tree: Tree, task: str, at: int, byte: int) -> None:
    """Copy a manifest into another run's folder, of the same task or of another."""
    if manifests := tree.manifests(task):
        target = tree.manifest(TASKS[byte % 3], f"misplaced-{byte % 5}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(manifests[at % len(manifests)].read_bytes())


def tear(path: Path, byte: int, tail: bytes = b"") -> None:
    if path.exists() and (content := path.read_bytes()):
        path.write_bytes(content[: byte % len(content)] + tail)


def tear_snapshot(tree: Tree, task: str, at: int, byte: int) -> None:
    tear(tree.snapshot(task), byte, bytes(at % 3 * 100))


def tear_manifest(tree: Tree, task: str, at: int, byte: int) -> None:
    if manifests := tree.manifests(task):
        tear(manifests[at % len(manifests)], byte, bytes(at % 3 * 100))


def plant_temporary(tree: Tree, task: str, at: int, byte: int) -> None:
    """A temporary file of a dead process, beside one of the files."""
    manifests = tree.manifests(task)
    targets = [tree.snapshot(task), *manifests, tree.out / "metrics.json"]
    target = targets[at % len(targets)]
    if target.parent.is_dir():
        name = f"{target.name}.tmp-{temp_files._place()}{DEAD:06x}abcdef{byte % 16:x}"
        (target.parent / name).write_text("half of it")


def plant_foreign_file(tree: Tree, task: str, at: int, byte: int) -> None:
    folders = [
        tree.runs,
        tree.runs / task,
        tree.out,
        tree.out / task,
        *(p.parent for p in tree.manifests(task)),
    ]
    folder = folders[at % len(folders)]
    if folder.is_dir():
        (folder / f"notes-{byte % 2}.txt").write_text("somebody's")


def plant_stale_lock(tree: Tree, task: str, at: int, byte: int) -> None:
    path = tree.runs / f"{task}.lock{'.acquire' if at % 2 else ''}"
    owner = new_owner(task, 300).encode()
    path.write_bytes(owner.replace(b'"pid":%d' % os.getpid(), b'"pid":%d' % DEAD))
    long_ago = time.time() - 1000
    os.utime(path, (long_ago, long_ago))


def keep_as_legacy(tree: Tree, task: str, at: int, byte: int) -> None:
    if tree.snapshot(task).exists():
        tree.snapshot(task).rename(tree.snapshot(task).with_name("state.json"))


DRIFTS = (
    delete_manifest,
    delete_snapshot,
    delete_entry,
    swap_entries,
    repeat_entry,
    change_last_run_at,
    reformat_snapshot,
    change_manifest,
    misplace_manifest,
    tear_snapshot,
    tear_manifest,
    plant_temporary,
    plant_foreign_file,
    plant_stale_lock,
    keep_as_legacy,
)
DEAD = dead_pid()


# -- The slow audit -----------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The JSON in a file; None where there is none."""
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, OSError):
        return None


def is_run(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in KEYS)


KEYS = ("taskId", "runId", "timestamp")


def is_snapshot(path: Path, task: str) -> bool:
    value = read_json(path)
    return (
        isinstance(value, dict)
        and value.get("taskId") == task
        and isinstance(value.get("runs"), list)
        and all(isinstance(run, dict) and {"runId", "timestamp"} <= run.keys() for run in value["runs"])
    )


def slow_audit(tree: Tree) -> tuple[Found, dict[tuple[str, str], str]]:
    """The findings that an audit of the tree must report, and the status of each run as its sign."""
    found: Found = set()
    signs: dict[tuple[str, str], str] = {}
    for path in [tree.out, tree.runs, *tree.out.glob("*/"), *tree.runs.glob("[!.]*/")]:
        found |= set(_beside(tree, path))
    tasks = {path.name for root in (tree.out, tree.runs) for path in root.glob("*/") if path.name[0] != "."}
    for task in sorted(tasks):
        check_task_id(task)
        found |= set(_of_task(tree, task, signs))
    return found, signs


def _beside(tree: Tree, folder: Path) -> Iterable[tuple[str, str, str]]:
    is_root = folder in (tree.out, tree.runs)
    for path in folder.iterdir() if is_root else folder.rglob("*"):
        if not path.is_file() or path.name in {"runs.json", "state.json", "manifest.json"}:
            continue
        inner = path.relative_to(folder).parts
        task, run = ("", "") if is_root else (folder.name, inner[0] if len(inner) > 1 else "")
        if ".tmp-" in path.name:
            yield "orphaned-temporary", task, run
        elif ".lock" in path.name:
            yield "stale-lock", path.name.partition(".lock")[0], ""
        else:
            yield "foreign-file", task, run


def _of_task(tree: Tree, task: str, signs: dict[tuple[str, str], str]) -> Iterable[tuple[str, str, str]]:
    snapshot, entries, readable = tree.snapshot(task), [], True
    if snapshot.exists():
        value = read_json(snapshot)
        readable = is_snapshot(snapshot, task)
        if readable:
            entries = value["runs"]
            yield from _of_snapshot(task, value, snapshot.read_text("utf-8"))
        else:
            is_other = isinstance(value, dict) and value.get("taskId") != task
            yield ("wrong-id" if is_other else "invalid-snapshot"), task, ""
    elif is_snapshot(legacy := snapshot.with_name("state.json"), task):
        entries = read_json(legacy)["runs"]

    ids = {run["runId"] for run in entries} | {path.name for path in (tree.runs / task).glob("*/")}
    for run_id in sorted(ids):
        check_run_id(run_id)
        manifest, unknown = None, not readable
        if (path := tree.manifest(task, run_id)).exists():
            manifest = read_json(path)
            if not is_run(manifest):
                yield "invalid-manifest", task, run_id
                manifest, unknown = None, True
            elif (manifest["taskId"], manifest["runId"]) != (task, run_id):
                yield "wrong-id", task, run_id
                manifest, unknown = None, True
        mine = [run for run in entries if run["runId"] == run_id]
        entry = manifest if manifest in mine else mine[-1] if mine else None
        if entry is None and manifest is None and not path.exists():
            continue
        sign = "!" if unknown else "="
        if entry is not None and manifest is not None and entry != manifest:
            yield "content-differs", task, run_id
            sign = "*"
        elif manifest is not None and entry is None and readable:
            yield "missing-in-snapshot", task, run_id
            sign = "-"
        elif entry is not None and not path.exists():
            yield "missing-manifest", task, run_id
            sign = "-"
        signs[task, run_id] = sign


def _of_snapshot(task: str, value: dict[str, Any], text: str) -> Iterable[tuple[str, str, str]]:
    times = [run["timestamp"] for run in value["runs"]]
    if times != sorted(times):
        yield "unsorted", task, ""
    if times and value["lastRunAt"] != times[-1]:
        yield "wrong-last-run-at", task, ""
    elif times and text != stringify(value):
        yield "other-layout", task, ""
    for run_id, count in Counter(run["runId"] for run in value["runs"]).items():
        if count > 1:
            yield "duplicate-run", task, run_id


def remaining_differences(tree: Tree) -> set[tuple[str, str, str]]:
    """The findings of a slow audit, except those that need no repair."""
    return {item for item in slow_audit(tree)[0] if item[0] not in ("foreign-file", "other-layout")}


def parsable_runs(tree: Tree) -> dict[tuple[str, str], list[object]]:
    """Each run that can be read anywhere, by its own ids, with all its texts."""
    found: dict[tuple[str, str], list[object]] = {}
    for run in _all_runs(tree):
        if is_run(run):
            found.setdefault((run["taskId"], run["runId"]), []).append(run)
    return found


def _all_runs(tree: Tree) -> Iterable[dict[str, object]]:
    for path in tree.runs.glob("[!.]*/*/manifest.json"):
        yield read_json(path)
    for path in tree.out.glob("*/runs.json"):
        value = read_json(path)
        if isinstance(value, dict) and isinstance(value.get("runs"), list):
            yield from value["runs"]
    for path in tree.out.glob("*/state.json"):
        if not path.with_name("runs.json").exists() and is_snapshot(path, path.parent.name):
            yield from read_json(path)["runs"]
