"""Fingerprints, and what a cache may make of them when the clock of the file system ticks slowly."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import await_tick, run

from batchpersist.batch.run import run_batch
from batchpersist.cache import store
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.models import Durability
from batchpersist.options import BatchOptions
from batchpersist.paths import Layout
from batchpersist.persist import worker
from batchpersist.storage.atomic_write import stage
from batchpersist.storage.fingerprint import NO_FINGERPRINT, Fingerprint, file_clock, packed_at, what_changed
from batchpersist.storage.fsync import open_group

TICK = 4_000_001


@given(st.lists(st.integers(0, 10 * TICK), min_size=1, max_size=5), st.integers(0, 10 * TICK))
def test_a_fingerprint_that_is_old_enough_belongs_to_no_later_state(changes: list[int], read: int) -> None:
    """Of a file whose size stays, when each change is dated by the last tick."""

    def dated(at: int) -> int:
        return at // TICK * TICK + 1

    def state(at: int) -> Fingerprint:
        ctime = dated(max([at_change for at_change in changes if at_change <= at], default=0))
        return Fingerprint(1, 2, 3, ctime, ctime)

    if state(read).is_older_than(dated(read)):
        assert all(state(later) != state(read) for later in changes if later > read)


@pytest.mark.parametrize("rounded_to", [1_000_000, 1_000_000_000, 2_000_000_000])
def test_times_that_were_rounded_must_be_two_seconds_old(rounded_to: int) -> None:
    changed = 7 * rounded_to
    fingerprint = Fingerprint(1, 2, 3, changed, changed)
    assert not fingerprint.is_older_than(changed + 2_000_000_000)
    assert fingerprint.is_older_than(changed + 2_000_000_001)


def test_a_packed_fingerprint_is_the_same_however_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    found = Fingerprint.at(str(path))
    assert found == Fingerprint.of(path.stat())
    assert packed_at(str(path)) == found.packed() != NO_FINGERPRINT
    assert (Fingerprint.at(str(tmp_path / "b")), packed_at(str(tmp_path / "b"))) == (None, NO_FINGERPRINT)


@pytest.mark.parametrize("field", range(5))
def test_each_field_counts(field: int) -> None:
    one = Fingerprint(1, 2, 3, 4, 5)
    other = Fingerprint(*(value + (number == field) for number, value in enumerate(one)))
    assert one.packed() != other.packed()
    reasons = {2: "size changed", 4: "ctime changed"}
    assert what_changed(one.packed(), other.packed()) == reasons.get(field, "another file")


class SlowClock:
    """Dates all changes, and tells the time, as if the clock ticked only when ``tick`` is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ticks: list[int] = []
        self.tick()
        for name in ("stat", "lstat", "fstat"):
            real = getattr(os, name)
            monkeypatch.setattr(os, name, lambda *args, real=real, **more: self._coarse(real(*args, **more)))
        real_time = time.clock_gettime_ns
        monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: self._dated(real_time(clock)))

    def tick(self) -> None:
        ticks, self._ticks = self._ticks, []  # time goes on as ever while this waits
        now = time.time_ns() | 1
        await_tick()
        self._ticks = [*ticks, now]

    def _dated(self, at: int) -> int:
        return max((tick for tick in self._ticks if tick <= at), default=at)

    def _coarse(self, status: os.stat_result) -> Any:
        return CoarseStatus(status, self._dated(status.st_mtime_ns), self._dated(status.st_ctime_ns))


class CoarseStatus:
    def __init__(self, status: os.stat_result, mtime_ns: int, ctime_ns: int) -> None:
        self._status, self.st_mtime_ns, self.st_ctime_ns = status, mtime_ns, ctime_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)

    def __getitem__(self, number: int) -> Any:
        return self._status[number]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(run("t", number, note="aaaa")) + "\n" for number in range(5)))
    return path


@pytest.fixture
def clock(source: Path, monkeypatch: pytest.MonkeyPatch) -> SlowClock:
    """The source is from before its first tick."""
    return SlowClock(monkeypatch)


def night(source: Path, **more: Any) -> BatchReport:
    roots = {name: str(source.parent / name) for name in ("out_dir", "runs_dir")}
    return run_batch([str(source)], BatchOptions(**roots, durability=Durability.NONE, **more))


def outputs(source: Path) -> list[Path]:
    folder = source.parent
    return [folder / "out_dir/t/runs.json", *sorted((folder / "runs_dir/t").rglob("manifest.json"))]


def edit(path: Path) -> None:
    """In place: same inode, same size."""
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.replace(b"aaaa", b"bbbb"))


