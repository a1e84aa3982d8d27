"""What batchpersist writes is, byte for byte, what the published orchestrator writes of the same runs."""

from __future__ import annotations

import json
import re
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.javascript import NODE, Answers
from support.model import Run, js_number, persist
from worlds import Task, Worlds

from batchpersist.batch.run import run_batch
from batchpersist.contract import entry_order, json_text
from batchpersist.models import Durability
from batchpersist.options import BatchOptions, LockPolicy
from batchpersist.persist.coordinator import EventBus, PersistenceCoordinator
from batchpersist.persist.manifests import RunManifestWriter
from batchpersist.snapshots.store import TaskStateStore

TASKS = 50
"""Of one world."""

MANY_TASKS = 200
"""Of one world in the long form."""

Record = Callable[[Path, list[str]], None]
"""Records the lines of a log into a root."""


@pytest.fixture(scope="module")
def orchestrator(orchestrator_package: Path) -> Iterator[Record]:
    """The published package."""
    assert NODE is not None
    with Answers(NODE, Path(__file__).with_name("recorder.mjs"), orchestrator_package) as ask:

        def record(root: Path, lines: list[str]) -> None:
            ask({"outDir": str(root / "out"), "runsDir": str(root / "runs"), "lines": lines})

        yield record


def batch(**options: object) -> Record:
    def record(root: Path, lines: list[str]) -> None:
        source = root / "log.jsonl"
        source.write_text("\n".join(lines), "utf-8", "strict")
        roots = {"out_dir": str(root / "out"), "runs_dir": str(root / "runs")}
        lock = LockPolicy(attempts=1)
        run_batch(
            [str(source)],
            BatchOptions(**roots, durability=Durability.NONE, lock_policy=lock, **options),  # type: ignore[arg-type]
        )
        source.unlink()

    return record


def one_by_one(root: Path, lines: list[str]) -> None:
    """By the library, each run as it comes, in this process."""
    store = TaskStateStore(str(root / "out"), str(root / "runs"), durability=Durability.NONE)
    writer = RunManifestWriter(root / "runs", durability=Durability.NONE)
    bus = EventBus()
    coordinator = PersistenceCoordinator(store, writer, lambda _error, _run: None, bus)
    coordinator.start()
    for line in lines:
        bus.emit("run:completed", line)
    coordinator.stop()


MODES: dict[str, Record] = {
    "group commit": batch(),
    "commit for each run, sequential pairs": batch(commit="run", pair="sequential"),
    "parallel": batch(workers=2, pool_runs=1),
    "coordinator": one_by_one,
}


