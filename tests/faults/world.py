"""The trees of a small batch, and what must hold in them after any fault.

Five tasks: a hot one, which a pool of two splits, and another, both with histories, in which some runs are
replaced; one with its history in the legacy file; and two new ones, one of which has a repeated run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faultpoints import Answer
from support.model import Run, persist, stringify

HOT, OLD, LEGACY = "hot", "old", "legacy"


def make_run(task: str, number: int, **more: Any) -> Run:
    """A run with a unique time, so that the order of entries does not depend on who was first."""
    return {
        "taskId": task,
        "runId": f"{task}-{number:03d}",
        "timestamp": f"2026-01-{1 + number // 60 % 28:02d}T00:{number % 60:02d}:00.000Z",
        **more,
    }


def history() -> list[Run]:
    """The runs recorded before the batch."""
    runs = [make_run(HOT, number, notes="before") for number in range(0, 12, 3)]
    return runs + [make_run(OLD, number) for number in (1, 5)]


def arrivals() -> list[Run]:
    """The runs of the source, in its order."""
    runs = [make_run(HOT, number, notes="é" * number) for number in range(1, 17) if number % 3]
    runs += [make_run(HOT, 3, notes="replaced"), make_run(OLD, 3), make_run(OLD, 5, notes="replaced")]
    runs += [
        make_run("twice", 1, notes="first"),
        make_run(LEGACY, 2),
        make_run("new", 1),
        make_run("twice", 1),
    ]
    return runs


class World:
    """The trees below ``root``; ``reset`` restores them to the state before the batch."""

    def __init__(self, base: Path) -> None:
        self.root = base / "world"
        self._before = base / "before"
        expected = base / "expected"
        self.out, self.runs = self.root / "out", self.root / "runs"
        self.source = self._before / "source.jsonl"
        persist(history(), self._before / "out", self._before / "runs")
        # The legacy file is a task's history until there is a snapshot, and never written.
        legacy = self._before / "out" / LEGACY / "state.json"
        legacy.parent.mkdir()
        runs = [make_run(LEGACY, 1)]
        legacy.write_text(stringify({"taskId": LEGACY, "lastRunAt": runs[-1]["timestamp"], "runs": runs}))
        self.source.write_text("".join(json.dumps(run) + "\n" for run in arrivals()))
        (self._before / "runs" / "foreign.txt").write_text("not ours")
        shutil.copytree(self._before, expected)
        persist(arrivals(), expected / "out", expected / "runs")
        self.expected = tree(expected)
        self._kept = tree(self._before)
        self._versions = {_key(run): [stringify(run)] for run in history()}
        for run in arrivals():
            self._versions.setdefault(_key(run), []).append(stringify(run))

    @property
    def words(self) -> list[object]:
        """Arguments of the command."""
        source = self.root / "source.jsonl"
        return [source, "--out-dir", self.out, "--runs-dir", self.runs, "--json", "--progress", "none"]

    def reset(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._before, self.root)

    def fill(self) -> None:
        """As ``reset``, where something is mounted at the root."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._before, self.root, dirs_exist_ok=True)

    def violations(self, answer: Answer) -> list[str]:
        """What a batch has violated, however it ended; empty: nothing."""
        now = tree(self.root)
        found = [f"orphan: {process}" for process in answer.orphans]
        found += [f"lost file: {name}" for name in self._kept.keys() - now.keys()]
        found += [f"traceback: {line}" for line in tracebacks(answer.stderr + answer.stdout)]
        for name, content in now.items():
            found += [f"{name}: {problem}" for problem in self._problems(name, content)]
        found += [f"reported but not there: {key}" for key in self._missing(now, answer)]
        return found

    def finish(self, answer: Answer) -> list[str]:
        """What a rerun without faults, which ended with ``answer``, has violated."""
        found = [] if answer.code == 0 else [f"rerun: exit {answer.code}: {answer.stdout} {answer.stderr}"]
        now = {name: content for name, content in tree(self.root).items() if not is_leftover(name)}
        if now != self.expected:
            different = sorted(
                name for name in now.keys() | self.expected if now.get(name) != self.expected.get(name)
            )
            found.append(f"rerun: differs from an undisturbed batch: {different}")
        return found

    def leftovers(self) -> list[str]:
        """Temporary files and locks that remain."""
        return sorted(name for name in tree(self.root) if is_leftover(name) and not _is_own(name))

    def age_locks(self) -> None:
        """Make the locks old enough to be stale if their owner is dead."""
        for lock in [*self.runs.glob("*.lock"), *self.runs.glob("*.lock.acquire")]:
            os.utime(lock, (0, 0))

    def _problems(self, name: str, content: bytes) -> Iterable[str]:
        if name == "out/metrics.json" and not _parses(content):
            yield "does not parse"
        if is_leftover(name):
            return
        if name.endswith("/runs.json"):
            yield from self._snapshot_problems(name.split("/")[1], content)
        elif name.endswith("/manifest.json"):
            versions = self._versions.get(tuple(name.split("/")[1:3]), [])
            if content.decode("utf-8", "replace") not in versions:
                yield "not a version of this run"
        elif content != self._kept.get(name):
            yield "a foreign file has changed"

    def _snapshot_problems(self, task: str, content: bytes) -> Iterable[str]:
        try:
            snapshot = json.loads(content)
            runs = snapshot["runs"]
        except (ValueError, KeyError):
            yield "does not parse"
            return
        if content != stringify(snapshot).encode() or list(snapshot) != ["taskId", "lastRunAt", "runs"]:
            yield "not as JSON.stringify writes it"
        counted = Counter(_key(run) for run in runs)
        if max(counted.values()) > 1:
            yield "a run twice"
        before = [_key(run) for run in history() if run["taskId"] == task]
        if lost := [key for key in before if key not in counted]:
            yield f"lost {lost}"
        for run in runs:
            legacy = task == LEGACY and run == make_run(LEGACY, 1)
            if stringify(run) not in self._versions.get(_key(run), []) and not legacy:
                yield f"not a version of {_key(run)}"
        times = [run["timestamp"] for run in runs]
        if times != sorted(times) or snapshot["lastRunAt"] != times[-1]:
            yield "out of order"

    def _missing(self, now: dict[str, bytes], answer: Answer) -> Iterable[tuple[str, str]]:
        last = {_key(run): stringify(run) for run in arrivals()}
        for task, run_id in reported(self.runs, answer) & last.keys():
            manifest = now.get(f"runs/{task}/{run_id}/manifest.json", b"").decode("utf-8", "replace")
            try:
                recorded = json.loads(now.get(f"out/{task}/runs.json", b""))["runs"]
            except (ValueError, KeyError):
                recorded = []
            texts = [stringify(run) for run in recorded]
            if last[task, run_id] != manifest or last[task, run_id] not in texts:
                yield task, run_id


