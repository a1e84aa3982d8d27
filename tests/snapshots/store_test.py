from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model import record

from batchpersist.contract.json_text import MAX_DEPTH
from batchpersist.errors import (
    CommitErrors,
    InvalidRunError,
    ItemError,
    SnapshotError,
    TaskStateLockError,
    UnsafeIdentifierError,
)
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Durability, Keys, Side
from batchpersist.options import CommitOptions, LockPolicy
from batchpersist.paths import Layout
from batchpersist.snapshots import store as snapshot_module
from batchpersist.snapshots.commit import StagedSnapshot
from batchpersist.snapshots.history import NotASnapshotError
from batchpersist.snapshots.store import TaskStateStore
from batchpersist.storage.fingerprint import Fingerprint
from batchpersist.storage.fsync import SyncGroup

Run = dict[str, Any]


def javascript(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def run(run_id: str, timestamp: str, note: object = None, task_id: str = "t") -> Run:
    return {"taskId": task_id, "runId": run_id, "timestamp": timestamp, "note": note}


def snapshot(*runs: Run, **further: object) -> bytes:
    return javascript({"taskId": "t", "lastRunAt": runs[-1]["timestamp"], "runs": runs, **further})


DEEP = b"[" * 600 + b"]" * 600


class Place:
    """A store in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.task = root / "out" / "t"
        self.runs = self.task / "runs.json"
        self.state = self.task / "state.json"
        self.layout = Layout(str(root / "out"), str(root / "runs"))

    def store(self, **options: Any) -> TaskStateStore:
        options = {"durability": Durability.NONE, "lock_policy": LockPolicy(attempts=1), **options}
        return TaskStateStore(self.layout.out_dir, self.layout.runs_dir, **options)

    def write(self, name: str, data: bytes) -> None:
        self.task.mkdir(parents=True, exist_ok=True)
        (self.task / name).write_bytes(data)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.task.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def model(data: bytes | None, arrival: Run) -> bytes:
    """docs/formats.md for one run; further members of a snapshot are kept behind the known ones."""
    before = json.loads(data) if data else None
    known = ("taskId", "lastRunAt", "runs")
    further = {key: value for key, value in (before or {}).items() if key not in known}
    return javascript(record(before, arrival, "t") | further)


RUNS = st.builds(run, st.sampled_from("abcde"), st.sampled_from("123"), st.sampled_from(["x", {"y": ["é"]}]))
UNIQUE = {"unique_by": lambda run: run["runId"]}
HISTORIES = st.one_of(
    st.just([]),
    st.lists(RUNS, max_size=6),
    st.lists(RUNS, max_size=6, **UNIQUE),
    st.lists(RUNS, max_size=6, **UNIQUE).map(lambda runs: sorted(runs, key=lambda run: run["timestamp"])),
)
LAYOUTS: list[Callable[[object], bytes]] = [
    javascript,
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, indent=4).encode() + b"\n",
]


@settings(max_examples=150, deadline=None)
@given(
    history=HISTORIES,
    name=st.sampled_from(["runs.json", "runs.json", "state.json"]),
    layout=st.sampled_from(LAYOUTS),
    further=st.sampled_from([{}, {}, {"x": [1, {}]}]),
    arrivals=st.lists(RUNS, min_size=1, max_size=6),
)
def test_one_commit_gives_the_bytes_of_recording_one_by_one(
    history: list[Run],
    name: str,
    layout: Callable[[object], bytes],
    further: dict[str, object],
    arrivals: list[Run],
) -> None:
    with TemporaryDirectory() as folder:
        places = [Place(Path(folder) / name) for name in ("at once", "one by one")]
        expected = None
        if history:
            last = history[-1]["timestamp"]
            expected = layout({"taskId": "t", "lastRunAt": last, "runs": history, **further})
            for place in places:
                place.write(name, expected)
            if name == "state.json":
                expected = layout({"taskId": "t", "runs": history})

        at_once, one_by_one = places
        at_once.store().record_runs(arrivals)
        for arrival in arrivals:
            expected = model(expected, arrival)
            one_by_one.store().record_run(arrival)
            assert one_by_one.runs.read_bytes() == expected
        assert at_once.runs.read_bytes() == expected
        assert at_once.names() == one_by_one.names()


def test_a_first_run(place: Place) -> None:
    assert place.store().record_run(run("a", "1")) is Side.PERSISTED
    assert place.runs.read_bytes() == (
        b'{\n  "taskId": "t",\n  "lastRunAt": "1",\n  "runs": [\n'
        b'    {\n      "taskId": "t",\n      "runId": "a",\n'
        b'      "timestamp": "1",\n      "note": null\n    }\n  ]\n}'
    )
    assert place.names() == ["runs.json"]


@pytest.mark.parametrize("form", [dict, javascript, json.dumps], ids=["dict", "bytes", "str"])
def test_a_run_comes_as_an_object_or_as_text_and_may_be_wrapped(
    place: Place, form: Callable[[Run], Any]
) -> None:
    event = {"type": "run:completed", "payload": run("b", "2")}
    assert place.store().record_runs([form(run("a", "1")), form(event)]) == [Side.PERSISTED] * 2
    assert place.runs.read_bytes() == snapshot(run("a", "1"), run("b", "2"))


def test_other_names_of_the_keys(place: Place) -> None:
    store = place.store(keys=Keys("task_id", "run_id", "completed_at"))
    runs = [{"task_id": "t", "run_id": str(number), "completed_at": str(number)} for number in range(3)]
    store.record_runs(runs[1:])
    store.record_run(runs[0])
    assert place.runs.read_bytes() == javascript({"taskId": "t", "lastRunAt": "2", "runs": runs})


def test_an_unchanged_entry_is_not_written_and_takes_no_lock(place: Place) -> None:
    runs = [run("a", "1", "é"), run("b", "2")]
    place.store().record_runs(runs)
    before = Fingerprint.at(str(place.runs))
    with TaskLock(place.layout, "t"):
        assert place.store().record_runs([runs[1], runs[0], runs[1]]) == [Side.UNCHANGED] * 3
    assert Fingerprint.at(str(place.runs)) == before


def test_an_entry_that_the_orchestrator_has_rounded_is_unchanged(place: Place) -> None:
    exact = javascript(run("a", "1", {"n": 12345678901234567890, "m": [1]}))
    exact = exact.replace(b"[\n      1\n    ]", b"[1e400, 1.0, -0]")
    rounded = snapshot(run("a", "1", {"n": 12345678901234567000, "m": [None, 1, 0]}))
    place.write("runs.json", rounded)
    assert place.store().record_run(exact) is Side.UNCHANGED
    assert place.runs.read_bytes() == rounded
    assert place.store().record_runs([exact, run("b", "2")]) == [Side.UNCHANGED, Side.PERSISTED]
    expected = snapshot(run("a", "1", {"n": 12345678901234567000, "m": [None, 1, 0]}), run("b", "2"))
    assert place.runs.read_bytes() == expected


def test_a_snapshot_is_respelled_as_a_whole(place: Place) -> None:
    kept = snapshot(run("a", "1", {"b": 1, "n": 0.5}), run("b", "2", 7))
    place.write("runs.json", kept.replace(b"0.5", b'5e-1,\n        "1": 1.0').replace(b"7", b"7.00"))
    place.store().record_run(run("c", "3"))
    expected = snapshot(run("a", "1", {"1": 1, "b": 1, "n": 0.5}), run("b", "2", 7), run("c", "3"))
    assert place.runs.read_bytes() == expected


def test_force_writes_unchanged_entries(place: Place) -> None:
    place.store().record_run(run("a", "1"))
    before = os.stat(place.runs).st_ino
    with place.runs.open("rb"):
        assert place.store(force=True).record_run(run("a", "1")) is Side.PERSISTED
        assert os.stat(place.runs).st_ino != before


def test_sides_distinguish_unchanged_entries_from_new_ones(place: Place) -> None:
    place.store().record_runs([run("a", "1"), run("b", "2"), run("c", "3")])
    arrivals = [run("b", "2"), run("a", "1", "new"), run("d", "0"), run("c", "4")]
    assert place.store().record_runs(arrivals) == [Side.UNCHANGED, *[Side.PERSISTED] * 3]
    assert place.runs.read_bytes() == snapshot(arrivals[2], arrivals[1], arrivals[0], arrivals[3])


def test_a_run_that_comes_twice_has_the_side_of_its_last_arrival(place: Place) -> None:
    place.store().record_run(run("a", "1"))
    assert place.store().record_runs([run("a", "9"), run("a", "1")]) == [Side.UNCHANGED] * 2
    assert place.store().record_runs([run("a", "1"), run("a", "9")]) == [Side.PERSISTED] * 2


def test_of_entries_of_one_run_the_first_counts(place: Place) -> None:
    twins = snapshot(run("a", "1", "first"), run("a", "1", "second"))
    place.write("runs.json", twins)
    assert place.store().record_run(run("a", "1", "first")) is Side.UNCHANGED
    assert place.runs.read_bytes() == twins
    assert place.store().record_run(run("a", "1", "second")) is Side.PERSISTED
    assert place.runs.read_bytes() == snapshot(run("a", "1", "second"), run("a", "1", "second"))


def test_a_wrong_last_run_at_is_put_right(place: Place) -> None:
    place.write("runs.json", javascript({"taskId": "t", "lastRunAt": "9", "runs": [run("a", "1")]}))
    assert place.store().record_run(run("a", "1")) is Side.UNCHANGED
    assert place.runs.read_bytes() == snapshot(run("a", "1"))


def test_further_members_are_kept_behind_the_known_ones(place: Place) -> None:
    place.write("runs.json", javascript({"x": {}, "taskId": "t", "y": [1], "runs": [run("a", "1")]}))
    place.store().record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1"), run("b", "2"), x={}, y=[1])


def test_a_legacy_state_is_the_start_and_is_never_written(place: Place) -> None:
    legacy = json.dumps({"owner": "me", "runs": [run("a", "1")], "taskId": "t", "lastRunAt": "7"}).encode()
    place.write("state.json", legacy)
    # Not UNCHANGED: it does not stand in a snapshot yet.
    assert place.store().record_run(run("a", "1")) is Side.PERSISTED
    assert place.runs.read_bytes() == snapshot(run("a", "1"))
    assert place.state.read_bytes() == legacy


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"[]",
        javascript({"taskId": "u", "runs": [run("a", "1")]}),
        b'{"taskId":"t","runs":{}}',
        b"\xff",
        b"\xef\xbb\xbf" + javascript({"taskId": "t", "runs": [run("a", "1")]}),
        javascript({"taskId": "u", "lastRunAt": "1", "runs": [{"anything": 1}, None]}),
        b'{"taskId":"u","runs":[],"x":"\xff","y":%b}' % DEEP,
        b'{"taskId":"t","runs":{"x":"\xff"},"y":%b}' % DEEP,
        b'{"taskId":"t","runs":["\xff",NaN]}',
        b'{"taskId":"t","runs":[],"taskId":"u","y":%b}' % DEEP,
    ],
)
def test_any_other_state_json_is_none_of_ours(place: Place, state: bytes) -> None:
    place.write("state.json", state)
    place.store().record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("b", "2"))
    assert place.state.read_bytes() == state


@pytest.mark.parametrize(
    "state",
    [
        b'{"taskId":"t","runs":[{"runId":"a","timestamp":"1","x":"\xff"}]}',
        b'{"taskId":"t","runs":[{"runId":"a","timestamp":"1","x":%b}]}' % DEEP,
        b'{"taskId":"t","runs":[],"x":%b,"y":"\xff"}' % DEEP,
    ],
)
def test_a_legacy_state_that_the_orchestrator_alone_can_read_is_an_error(place: Place, state: bytes) -> None:
    place.write("state.json", state)
    with pytest.raises(SnapshotError, match=r"state\.json: "):
        place.store().record_run(run("b", "2"))
    assert place.names() == ["state.json"]


def test_a_legacy_state_with_a_broken_entry_is_an_error(place: Place) -> None:
    place.write("state.json", javascript({"taskId": "t", "runs": [{"runId": "a"}]}))
    with pytest.raises(SnapshotError, match=r"state\.json: entry 1: timestamp"):
        place.store().record_run(run("b", "2"))
    assert place.names() == ["state.json"]


def test_the_state_counts_only_where_there_is_no_snapshot(place: Place) -> None:
    place.write("state.json", snapshot(run("a", "1")))
    place.write("runs.json", snapshot(run("b", "2")))
    place.store().record_run(run("c", "3"))
    assert place.runs.read_bytes() == snapshot(run("b", "2"), run("c", "3"))


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        bytes(5000),
        b"\xef\xbb\xbf" + snapshot(run("a", "1")),
        snapshot(run("a", "1"))[:-1],
        snapshot(run("a", "1")) + b"}",
        snapshot(run("a", "\xff")).replace("\xff".encode(), b"\xff"),
        snapshot(run("a", "1")).replace(b'"t"', b'"u"', 1),
        snapshot(run("a", "1")).replace(b'"runId"', b'"runid"'),
        b'{"taskId": "t", "runs": {}}',
    ],
)
def test_a_damaged_snapshot_is_left_as_it_is(place: Place, damaged: bytes) -> None:
    place.write("runs.json", damaged)
    before = Fingerprint.at(str(place.runs))
    with pytest.raises(SnapshotError, match=r"runs\.json"):
        place.store().record_run(run("a", "1"))
    assert Fingerprint.at(str(place.runs)) == before
    assert place.runs.read_bytes() == damaged
    assert place.names() == ["runs.json"]


def test_a_symbolic_link_is_not_followed(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(snapshot(run("a", "1")))
    place.task.mkdir(parents=True)
    place.runs.symlink_to(elsewhere)
    with pytest.raises(SnapshotError, match="is a symbolic link"):
        place.store().record_run(run("b", "2"))
    assert place.runs.is_symlink()
    assert elsewhere.read_bytes() == snapshot(run("a", "1"))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_a_snapshot_that_is_not_a_regular_file_is_an_error(
    place: Place, make: Callable[[Path], None]
) -> None:
    place.task.mkdir(parents=True)
    make(place.runs)
    with pytest.raises(SnapshotError, match="is not a regular file"):
        place.store().record_run(run("b", "2"))
    assert place.names() == ["runs.json"]


def test_permission_bits_are_kept(place: Place) -> None:
    place.write("runs.json", snapshot(run("a", "1")))
    place.runs.chmod(0o640)
    place.store().record_run(run("b", "2"))
    assert stat.S_IMODE(place.runs.stat().st_mode) == 0o640


def test_a_new_snapshot_has_the_bits_of_any_new_file(place: Place) -> None:
    before = os.umask(0o027)
    try:
        place.store().record_run(run("a", "1"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.runs.stat().st_mode) == 0o640


def test_a_lock_out_leaves_nothing_behind(place: Place) -> None:
    place.write("runs.json", snapshot(run("a", "1")))
    with TaskLock(place.layout, "t"), pytest.raises(TaskStateLockError):
        place.store().record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1"))
    assert place.names() == ["runs.json"]


@pytest.mark.parametrize("durability", Durability)
def test_every_durability_gives_the_same_bytes(place: Place, durability: Durability) -> None:
    store = place.store(durability=durability)
    store.record_run(run("a", "1"))
    store.record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1"), run("b", "2"))


class NotedSyncs(SyncGroup):
    """A group that notes in which order it is told what."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def written(self, fd: int) -> None:
        self.calls.append("written")

    def created(self, directory: str) -> None:
        self.calls.append("created")

    def sync_data(self) -> None:
        self.calls.append("sync_data")

    def renamed(self, target: str) -> None:
        self.calls.append("renamed")

    def sync_names(self) -> None:
        self.calls.append("sync_names")


def test_all_is_synced_before_a_run_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    group = NotedSyncs()
    monkeypatch.setattr(snapshot_module, "open_group", lambda *_args, **_options: group)
    place.task.parent.mkdir()
    place.store().record_run(run("a", "1"))
    assert group.calls == ["created", "written", "sync_data", "renamed", "sync_names"]


def test_without_the_sync_of_the_data_nothing_is_renamed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailingSync(SyncGroup):
        def sync_data(self) -> None:
            raise OSError(5, "Input/output error")

    place.write("runs.json", snapshot(run("a", "1")))
    monkeypatch.setattr(snapshot_module, "open_group", lambda *_args, **_options: FailingSync())
    with pytest.raises(OSError, match="Input/output error"):
        place.store().record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1"))
    assert place.names() == ["runs.json"]


def test_a_sync_that_fails_fails_the_run_and_leaves_the_snapshot(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("runs.json", snapshot(run("a", "1")))

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        place.store(durability=Durability.FILE).record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1"))
    assert place.names() == ["runs.json"]


def test_runs_of_many_tasks_come_back_in_their_order(place: Place) -> None:
    runs = [run(str(number), "1", task_id=f"t{number % 3}") for number in range(9)]
    place.store().record_runs([runs[4]])
    sides = place.store().record_runs(runs)
    assert sides == [*[Side.PERSISTED] * 4, Side.UNCHANGED, *[Side.PERSISTED] * 4]
    for task in range(3):
        found = json.loads((place.root / "out" / f"t{task}" / "runs.json").read_bytes())
        assert {run["runId"] for run in found["runs"]} == {str(number) for number in range(task, 9, 3)}


def test_one_task_that_fails_does_not_stop_the_others(place: Place) -> None:
    place.write("runs.json", b"{")
    with pytest.raises(SnapshotError):
        place.store().record_runs([run("a", "1"), run("b", "1", task_id="u")])
    assert place.names() == ["runs.json"]
    assert (place.root / "out" / "u" / "runs.json").exists()


def test_failures_of_several_tasks_are_raised_together(place: Place) -> None:
    place.write("runs.json", b"{")
    with TaskLock(place.layout, "u"), pytest.raises(CommitErrors) as caught:
        place.store().record_runs([run("a", "1"), run("b", "1", task_id="u"), run("c", "1", task_id="v")])
    assert {task: type(error) for task, error in caught.value.errors.items()} == {
        "t": NotASnapshotError,
        "u": TaskStateLockError,
    }
    assert (place.root / "out" / "v" / "runs.json").exists()


@pytest.mark.parametrize(
    "bad",
    [b"{", b"[]", {}, {"taskId": "t", "runId": "a"}, '{"type": "other"}', {"note": float("nan")}, "\ud800"],
)
def test_an_invalid_run_means_that_nothing_is_written(place: Place, bad: Any) -> None:
    with pytest.raises(InvalidRunError):
        place.store().record_runs([run("a", "1"), bad])
    assert not place.task.exists()


@pytest.mark.parametrize("ids", [{"task_id": ".."}, {"run_id": "a/b"}])
def test_an_id_that_must_not_be_a_path_is_refused(place: Place, ids: dict[str, str]) -> None:
    with pytest.raises(UnsafeIdentifierError):
        place.store().record_run(run(**{"run_id": "a", "timestamp": "1", **ids}))


class Texts:
    """Runs of task t; the texts of some of them fail."""

    def __init__(self, runs: list[Run], *failing: int) -> None:
        self.run_ids = [str(run["runId"]) for run in runs]
        self.timestamps = [str(run["timestamp"]) for run in runs]
        self.asked: list[int] = []
        self._runs = runs
        self._failing = failing

    def text(self, number: int) -> bytes:
        self.asked.append(number)
        if number in self._failing:
            raise ItemError("gone", str(number)) if number % 2 else OSError(5, str(number))
        return javascript(self._runs[number])


def stage(place: Place, runs: Texts) -> StagedSnapshot:
    options = CommitOptions(
        out_dir=place.layout.out_dir, runs_dir=place.layout.runs_dir, durability=Durability.NONE
    )
    return StagedSnapshot(options, "t", runs, SyncGroup())


def commit(place: Place, texts: Texts) -> tuple[list[Side], dict[int, Exception], int]:
    staged = stage(place, texts)
    staged.publish()
    staged.discard()
    return staged.sides, staged.failures, staged.size


def test_no_text_is_asked_for_that_is_not_needed(place: Place) -> None:
    place.store().record_runs([run("a", "1"), run("b", "2")])
    texts = Texts([run("a", "1"), run("b", "9"), run("c", "3"), run("c", "4"), run("d", "5")])
    sides, _, size = commit(place, texts)
    assert sides == [Side.UNCHANGED, *[Side.PERSISTED] * 4]
    assert texts.asked == [0, 3, 4, 1]
    assert size == place.runs.stat().st_size


def test_a_run_without_its_text_is_left_out(place: Place) -> None:
    place.store().record_runs([run("a", "1"), run("b", "2"), run("c", "3")])
    runs = [run("a", "1"), run("b", "2", "new"), run("c", "4"), run("d", "5"), run("e", "6"), run("f", "7")]
    sides, failures, _ = commit(place, Texts(runs, 0, 2, 3, 4))
    assert sides == [Side.FAILED, Side.PERSISTED, Side.FAILED, Side.FAILED, Side.FAILED, Side.PERSISTED]
    assert {number: type(error) for number, error in failures.items()} == {
        0: OSError,
        2: OSError,
        3: ItemError,
        4: OSError,
    }
    assert place.runs.read_bytes() == snapshot(
        run("a", "1"), run("b", "2", "new"), run("c", "3"), run("f", "7")
    )


def test_without_its_last_arrival_a_run_has_the_one_before(place: Place) -> None:
    runs = [run("a", "1"), run("b", "2"), run("a", "3"), run("a", "4")]
    sides, failures, _ = commit(place, Texts(runs, 2, 3))
    assert sides == [Side.PERSISTED, Side.PERSISTED, Side.FAILED, Side.FAILED]
    assert sorted(failures) == [2, 3]
    assert place.runs.read_bytes() == snapshot(run("a", "1"), run("b", "2"))


def test_many_failures_do_not_write_the_file_again_for_each(place: Place) -> None:
    runs = [run(str(number), f"{number:03}") for number in range(100)]
    texts = Texts(runs, *range(0, 100, 2))
    commit(place, texts)
    assert len(texts.asked) < 4 * len(runs)
    assert place.runs.read_bytes() == snapshot(*runs[1::2])


@pytest.mark.parametrize("exists", [True, False])
def test_where_all_fail_nothing_is_written(place: Place, exists: bool) -> None:
    if exists:
        place.write("runs.json", json.dumps({"taskId": "t", "runs": []}).encode())
    sides, failures, size = commit(place, Texts([run("a", "1"), run("b", "2")], 0, 1))
    assert (sides, sorted(failures), size) == ([Side.FAILED] * 2, [0, 1], 0)
    assert place.runs.exists() == exists
    assert not exists or place.runs.read_bytes() == b'{"taskId": "t", "runs": []}'


def test_another_exception_ends_the_commit_and_leaves_nothing_behind(place: Place) -> None:
    place.write("runs.json", snapshot(run("a", "1")))

    class Interrupted(Texts):
        def text(self, number: int) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(place, Interrupted([run("b", "2")]))
    assert place.names() == ["runs.json"]


def test_no_runs_are_nothing_to_write(place: Place) -> None:
    assert place.store().record_runs([]) == []
    assert commit(place, Texts([])) == ([], {}, 0)
    assert not place.task.exists()


def test_a_run_as_deep_as_runs_may_be_can_be_read_again(place: Place) -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    place.store().record_run(run("a", "1", deep))
    assert place.store().record_run(run("a", "1", deep)) is Side.UNCHANGED
    place.store().record_run(run("b", "2"))
    assert place.runs.read_bytes() == snapshot(run("a", "1", deep), run("b", "2"))


def test_a_long_history_is_copied_around_new_runs(place: Place) -> None:
    history = [run(str(number), f"{number:06}", "x" * 40) for number in range(20_000)]
    place.write("runs.json", snapshot(*history))
    texts = Texts([run("early", "000007"), run("19999", "019999", "changed"), run("late", "9")])
    commit(place, texts)
    expected = [
        *history[:8],
        run("early", "000007"),
        *history[8:-1],
        run("19999", "019999", "changed"),
        run("late", "9"),
    ]
    assert place.runs.read_bytes() == snapshot(*expected)
