from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model import record

from batchpersist.models import DEFAULT_KEYS, Durability, Keys, Side
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout
from batchpersist.snapshots import base_file, entry_positions
from batchpersist.snapshots.base_file import Baseline
from batchpersist.snapshots.commit import StagedSnapshot
from batchpersist.snapshots.entry_positions import PositionCache
from batchpersist.snapshots.history import History
from batchpersist.snapshots.store import TaskStateStore
from batchpersist.storage import atomic_write
from batchpersist.storage.fingerprint import Fingerprint, file_clock

Run = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def every_snapshot_is_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_positions, "LONG", 0)
        yield


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for each history that is read instead of recalled."""
    found: list[object] = []
    read = base_file.read_history

    def noted(*args: Any, **options: Any) -> History:
        found.append(args)
        return read(*args, **options)

    monkeypatch.setattr(base_file, "read_history", noted)
    return found


class Place:
    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root / "out"), str(root / "runs"))
        self.runs = Path(self.layout.snapshot("t"))
        self.cache = Path(self.layout.history_cache("t"))

    def positions(self, task_id: str = "t", keys: Keys = DEFAULT_KEYS) -> PositionCache:
        return PositionCache(self.layout, task_id, keys)

    def record(self, *runs: Run, **options: Any) -> list[Side]:
        options = {"lock_policy": LockPolicy(attempts=1), "durability": Durability.NONE, **options}
        return TaskStateStore(self.layout.out_dir, self.layout.runs_dir, **options).record_runs(runs)

    def write(self, data: bytes) -> None:
        """In place, as by hand, and with the old mtime put back."""
        before = os.stat(self.runs)
        self.runs.write_bytes(data)
        os.utime(self.runs, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def run(run_id: str, timestamp: str, note: object = None) -> Run:
    return {"taskId": "t", "runId": run_id, "timestamp": timestamp, "note": note}


def javascript(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def test_the_history_of_an_own_snapshot_is_not_read_again(place: Place, readings: list[object]) -> None:
    place.record(run("b", "2"), run("d", "4"))
    assert place.record(run("e", "5")) == [Side.PERSISTED]  # appended
    assert place.record(run("a", "1")) == [Side.PERSISTED]  # put first
    assert place.record(run("b", "3", "new"), run("d", "4")) == [Side.PERSISTED, Side.UNCHANGED]
    assert place.record(run("a", "1")) == [Side.UNCHANGED]
    runs = [run("a", "1"), run("b", "3", "new"), run("d", "4"), run("e", "5")]
    assert place.runs.read_bytes() == javascript({"taskId": "t", "lastRunAt": "5", "runs": runs})
    assert readings == []


def test_cached_positions_are_those_that_reading_finds(place: Place) -> None:
    place.record(run("é\u2028", "1", {"x": [1]}), run("a 'b", "\U00010000"))
    place.record(run("c", "1"))
    found = []
    for cache in (True, False):
        loaded = Baseline()
        history = loaded.load(place.layout, "t", DEFAULT_KEYS, cache=cache)
        texts = [history.text(entry) for entry in range(len(history.entries))]
        found.append((history.keys, history.further, history.is_canonical, history.entries.offsets, texts))
        loaded.close()
    assert found[0] == found[1]


def test_without_a_cache_nothing_is_written_or_read(place: Place, readings: list[object]) -> None:
    place.record(run("a", "1"), cache=False)
    assert not place.cache.exists()
    place.record(run("b", "2"))
    before = place.cache.read_bytes()
    place.record(run("b", "2"), cache=False)
    assert len(readings) == 2
    assert place.cache.read_bytes() == before


def test_a_short_snapshot_has_no_record(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_positions, "LONG", 1 << 20)
    place.record(run("a", "1"))
    assert not place.cache.exists()


@pytest.mark.parametrize("damage", [b"", b"\0", b"batchpersist history 1"])
def test_a_damaged_record_counts_as_absent(place: Place, damage: bytes, readings: list[object]) -> None:
    place.record(run("a", "1"))
    place.cache.write_bytes(damage)
    place.record(run("b", "2"))
    assert len(readings) == 1
    assert [run["runId"] for run in json.loads(place.runs.read_bytes())["runs"]] == ["a", "b"]


def test_no_byte_of_a_record_can_change_unnoticed(place: Place) -> None:
    place.record(run("a", "1"), run("b", "2"))
    good = place.cache.read_bytes()
    fingerprint = Fingerprint.at(str(place.runs))
    assert fingerprint is not None
    for at in range(len(good)):
        place.cache.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert place.positions().read(fingerprint) is None
        place.cache.write_bytes(good[:at])
        assert place.positions().read(fingerprint) is None
    place.cache.write_bytes(good)
    assert place.positions().read(fingerprint) is not None


def test_a_record_is_of_one_task_and_one_set_of_names(place: Place) -> None:
    place.record(run("a", "1"))
    fingerprint = Fingerprint.at(str(place.runs))
    assert fingerprint is not None
    os.link(place.cache, place.layout.history_cache("u"))
    for task_id, keys in (("u", DEFAULT_KEYS), ("t", Keys(run="note")), ("t", Keys(time="note"))):
        assert place.positions(task_id, keys).read(fingerprint) is None


@pytest.mark.parametrize("durability", Durability)
def test_what_was_not_synced_is_read_again_after_a_restart_of_the_machine(
    place: Place, durability: Durability, monkeypatch: pytest.MonkeyPatch, readings: list[object]
) -> None:
    place.record(run("a", "1"), durability=durability)
    monkeypatch.setattr(entry_positions, "boot_id", lambda: "another")
    place.record(run("a", "1"))
    assert len(readings) == (durability is Durability.NONE)


def test_without_a_boot_id_only_a_synced_snapshot_is_cached(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_positions, "boot_id", lambda: "")
    place.record(run("a", "1"))
    assert not place.cache.exists()
    place.record(run("b", "1"), durability=Durability.FILE)
    assert place.cache.exists()


def test_an_edit_right_after_a_commit_is_seen_though_size_and_mtime_are_as_before(place: Place) -> None:
    """However early: what could still change and keep its fingerprint is not noted."""
    for number in range(100):
        place.record(run("a", "1", f"mine {number}"), run("b", "2"))
        place.write(place.runs.read_bytes().replace(b'"runId": "b"', b'"runId": "c"'))
        place.record(run("d", "3"))
        assert [run["runId"] for run in json.loads(place.runs.read_bytes())["runs"]] == ["a", "c", "d"]
        os.unlink(place.runs)


def test_within_the_clock_tick_of_a_commit_nothing_is_cached(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = file_clock()
    monkeypatch.setattr(atomic_write, "file_clock", lambda: clock)
    with caplog.at_level("DEBUG"):
        place.record(run("a", "1"))
    assert not place.cache.exists()
    assert caplog.messages == [f"{place.runs} is not cached: written within the last clock tick"]


def test_a_record_that_cannot_be_written_stops_nothing(place: Place) -> None:
    place.cache.mkdir(parents=True)
    (place.cache / "x").touch()
    assert place.record(run("a", "1")) == [Side.PERSISTED]
    assert place.record(run("b", "2")) == [Side.PERSISTED]
    assert [run["runId"] for run in json.loads(place.runs.read_bytes())["runs"]] == ["a", "b"]


def test_a_key_that_cannot_be_cached_stops_nothing(place: Place) -> None:
    place.runs.parent.mkdir(parents=True)
    place.runs.write_bytes(javascript({"taskId": "t", "lastRunAt": "0", "runs": [run("?", "0")]}))
    place.write(place.runs.read_bytes().replace(b"?", b"\\ud800"))
    place.record(run("b", "2"))
    assert not place.cache.exists()
    place.record(run("c", "3"))
    assert [run["runId"] for run in json.loads(place.runs.read_bytes())["runs"]] == ["\ud800", "b", "c"]


RUNS = st.builds(
    run, st.sampled_from("abcdef"), st.sampled_from("123"), st.sampled_from(["x", "y", {"é": []}])
)


def forget(place: Place) -> None:
    place.cache.unlink(missing_ok=True)


def damage(place: Place) -> None:
    if place.cache.exists():
        place.cache.write_bytes(place.cache.read_bytes()[:-3] + b"abc")


def record_as_the_orchestrator_does(place: Place) -> None:
    before = json.loads(place.runs.read_bytes())
    beside = place.runs.with_name("beside")
    beside.write_bytes(javascript(record(before, run("orchestrator", "2"), "t")))
    beside.rename(place.runs)


def edit_in_place(place: Place) -> None:
    data = place.runs.read_bytes()
    place.write(data.replace(b'"runId": "a"', b'"runId": "A"').replace(b'"note": "x"', b'"note": "z"'))


MEANWHILE: list[Callable[[Place], None]] = [
    lambda _place: None,
    forget,
    damage,
    record_as_the_orchestrator_does,
    edit_in_place,
]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.lists(RUNS, min_size=1, max_size=4), st.sampled_from(MEANWHILE)), min_size=1, max_size=6
    )
)
def test_whatever_becomes_of_cache_and_snapshot_the_bytes_are_those_without_a_cache(
    steps: list[tuple[list[Run], Callable[[Place], None]]],
) -> None:
    with TemporaryDirectory() as folder:
        with_cache, without = Place(Path(folder, "with")), Place(Path(folder, "without"))
        for runs, meanwhile in steps:
            assert with_cache.record(*runs) == without.record(*runs, cache=False)
            assert with_cache.runs.read_bytes() == without.runs.read_bytes()
            meanwhile(with_cache)
            meanwhile(without)


@settings(max_examples=100, deadline=None)
@given(
    before=st.lists(RUNS, min_size=1, max_size=6, unique_by=lambda run: run["runId"]),
    mine=st.lists(RUNS, min_size=1, max_size=3),
    theirs=st.lists(RUNS, min_size=1, max_size=3),
    is_short=st.booleans(),
    is_cached=st.booleans(),
)
def test_what_others_recorded_meanwhile_is_merged_with_as_if_it_had_been_there_before(
    before: list[Run], mine: list[Run], theirs: list[Run], is_short: bool, is_cached: bool
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if not is_short:
            patch.setattr("batchpersist.snapshots.commit.SHORT_MERGE", 0)
        place, expected = Place(Path(folder, "a")), Place(Path(folder, "b"))
        place.record(*before)
        expected.record(*before)

        record = StagedSnapshot.publish

        def publish_overtaken(staged: StagedSnapshot) -> None:
            patch.setattr(StagedSnapshot, "publish", record)
            place.record(*theirs, cache=is_cached)
            # Where nothing had to be written, nothing is read again: mine came first.
            for runs in (theirs, mine) if staged.size else (mine, theirs):
                expected.record(*runs)
            staged.publish()

        patch.setattr(StagedSnapshot, "publish", publish_overtaken)
        place.record(*mine)
        assert place.runs.read_bytes() == expected.runs.read_bytes()
        assert os.listdir(place.layout.task_dir("t")) == ["runs.json"]