def test_what_is_written_within_a_tick_is_compared_the_next_night_and_cached_then(
    source: Path, clock: SlowClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, text = list[str](), worker.PayloadReader.text

    def record(reader: Any, keys: Any, *rest: Any) -> bytes:
        read.append(keys.run_id)
        return text(reader, keys, *rest)

    monkeypatch.setattr(worker.PayloadReader, "text", record)
    found = []
    for _ in range(3):
        read.clear()
        counts = night(source).metrics.counts
        found.append((counts.persisted, counts.unchanged, len(read)))
        clock.tick()
    assert found == [(5, 0, 5), (0, 5, 5), (0, 5, 0)]


@pytest.mark.parametrize("believes_all", [False, True])
def test_an_output_that_is_changed_within_the_tick_is_not_taken_as_unchanged(
    source: Path, clock: SlowClock, believes_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a rule that takes each fingerprint is deceived."""
    if believes_all:
        monkeypatch.setattr(Fingerprint, "is_older_than", lambda _fingerprint, _clock: True)
    night(source)
    paths = outputs(source)
    whole = {path: path.read_bytes() for path in paths}
    for path in paths:
        edit(path)
    clock.tick()
    night(source)
    assert [path for path in paths if (path.read_bytes() == whole[path]) is believes_all] == []


@pytest.mark.parametrize("believes_all", [False, True])
def test_a_source_that_is_changed_within_the_tick_is_scanned_again(
    source: Path, clock: SlowClock, believes_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if believes_all:
        monkeypatch.setattr(Fingerprint, "is_older_than", lambda _fingerprint, _clock: True)
    clock.tick()
    os.utime(source)
    night(source)
    edit(source)
    clock.tick()
    assert night(source).metrics.timing.cached_sources == believes_all


@pytest.mark.parametrize("ticks", ["none", "between write and rename", "after the rename", "both"])
def test_a_published_file_has_a_fingerprint_when_both_ticks_are_over(
    tmp_path: Path, ticks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SlowClock(monkeypatch)
    with open_group(Durability.NONE, [str(tmp_path)], files=1) as group:
        staged = stage(str(tmp_path / "a"), [b"x"], group)
        if ticks in ("between write and rename", "both"):
            clock.tick()
        staged.publish(group)
    if ticks in ("after the rename", "both"):
        clock.tick()
    found = Fingerprint.at(str(tmp_path / "a"))
    assert staged.fingerprint() == (found if ticks == "both" else None)
    (tmp_path / "a").write_bytes(b"y")
    assert staged.fingerprint() is None


def test_real_files_never_keep_an_old_fingerprint(tmp_path: Path) -> None:
    path, cached = tmp_path / "a", 0
    for number in range(300):
        path.write_bytes(b"%03d" % number)
        if number % 10 == 0:
            await_tick()
        before = file_clock()
        found = Fingerprint.at(str(path))
        assert found is not None
        with path.open("r+b") as file:
            file.write(b"xxx")
        os.utime(path, ns=(found.mtime_ns, found.mtime_ns))
        if found.is_older_than(before):
            cached += 1
            assert Fingerprint.at(str(path)) != found
    assert cached >= 30


# What a debug log says


def messages(source: Path, caplog: pytest.LogCaptureFixture, **more: Any) -> set[str]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "batchpersist"):
        night(source, **more)
    folder = f"{source.parent}/"
    loggers = ("batchpersist.cache", "batchpersist.persist")
    return {
        record.getMessage().replace(folder, "")
        for record in caplog.records
        if record.name.startswith(loggers)
    }


def test_the_log_says_why_something_is_not_taken_from_the_cache(
    source: Path, clock: SlowClock, caplog: pytest.LogCaptureFixture
) -> None:
    scanned, compared = "is scanned, not taken from the cache:", "is compared, not taken from the cache:"
    manifest = "runs_dir/t/run-0/manifest.json"
    assert "there is no cache runs_dir/.batchpersist/cache/cache.arrows" in messages(source, caplog)
    clock.tick()
    too_new = "not in the cache, or written within the last clock tick"
    assert messages(source, caplog) >= {f"{manifest} {compared} {too_new}"}
    clock.tick()
    assert messages(source, caplog) == set()
    edit(source.parent / manifest)
    clock.tick()
    written = f"{manifest} is written again: it is not this run"
    assert messages(source, caplog) == {f"{manifest} {compared} ctime changed", written}
    with source.open("a") as file:
        file.write("\n")
    clock.tick()
    found = messages(source, caplog)
    assert found >= {f"runs.jsonl {scanned} size changed", f"out_dir/t/runs.json {compared} {too_new}"}
    clock.tick()
    source.touch()
    too_new = "written within the last clock tick, or not a file on a disk"
    assert f"runs.jsonl {scanned} {too_new}" in messages(source, caplog)


@pytest.mark.parametrize("reason", ["cut or damaged", "cache format changed"])
def test_the_log_says_why_the_cache_is_not_used(
    source: Path, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = (str(source.parent / "out_dir"), str(source.parent / "runs_dir"))
    cache = Path(Layout(*roots).cache)
    await_tick()
    night(source)
    if reason == "cut or damaged":
        cache.write_bytes(cache.read_bytes()[:-1])
    else:
        monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    name = "runs_dir/.batchpersist/cache/cache.arrows"
    assert f"the cache {name} is not used: {reason}" in messages(source, caplog)
