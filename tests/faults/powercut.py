"""The recording of a batch, and the promise that each state after a power cut must keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crashstates import Disk, File, Tree, read_tree
from support.model import Run, persist, stringify
from syscalls import Call, read_trace, record
from world import journaled as journaled_lines

HOT, OLD, LEGACY = "hot", "old", "legacy"
OUT, RUNS = "out", "state/runs"
"""The two roots; a fresh runs root is two new folders deep."""
METRICS = f"{OUT}/metrics.json"

Key = tuple[str, str]


def make_run(task: str, number: int, **more: Any) -> Run:
    """Its number orders it."""
    time = f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00.000Z"
    return {"taskId": task, "runId": f"{task}-{number}", "timestamp": time, **more}


def before() -> list[Run]:
    return [make_run(HOT, number) for number in range(0, 50, 10)] + [make_run(OLD, 3), make_run(OLD, 8)]


def arrivals() -> list[Run]:
    """More than half are of one task, which is split. Some replace existing runs, one comes twice."""
    runs = [make_run(HOT, number, notes="é" * number) for number in range(1, 48)]
    runs += [make_run(OLD, number, notes="\n" * 9) for number in range(1, 10)]
    runs += [make_run(f"new-{task}", number) for task in range(8) for number in (2, 1)]
    return [*runs, make_run(LEGACY, 2), make_run("twice", 1, notes="first"), make_run("twice", 1)]


class World:
    """The roots below ``folder`` as they are before the batch, and the words of the command."""

    def __init__(self, folder: Path, *, fresh: bool = False, existing: bool = False) -> None:
        """``fresh``: no roots. ``existing``: another program has written all runs, but synced nothing."""
        self.root = folder / "world"
        self.out, self.runs = self.root / OUT, self.root / RUNS
        self.source = folder / "source.jsonl"
        self.source.write_text("".join(json.dumps(run) + "\n" for run in arrivals()))
        self.root.mkdir()
        if not fresh:
            self._fill()
        self.before = read_tree(self.root)
        self.unsynced: Tree = {}
        if existing:
            persist(arrivals(), self.out, self.runs)
            found = read_tree(self.root)
            self.unsynced = {path: file for path, file in found.items() if self.before.get(path) != file}

    def _fill(self) -> None:
        persist(before(), self.out, self.runs)
        (self.out / OLD / "runs.json").chmod(0o600)
        legacy = make_run(LEGACY, 1)
        (self.out / LEGACY).mkdir()
        snapshot = {"taskId": LEGACY, "lastRunAt": legacy["timestamp"], "runs": [legacy]}
        (self.out / LEGACY / "state.json").write_text(stringify(snapshot))
        (self.out / OLD / "notes.txt").write_text("not ours")

    def command(self, *words: str) -> list[str]:
        roots = ["--out-dir", str(self.out), "--runs-dir", str(self.runs), "--json", "--pool-threshold", "1"]
        return [sys.executable, "-m", "batchpersist", "run", str(self.source), *roots, *words]


@dataclass
class Recording:
    """A batch that ran to its end: its system calls, and the files that it left."""

    world: World
    calls: list[Call]
    after: Tree
    umask: int

    def disk(self, *without: str) -> Disk:
        """The disk that the batch wrote to; ``without``: calls to leave out."""
        calls = [call for call in self.calls if call.name not in without]
        return Disk(self.world.root, self.world.before, calls, self.umask, self.world.unsynced)

    @property
    def end(self) -> int:
        """When the command printed its summary; from here on it has reported all runs."""
        writes = (call for call in self.calls if call.name == "write" and call.arguments[0].startswith("1<"))
        return next(call.begin for call in writes if b'"message_type": "summary"' in call.data(1))


def record_batch(
    strace: str, folder: Path, *words: str, fresh: bool = False, existing: bool = False
) -> Recording:
    folder.mkdir()
    world = World(folder, fresh=fresh, existing=existing)
    record(strace, world.command(*words), folder / "trace")
    umask = os.umask(0)
    os.umask(umask)
    return Recording(world, read_trace(folder / "trace"), read_tree(world.root), umask)


class Promise:
    """The promise of README.md: about reported runs, about files, and about entries of other programs."""

    def __init__(self, world: World) -> None:
        self._before = world.before
        self._others = world.unsynced.keys()
        self._last = {_key(run): run for run in arrivals()}
        self._versions: dict[Key, list[Run]] = {}
        for run in [*before(), make_run(LEGACY, 1), *arrivals()]:
            self._versions.setdefault(_key(run), []).append(run)
        self._known: dict[tuple[str, File], tuple[list[str], dict[Key, Run]]] = {}

    def violations(self, tree: Tree, acknowledged: set[Key]) -> list[str]:
        """What does not hold in a tree of which these runs have been reported as persisted."""
        if METRICS in tree or acknowledged == self._last.keys():
            acknowledged = set(self._last)  # the metrics report all runs
        acknowledged = acknowledged | journaled(file.content for file in _journals(tree))
        found = [f"{path}: gone" for path in self._before.keys() - tree.keys()]
        for path, file in tree.items():
            if (
                not is_own(path) and path not in self._others
            ):  # other programs' files may be torn until the batch reports them
                found += self._problems_and_runs(path, file)[0]
        for task, run in acknowledged & self._last.keys():
            for path in (f"{RUNS}/{task}/{run}/manifest.json", f"{OUT}/{task}/runs.json"):
                held = self._problems_and_runs(path, tree[path])[1] if path in tree else {}
                if held.get((task, run)) != self._last[task, run]:
                    found.append(f"{path}: reported as persisted, but not there: {run}")
        return found

    def _problems_and_runs(self, path: str, file: File) -> tuple[list[str], dict[Key, Run]]:
        """Problems and runs of one file; cached, because few contents differ."""
        if (path, file) not in self._known:
            try:
                self._known[path, file] = self._read(path, file)
            except (ValueError, KeyError, TypeError):
                self._known[path, file] = [f"{path}: torn"], {}
        return self._known[path, file]

    def _read(self, path: str, file: File) -> tuple[list[str], dict[Key, Run]]:
        found = []
        if path in self._before and file.mode & ~self._before[path].mode:
            found.append(f"{path}: mode {file.mode:o}")
        _, _, name = path.rpartition("/")
        if name not in ("manifest.json", "runs.json", "metrics.json"):
            return found + [f"{path}: changed"] * (file.content != self._before[path].content), {}
        value = json.loads(file.content)
        if name == "metrics.json":
            return found, {}
        if file.content != stringify(value).encode():
            found.append(f"{path}: not as JSON.stringify writes it")
        runs = [value] if name == "manifest.json" else value["runs"]
        held = {_key(run): run for run in runs}
        found += [f"{path}: no version of {key}" for key in held if held[key] not in self._versions[key]]
        if name == "runs.json" and path in self._before:
            lost = {_key(run) for run in json.loads(self._before[path].content)["runs"]} - held.keys()
            found += [f"{path}: lost {lost}"] * bool(lost)
        return found, held


def acknowledged(recording: Recording, disk: Disk, time: int) -> set[Key]:
    """What the batch had reported as persisted by then: in its journal, once synced, or at its end."""
    if time >= recording.end:
        return {_key(run) for run in arrivals()}
    return journaled(disk.durable(time, "/journal.jsonl"))


def journaled(journals: Iterable[bytes]) -> set[Key]:
    """The runs that journals name; a line without its end is none."""
    return set().union(*(journaled_lines(text.split(b"\n")[:-1]) for text in journals))


def is_own(path: str) -> bool:
    """Temporary files, locks, and batchpersist's own folder: no final names, and may be torn."""
    return ".tmp-" in path or path.endswith((".lock", ".lock.acquire")) or "/.batchpersist/" in path


def rerun(world: World, state: Tree, *words: str) -> Tree:
    """Write a crash state to the disk, rerun the batch, and return the files with final names."""
    subprocess.run(["rm", "-rf", world.root], check=True)
    for path, file in state.items():
        target = world.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
        if path.endswith((".lock", ".lock.acquire")):
            os.utime(target, (0, 0))  # the time after which a dead owner's lock is stale has passed
    run = subprocess.run(world.command(*words), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return final(read_tree(world.root))


def final(tree: Tree) -> Tree:
    return {path: file for path, file in tree.items() if not is_own(path) and path != METRICS}


def _journals(tree: Tree) -> list[File]:
    return [file for path, file in tree.items() if path.endswith("/journal.jsonl")]


def _key(run: Run) -> Key:
    return run["taskId"], run["runId"]