def reported(runs_dir: Path, answer: Answer) -> set[tuple[str, str]]:
    """The runs that the batch has reported as persisted, in its journal or at its end."""
    runs = set()
    for journal in runs_dir.glob(".batchpersist/batches/*/journal.jsonl"):
        runs |= journaled(journal.read_bytes().split(b"\n")[:-1])  # the last line may be torn
    summaries = [event for event in answer.events if event["message_type"] == "summary"]
    errors = [event for event in answer.events if event["message_type"] == "error"]
    failed = {(event.get("task_id"), event.get("run_id")) for event in errors}
    unknown = any(not run for _, run in failed)  # a part of the source, or the batch itself
    if summaries and summaries[-1]["counts"]["not_attempted"] == 0 and not unknown:
        runs |= {_key(run) for run in arrivals()} - failed
    return runs


def tracebacks(text: str) -> list[str]:
    """The exceptions of tracebacks, except those of Python's own processes.

    The resource tracker prints one if its predecessor was killed, and so does a worker that starts while the
    fork server is killed: its pool has been replaced, and its semaphores are gone.
    """
    found = []
    for trace in text.split("Traceback (most recent call last):\n")[1:]:
        raised = next((line for line in trace.splitlines() if not line.startswith(" ")), "")
        first = trace.splitlines()[0]
        too_late = "forkserver.py" in first and "SemLock._rebuild" in trace
        if "resource_tracker.py" not in first and not too_late:
            found.append(raised)
    return found


def journaled(lines: Iterable[bytes]) -> set[tuple[str, str]]:
    """The runs whose two sides a journal names as persisted (docs/batches.md); torn lines are ignored."""
    sides: dict[tuple[str, str], set[int]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        for task_id, runs in entry.get("tasks", []):
            for run_id, *states in runs:
                done = sides.setdefault((task_id, run_id), set())
                done |= {side for side, state in enumerate(states) if state in (1, 2)}
    return {key for key, done in sides.items() if done == {0, 1}}


def is_leftover(name: str) -> bool:
    """Whether a killed process may leave this file: a temporary file, a lock, or batchpersist's own."""
    return ".tmp-" in name.rpartition("/")[2] or is_lock(name) or _is_own(name)


def is_lock(name: str) -> bool:
    return name.endswith((".lock", ".lock.acquire"))


def _is_own(name: str) -> bool:
    return name.startswith("runs/.batchpersist/") or name == "out/metrics.json"


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def _parses(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _key(run: Run) -> tuple[str, str]:
    return run["taskId"], run["runId"]
