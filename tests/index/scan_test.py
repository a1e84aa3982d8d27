from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path

import pytest
from support.scans import lines, put, run, text

from batchpersist.context import RunContext
from batchpersist.events import Event, RunFailed
from batchpersist.index import scan_worker
from batchpersist.index.builder import IndexBuilder
from batchpersist.index.scan import scan_sources
from batchpersist.index.scan_worker import run_scan_task
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources.discovery import discover
from batchpersist.workers.pool import WorkerPool


@pytest.mark.parametrize("workers", [1, 2])
def test_what_parts_leave_is_indexed_in_source_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    if workers == 1:  # the limits are not known to other processes
        monkeypatch.setattr(scan_worker, "LONGEST_COPY", 1000)
        monkeypatch.setattr(scan_worker, "SCAN_TASK_BYTES", 300)
    put(tmp_path / "in" / "1.jsonl", lines(run("first")))
    long = lines(*(run(f"a{number:02d}") for number in range(40)))
    put(tmp_path / "in" / "2.jsonl.gz", gzip.compress(long + b"no run\n" + lines(run("b")))[:-4])
    put(tmp_path / "in" / "3.json", text(run("c")))
    put(tmp_path / "in" / "4" / "x" / "y.json", text(run("d")))
    put(tmp_path / "in" / "5.json", text(run("e")))
    put(tmp_path / "last.jsonl", lines(run("last")))
    failures: list[Event] = []
    with closing(WorkerPool(workers, pool_runs=0)) as pool:
        index = scan_sources(
            discover([str(tmp_path / "in"), str(tmp_path / "last.jsonl")]),
            pool,
            DEFAULT_KEYS,
            str(tmp_path),
            RunContext(failures.append),
        )
    table = index.take_table()
    order = ["first", *(f"a{number:02d}" for number in range(40)), "b", "c", "d", "e", "last"]
    assert table["run_id"].to_pylist() == order
    assert table["line"].to_pylist() == [1, *range(1, 41), 42, 1, 1, 1, 1]
    told = [(event.line, event.failure.type) for event in failures if isinstance(event, RunFailed)]
    assert told == [(41, "InvalidRunError"), (42, "SourceUnreadableError")]


def test_a_scan_stops_within_what_a_part_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_worker, "LONGEST_COPY", 0)
    monkeypatch.setattr(scan_worker, "SCAN_TASK_BYTES", 100)
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(lines(*(run(f"r{number}") for number in range(40)))))
    answers = iter([False] * 5)
    with closing(WorkerPool(1)) as pool:
        index = scan_sources(
            discover([str(path)]),
            pool,
            DEFAULT_KEYS,
            str(tmp_path),
            RunContext(should_stop=lambda: next(answers, True)),
        )
    assert index.cut_short
    assert 0 < index.rows < 40


def test_a_cache_may_have_no_rows(tmp_path: Path) -> None:
    known = IndexBuilder().take_table()
    assert known.num_rows == 0
    builder = IndexBuilder(known)
    source = put(tmp_path / "a.jsonl", lines(run("r0"), run("r1")))
    for scan_task in discover([str(source)]):
        builder.add(run_scan_task(scan_task, DEFAULT_KEYS, str(tmp_path)))
    table = builder.take_table()
    assert table["known"].to_pylist() == [None, None]
    assert table["run_id"].to_pylist() == ["r0", "r1"]
