"""Random nights: runs arrive, batches run or crash, other programs write, files are damaged.

Each step is taken in two pairs of roots: batchpersist works in one, the slow model of the contract
(``support/model.py``) in the other. After each step both must hold the same files.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.model import Run, persist, read_snapshot, record, stringify

from batchpersist.batch.run import run_batch
from batchpersist.events import Event, Progress
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.models import Durability
from batchpersist.options import BatchOptions, LockPolicy
from batchpersist.plan import sharding

SOURCES = ("a.jsonl", "b.json", "c.ndjson", "d.jsonl.gz")
TASKS = ("hot", "Task b", "täsk")

tasks = st.sampled_from(TASKS)
runs = st.builds(
    lambda task, number, minute, note: {
        "taskId": task,
        "runId": f"run-{number}",
        "timestamp": f"2026-01-01T00:0{minute}:00.000Z",
        "notes": note,
    },
    tasks,
    st.integers(0, 19),
    st.integers(0, 9),
    st.sampled_from(["", "é\n", {"nested": [1, {}]}]),
)


class Crash(BaseException):
    """A batch ends early, as after a defect or Ctrl-C."""


class Roots:
    """A pair of roots, and what other programs do there."""

    def __init__(self, folder: Path) -> None:
        self.out, self.runs = folder / "out", folder / "runs"
        for root in (self.out, self.runs):
            root.mkdir(parents=True)

    def files(self) -> dict[str, bytes]:
        found = {}
        for root in (self.out, self.runs):
            for path in root.rglob("*"):
                if path.is_file() and ".batchpersist" not in path.parts:
                    found[f"{root.name}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
        return found

    def lock(self, task: str) -> Path:
        return self.runs / f"{task}.lock"

    def snapshot(self, task: str) -> Path:
        return self.out / task / "runs.json"

    def record_by_others(self, run: Run) -> None:
        """As the orchestrator does: under the task's lock, the manifest in place."""
        task = run["taskId"]
        token = str(uuid.uuid4())
        with open(self.lock(task), "x") as lock:
            owner = {
                "schema_version": 1,
                "kind": "codex-lock-owner",
                "token": token,
                "pid": os.getpid(),
                "host": "x",
            }
            lock.write(json.dumps(owner))
        try:
            persist_snapshot(run, self.out)
        finally:
            assert token in self.lock(task).read_text()
            self.lock(task).unlink()
        manifest = self.runs / task / run["runId"] / "manifest.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(stringify(run))


def persist_snapshot(run: Run, out: Path) -> None:
    folder = out / run["taskId"]
    try:
        before = read_snapshot(folder, run["taskId"])
    except Exception:  # no snapshot
        return
    folder.mkdir(exist_ok=True)
    temporary = folder / f"theirs-{uuid.uuid4()}"
    temporary.write_text(stringify(record(before, run, run["taskId"])))
    temporary.rename(folder / "runs.json")