def set_up(root: Path, tasks: list[Task]) -> Path:
    for task in tasks:
        for name, text in task.before.items():
            path = root / "out" / task.task_id / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    root.mkdir(exist_ok=True)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """What was written: snapshots and manifests."""
    files = [*root.glob("out/*/*.json"), *root.glob("runs/*/*/manifest.json")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def compare(ours: dict[str, bytes], theirs: dict[str, bytes], tasks: list[Task]) -> Counter[str]:
    """How many files are alike, by what they differ in; "DIFFERENT" is what no documented rule explains."""
    causes: Counter[str] = Counter()
    by_snapshot = {f"out/{task.task_id}/runs.json": task for task in tasks}
    for path in ours.keys() | theirs.keys():
        task = by_snapshot.get(path)
        text, expected = ours.get(path), theirs.get(path)
        if task is not None and task.stays:
            causes["left as it is" if text == task.before.get("runs.json") else "DIFFERENT"] += 1
        elif text is None or expected is None:
            causes["DIFFERENT"] += 1
        elif text == expected:
            causes["same bytes"] += 1
        elif task is not None and task.further and without(text, task.further) == expected:
            causes["further members kept"] += 1
        else:
            rounded = round_numbers(without(text, task.further if task is not None else b""))
            causes["digits kept" if rounded == expected else "DIFFERENT"] += 1
    return causes


def without(text: bytes, further: bytes) -> bytes:
    return text.removesuffix(further + b"\n}") + b"\n}" if further else text


def round_numbers(text: bytes) -> bytes:
    """With doubles instead of numbers that lose digits in one; all else stays."""
    return re.sub(rb'"(?:[^"\\]|\\.)*"|-?\d[-+.\deE]*', _round, text)


def _round(token: re.Match[bytes]) -> bytes:
    if token[0].startswith(b'"'):
        return token[0]
    value = float(token[0])
    return b"null" if abs(value) == float("inf") else js_number(repr(value)).encode()


def test_every_mode_leaves_the_orchestrator_s_bytes(
    orchestrator: Record, tmp_path: Path, full: bool, tally: Callable[[str, int], None]
) -> None:
    causes: Counter[str] = Counter()
    for seed in range(100 if full else 10):
        worlds = Worlds(seed)
        tasks = worlds.tasks(MANY_TASKS if full else TASKS)
        lines = worlds.log(tasks)
        theirs = set_up(tmp_path / "theirs", tasks)
        orchestrator(theirs, lines)
        for record in MODES.values():
            ours = set_up(tmp_path / "ours", tasks)
            record(ours, lines)
            found = compare(tree(ours), tree(theirs), tasks)
            assert not found["DIFFERENT"], (seed, record, [*differing(ours, theirs, tasks)][:3])
            causes += found
            shutil.rmtree(ours)
        shutil.rmtree(theirs)
        tally("differential, tasks in every mode", len(tasks))
    for cause, files in causes.items():
        tally(f"differential, {cause}", files)
    assert causes["same bytes"] > causes.total() / 2
    assert causes.keys() == {"same bytes", "digits kept", "further members kept", "left as it is"}


def differing(
    ours: Path, theirs: Path, tasks: list[Task]
) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    one, other = tree(ours), tree(theirs)
    for path in sorted(one.keys() | other.keys()):
        files = [{path: text[path]} if path in text else {} for text in (one, other)]
        if compare(files[0], files[1], tasks)["DIFFERENT"]:
            yield path, one.get(path), other.get(path)


def test_batches_and_the_orchestrator_in_turns_leave_the_orchestrator_s_bytes(
    orchestrator: Record, tmp_path: Path, full: bool, tally: Callable[[str, int], None]
) -> None:
    names = list(MODES)
    files = 0
    for seed in range(1000, 1030 if full else 1010):
        worlds = Worlds(seed, lossy=False)
        tasks = worlds.tasks(MANY_TASKS if full else TASKS)
        tasks = [task for task in tasks if not task.stays and not task.further]
        lines = worlds.log(tasks)
        third = len(lines) // 3
        parts = [lines[:third], lines[third : 2 * third], lines[2 * third :]]
        roots = [set_up(tmp_path / name, tasks) for name in ("ours", "theirs")]
        MODES[names[seed % len(names)]](roots[0], parts[0])
        orchestrator(roots[0], parts[1])
        MODES[names[(seed + 1) % len(names)]](roots[0], parts[2])
        orchestrator(roots[1], lines)
        ours, theirs = tree(roots[0]), tree(roots[1])
        assert ours == theirs, (seed, [*differing(*roots, tasks)][:3])
        files += len(ours)
        for root in roots:
            shutil.rmtree(root)
        tally("differential, tasks in turns", len(tasks))
    tally("differential, in turns, same bytes", files)


def test_the_slow_model_leaves_the_orchestrator_s_bytes(orchestrator: Record, tmp_path: Path) -> None:
    for seed in range(2000, 2010):
        worlds = Worlds(seed, lossy=False)
        tasks = [task for task in worlds.tasks(TASKS) if not task.stays]
        lines = worlds.log(tasks)
        roots = [set_up(tmp_path / f"{name}-{seed}", tasks) for name in ("model", "theirs")]
        runs = [run for run in map(completed_run, lines) if run is not None]
        persist(runs, roots[0] / "out", roots[0] / "runs")
        orchestrator(roots[1], lines)
        assert tree(roots[0]) == tree(roots[1])


def completed_run(line: str) -> Run | None:
    value: Run = json.loads(line)
    if "payload" not in value:
        return value
    payload: Run = value["payload"]
    return payload if value["type"] == "run:completed" else None


def test_what_the_orchestrator_has_written_is_unchanged(orchestrator: Record, tmp_path: Path) -> None:
    """Rounded numbers included: otherwise each night both would write them again."""
    worlds = Worlds(7)
    tasks = [Task(task.task_id, lines=task.lines[:1]) for task in worlds.tasks(TASKS)]
    root = set_up(tmp_path, tasks)
    lines = worlds.log(tasks)
    orchestrator(root, lines)
    before = tree(root)
    assert any(b"12345678901234567000" in text or b"e+" in text for text in before.values())
    for record in MODES.values():
        record(root, lines)
        assert tree(root) == before


BROKEN: dict[str, tuple[object, str, object]] = {
    "numbers and names": (json_text, "spell_as_javascript", lambda text: text),
    "order": (entry_order, "_comparable", list),
    "search": (entry_order, "_place", bisect_right),
}


@pytest.mark.parametrize("what", BROKEN)
def test_control_what_is_spelled_or_ordered_otherwise_is_found(
    orchestrator: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(*BROKEN[what])
    found: Counter[str] = Counter()
    for seed in range(5):
        worlds = Worlds(seed)
        tasks = worlds.tasks(TASKS)
        lines = worlds.log(tasks)
        roots = [set_up(tmp_path / f"{name}-{seed}", tasks) for name in ("ours", "theirs")]
        one_by_one(roots[0], lines)
        orchestrator(roots[1], lines)
        found += compare(tree(roots[0]), tree(roots[1]), tasks)
    assert found["DIFFERENT"]
