"""The course of the work, from the shards: against a count in small steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.metrics.outcome_table import ShardRow
from batchpersist.report import timeline
from batchpersist.report.timeline import BINS, build_throughput, build_workers

_moments = st.integers(0, 400).map(lambda step: 1e9 + step / 8)


@st.composite
def _shard(draw: st.DrawFn) -> ShardRow:
    started, finished = sorted((draw(_moments), draw(_moments)))
    work = draw(st.sampled_from(["pair", "snapshot", "manifest"]))
    pid, runs = draw(st.integers(1, 3)), draw(st.integers(0, 50))
    return ShardRow(0, work, pid, started, finished, runs, cpu_seconds=0.5)


shards = st.lists(_shard(), max_size=12)


@given(shards)
def test_throughput_counts_each_run_once(rows: list[ShardRow]) -> None:
    found = build_throughput(rows)
    counted = [row for row in rows if row.work != "snapshot"]
    if found is None:
        assert not counted
        return
    assert len(found.runs) == BINS
    assert sum(found.runs) == pytest.approx(sum(row.runs for row in counted))


@given(shards)
def test_each_bin_has_the_runs_of_its_time(rows: list[ShardRow]) -> None:
    found = build_throughput(rows)
    if found is None:
        return
    begin = min(row.started for row in rows)
    lasting = [row for row in rows if row.work != "snapshot" and row.finished > row.started]
    for place in range(0, BINS, 7):
        start, stop = begin + place * found.bin_seconds, begin + (place + 1) * found.bin_seconds
        expected = sum(
            row.runs
            * max(0.0, min(stop, row.finished) - max(start, row.started))
            / (row.finished - row.started)
            for row in lasting
        )
        sudden = sum(row.runs for row in rows if row.work != "snapshot" and row.finished == row.started)
        assert expected - 1e-3 <= found.runs[place] <= expected + sudden + 1e-3


@given(shards)
def test_workers_have_the_times_of_their_shards(rows: list[ShardRow]) -> None:
    found = build_workers(rows)
    if found is None:
        assert not rows
        return
    assert {worker.pid for worker in found.listed} == {row.pid for row in rows}
    for worker in found.listed:
        mine = [row for row in rows if row.pid == worker.pid]
        assert worker.busy_seconds == pytest.approx(sum(row.finished - row.started for row in mine))
        assert sum(span.shards for span in worker.spans) == len(mine)
        assert worker.cpu_seconds == pytest.approx(0.5 * len(mine))
        assert max(span.finished for span in worker.spans) <= found.seconds + 1e-6


def test_only_the_busiest_of_many_workers_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "LANES", 2)
    found = build_workers([ShardRow(n, "pair", n, 10.0, 10.0 + n, 1) for n in range(1, 6)])
    assert found is not None
    assert ([worker.pid for worker in found.listed], found.omitted) == ([4, 5], 3)


def test_adjacent_shards_are_one_span() -> None:
    close = [ShardRow(n, "pair", 1, n * 0.01, n * 0.01 + 0.0099, 1) for n in range(5_000)]
    found = build_workers(close)
    assert found is not None
    assert len(found.listed[0].spans) == 1
    assert found.listed[0].spans[0].runs == 5_000