class Nights(RuleBasedStateMachine):
    """The names of the rules describe a failure step by step."""

    base: Path
    """The parent of each example's folder."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.ours, self.models = Roots(self.folder / "ours"), Roots(self.folder / "models")
        self.arrived: dict[str, list[Run]] = {name: [] for name in SOURCES}
        self.whole: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @invariant()
    def both_hold_the_same(self) -> None:
        assert self.ours.files() == self.models.files()

    # The sources.

    @initialize(some=st.lists(runs, min_size=6, max_size=30))
    def the_first_runs_arrive(self, some: list[Run]) -> None:
        self.runs_arrive(SOURCES[0], some)

    @rule(source=st.sampled_from(SOURCES), some=st.lists(runs, min_size=1, max_size=8))
    def runs_arrive(self, source: str, some: list[Run]) -> None:
        self.arrived[source] += some
        text = json.dumps(self.arrived[source])
        if source != "b.json":
            text = "".join(json.dumps(run) + "\n" for run in self.arrived[source])
        pack = gzip.compress if source.endswith(".gz") else bytes
        (self.folder / source).write_bytes(pack(text.encode()))

    @precondition(lambda self: any(self.arrived.values()))
    @rule(data=st.data())
    def a_source_is_deleted(self, data: Any) -> None:
        source = data.draw(st.sampled_from([name for name in SOURCES if self.arrived[name]]))
        self.arrived[source].clear()
        (self.folder / source).unlink()

    def all_arrived(self) -> list[Run]:
        return [run for name in SOURCES for run in self.arrived[name]]

    # Batches.

    def batch(
        self,
        *,
        watch: Callable[[Event], None] = lambda event: None,
        stop: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> BatchReport:
        given = BatchOptions(
            out_dir=str(self.ours.out),
            runs_dir=str(self.ours.runs),
            metrics=str(self.folder / "metrics.json"),
            lock_policy=LockPolicy(attempts=1),
            **options,
        )
        sources = [str(self.folder / name) for name in SOURCES if self.arrived[name]]
        return run_batch(sources, given, on_event=watch, should_stop=stop)

    @precondition(lambda self: any(self.arrived.values()))
    @rule(
        durability=st.sampled_from(Durability),
        commit=st.sampled_from(["task", "run"]),
        pair=st.sampled_from(["concurrent", "sequential"]),
        force=st.booleans(),
    )
    def a_batch(self, **options: Any) -> None:
        report = self.batch(**options)
        assert report.exit_code == (3 if self.unreadable() else 0)
        persist(self.all_arrived(), self.models.out, self.models.runs)

    @precondition(lambda self: any(self.arrived.values()))
    @rule()
    def the_same_batch_twice(self) -> None:
        persist(self.all_arrived(), self.models.out, self.models.runs)
        self.batch()
        self.both_hold_the_same()
        before = self.times()
        counts = self.batch().metrics.counts
        persist(self.all_arrived(), self.models.out, self.models.runs)  # a run that comes twice may move
        assert counts.persisted == 0 or not self.is_regular()
        assert self.times() == before or not self.is_regular()

    @precondition(lambda self: any(self.arrived.values()))
    @rule(task=tasks)
    def a_batch_while_a_task_is_locked(self, task: str) -> None:
        for roots in (self.ours, self.models):
            roots.lock(task).write_text("not to be broken: it is new")
        self.batch()
        persist(self.all_arrived(), self.models.out, self.models.runs)
        self.both_hold_the_same()
        for roots in (self.ours, self.models):
            roots.lock(task).unlink()

    @precondition(lambda self: any(self.arrived.values()))
    @rule(asked=st.integers(0, 8))
    def a_batch_is_stopped(self, asked: int) -> None:
        answers = iter([False] * asked)
        before = self.ours.files()
        report = self.batch(stop=lambda: next(answers, True))
        self.adopt_unfinished(before, self.reported(report))

    @precondition(lambda self: any(self.arrived.values()))
    @rule(after=st.integers(0, 8))
    def a_batch_crashes(self, after: int) -> None:
        before = self.ours.files()
        events = iter(range(after))

        def watch(_event: Event) -> None:
            if next(events, None) is None:
                raise Crash

        try:
            report = self.batch(watch=watch)
        except Crash:
            self.adopt_unfinished(before, set())
        else:
            self.adopt_unfinished(before, self.reported(report))

    @precondition(lambda self: any(self.arrived.values()))
    @rule(run=runs, after=st.integers(0, 4))
    def others_record_a_run_during_a_batch(self, run: Run, after: int) -> None:
        events = iter(range(after))
        recorded = []

        def watch(event: Event) -> None:
            if not recorded and isinstance(event, Progress) and next(events, None) is None:
                self.ours.record_by_others(run)
                recorded.append(run)

        self.batch(watch=watch)
        if not recorded:
            self.ours.record_by_others(run)
        actual = self.ours.files()
        for order in ([run, *self.all_arrived()], [*self.all_arrived(), run]):
            outcome = self.outcome(order)
            for path in [path for path, content in outcome.items() if actual.get(path) == content]:
                self.adopt(path, actual[path])

    # What else happens in the folders.

    @rule(run=runs)
    def others_record_a_run(self, run: Run) -> None:
        for roots in (self.ours, self.models):
            roots.record_by_others(run)

    @rule(task=tasks, damage=st.sampled_from(["torn", "nuls", "empty", "other task", "no list"]))
    def a_snapshot_is_damaged(self, task: str, damage: str) -> None:
        path = self.models.snapshot(task)
        if not path.exists() or task in self.whole:
            return
        whole = self.whole[task] = path.read_bytes()
        damaged = {
            "torn": whole[: len(whole) // 2],
            "nuls": bytes(len(whole)),
            "empty": b"",
            "other task": whole.replace(json.dumps(task, ensure_ascii=False).encode(), b'"x"', 1),
            "no list": stringify({"taskId": task, "runs": {}}).encode(),
        }[damage]
        self.in_both(lambda roots: roots.snapshot(task).write_bytes(damaged))

    @precondition(lambda self: self.whole)
    @rule()
    def the_snapshots_are_restored(self) -> None:
        for task, content in self.whole.items():
            self.in_both(lambda roots, task=task, content=content: self.put(roots.snapshot(task), content))
        self.whole.clear()

    @rule(task=tasks, indent=st.sampled_from([None, 4]))
    def a_snapshot_is_reformatted(self, task: str, indent: int | None) -> None:
        path = self.models.snapshot(task)
        if path.exists() and task not in self.whole:
            text = json.dumps(json.loads(path.read_bytes()), indent=indent)
            self.in_both(lambda roots: roots.snapshot(task).write_text(text))

    @rule(task=tasks, some=st.lists(runs, max_size=3))
    def a_legacy_state_exists(self, task: str, some: list[Run]) -> None:
        state: dict[str, Any] = {"taskId": task, "runs": []}
        for run in some:
            state = record(state, run | {"taskId": task}, task)
        self.in_both(lambda roots: self.put(roots.out / task / "state.json", stringify(state).encode()))

    @precondition(lambda self: self.models.files())
    @rule(number=st.integers(0, 999))
    def a_file_is_deleted(self, number: int) -> None:
        # Not drawn from the files: how far a stopped batch gets varies, but an example must be repeatable.
        files = sorted(self.models.files())
        path = files[number % len(files)]
        if path.endswith("/runs.json"):
            self.whole.pop(path.split("/")[1], None)
        self.in_both(lambda roots: (roots.out.parent / path).unlink())

    # Helpers.

    def in_both(self, action: Callable[[Roots], object]) -> None:
        for roots in (self.ours, self.models):
            action(roots)

    @staticmethod
    def put(path: Path, content: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def outcome(self, some: list[Run]) -> dict[str, bytes]:
        """The files after these runs, as the model persists them; beside the model's own roots."""
        beside = self.folder / "beside"
        shutil.copytree(self.folder / "models", beside)
        try:
            persist(some, beside / "out", beside / "runs")
            roots = Roots.__new__(Roots)
            roots.out, roots.runs = beside / "out", beside / "runs"
            return roots.files()
        finally:
            shutil.rmtree(beside)

    def adopt(self, path: str, content: bytes) -> None:
        target = self.models.out.parent / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def adopt_unfinished(self, before: dict[str, bytes], reported: set[str]) -> None:
        """After an unfinished batch: each file is new or, if it was not reported, as before."""
        assert not list(self.ours.runs.glob("*.lock*"))
        outcome, actual = self.outcome(self.all_arrived()), self.ours.files()
        assert before.keys() <= actual.keys() <= outcome.keys()
        for path, content in actual.items():
            assert content == outcome[path] or (content == before.get(path) and path not in reported)
            self.adopt(path, content)

    def reported(self, report: BatchReport) -> set[str]:
        """The files that are to hold what a report says was persisted."""
        found = set()
        for row in report.outcomes.to_pylist():
            if row["status"] == "persisted":
                task, run = row["task_id"], row["run_id"]
                found |= {f"out/{task}/runs.json", f"runs/{task}/{run}/manifest.json"}
        return found

    def unreadable(self) -> set[str]:
        """Tasks of the arrived runs whose snapshot is damaged."""
        return self.whole.keys() & {run["taskId"] for run in self.all_arrived()}

    def is_regular(self) -> bool:
        """Whether a second batch would write nothing."""
        ids = [(run["taskId"], run["runId"]) for run in self.all_arrived()]
        return len(set(ids)) == len(ids) and not self.unreadable()

    def times(self) -> dict[str, int]:
        return {path: (self.ours.out.parent / path).stat().st_ino for path in self.ours.files()}


def run_nights(folder: Path, *, full: bool = False, shrink: bool = True) -> None:
    Nights.base = folder
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Nights,
        settings=settings(
            max_examples=300 if full else 10,
            stateful_step_count=30 if full else 12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=not full,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        ),
    )


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of a few runs has several shards, and a task of a few runs is hot."""
    monkeypatch.setattr(sharding, "SHARD_RUNS", 3)
    monkeypatch.setattr(sharding, "HOT_SHARDS", 2)


def test_nights_leave_what_the_model_leaves(full: bool, tmp_path: Path) -> None:
    run_nights(tmp_path, full=full)


@pytest.mark.parametrize("name", ["manifest.json", "runs.json"])
def test_control_missing_rename_is_found(monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
    """One task's files are reported, but not renamed to their final names."""
    replace = os.replace

    def skip_rename(source: str, target: str) -> None:
        if target.endswith(f"/{name}") and "/hot/" in target:
            os.unlink(source)
        else:
            replace(source, target)

    monkeypatch.setattr(os, "replace", skip_rename)
    with pytest.raises(AssertionError):
        run_nights(tmp_path, shrink=False)
