"""``--max-memory``: a batch stays below the bound, or is refused with a message that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.engine import file_columns

from batchpersist import BatchOptions, UsageError, run_batch
from batchpersist.arrow_tables import index_schema
from batchpersist.memory_limit import BASE, INDEX_TIMES, SMALLEST, TEXT_TIMES, MemoryBound, parse_size
from batchpersist.options import Selection
from batchpersist.plan.planner import make_plan
from batchpersist.plan.sharding import SHARD_BYTES
from batchpersist.sources.formats import Format
from batchpersist.sources.source import SourceFile

MEGABYTE = 1 << 20


def run(run_id: str, task_id: str = "t", notes: str = "") -> dict[str, Any]:
    return {"taskId": task_id, "runId": run_id, "timestamp": "2026-01-01T00:00:00.000Z", "notes": notes}


def write_lines(path: Path, *runs: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in runs))
    return path


def options(root: Path, limit: int = SMALLEST, workers: int = 2) -> BatchOptions:
    return BatchOptions(
        out_dir=str(root / "out"), runs_dir=str(root / "runs"), max_memory_bytes=limit, workers=workers
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("400M", 400 << 20),
        ("2G", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("300 mb", 300 << 20),
        ("1024", 1024),
    ],
)
def test_size_is_parsed_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "one", "1MM"])
def test_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


def test_too_small_bound_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot do with 100 MB: at least 192 MB"):
        options(tmp_path, 100 * MEGABYTE)
    assert os.listdir(tmp_path) == []


def test_too_large_index_is_refused_before_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.memory_limit.INDEX_TIMES", (SMALLEST - BASE) // 1000)
    source = write_lines(tmp_path / "a.jsonl", *map(run, "abcdefghijklmnopqrstuvwxyz"))
    with pytest.raises(UsageError, match="192 MB are too little to index the 26 runs found so far"):
        run_batch([str(source)], options(tmp_path))
    assert not (tmp_path / "out" / "t").exists()
    assert not (tmp_path / "runs" / "t").exists()


def index_of(tasks: list[str], length: int) -> pa.Table:
    """An index with one run for each task id, each of ``length`` bytes."""
    numbers = pa.array(range(len(tasks)))
    ids = {name: numbers.cast("string") for name in ("run_id", "timestamp")}
    places = {
        **file_columns(*[SourceFile("/s", "s", Format.LINES)] * len(tasks)),
        "offset": numbers,
        "line": numbers,
        "length": pa.array([length] * len(tasks)),
        "known": pa.nulls(len(tasks), pa.int32()),
    }
    columns = {"task_id": pa.array(tasks).dictionary_encode(), **ids, **places}
    return pa.table(columns, schema=index_schema())


def test_too_large_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.memory_limit.ENTRY_BYTES", (SMALLEST - BASE) // 3)
    bound = MemoryBound(SMALLEST)
    assert make_plan(index_of(["t"] * 3, 1), Selection(), workers=1, memory=bound).rows.num_rows == 3
    with pytest.raises(UsageError, match="too little to merge the 4 runs of the task t,"):
        make_plan(index_of(["t"] * 4, 1), Selection(), workers=1, memory=bound)


def test_shards_are_smaller_with_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.memory_limit.TEXT_TIMES", (SMALLEST - BASE) // (4 * MEGABYTE))
    index = index_of([f"t{number}" for number in range(100)], MEGABYTE)
    usual = make_plan(index, Selection(), workers=1)
    small = make_plan(index, Selection(), workers=1, memory=MemoryBound(SMALLEST))
    assert max(shard.size for shard in usual.shards) == SHARD_BYTES
    assert {shard.size for shard in small.shards} == {4 * MEGABYTE}


def test_single_process_has_half_the_memory_for_each_phase() -> None:
    together, apart = MemoryBound(SMALLEST, in_one_process=True), MemoryBound(SMALLEST)
    room = int((SMALLEST - BASE) / INDEX_TIMES)
    apart.check_index(1, room)
    together.check_index(1, room // 2)
    with pytest.raises(UsageError, match="too little to index"):
        together.check_index(1, room)


@pytest.mark.skipif(sys.platform != "linux", reason="THE PEAK OF A PROCESS IS MEASURED BY wait4 IN KILOBYTES")
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_stay_below_the_bound(tmp_path: Path, workers: int) -> None:
    """The control: without the bound, one run that needs more exceeds it."""
    room = (SMALLEST - BASE) // (2 if workers == 1 else 1)
    fitting = run("fitting", notes=("x" * 60 + "\n") * (room // TEXT_TIMES // 64))
    lines = [run(f"run-{number}", f"t{number % 40}", "x" * 1000) for number in range(2_500)]
    source = write_lines(tmp_path / "a.jsonl", *lines, fitting)
    bounded = ("--max-memory", str(SMALLEST))
    assert _peak(tmp_path / "bounded", source, workers, *bounded) <= SMALLEST
    if workers == 1:
        items = {"items": [{"id": number, "done": []} for number in range(SMALLEST // 6 // 32)]}
        source = write_lines(tmp_path / "b.jsonl", {**run("too-large"), **items})
        assert _peak(tmp_path / "unbounded", source, workers) > SMALLEST


def _peak(root: Path, source: Path, workers: int, *words: str) -> int:
    """The peak memory in bytes of the largest process of a batch; the fork server reaps a pool's workers."""
    program = (
        "import os, resource, subprocess, sys; sys.path.insert(0, sys.argv.pop(1));"
        "from measure import timed;"
        "timed(lambda: subprocess.run(sys.argv[1:]));"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    roots = ("--out-dir", str(root / "out"), "--runs-dir", str(root / "runs"))
    command = ("batchpersist", "run", str(source), *roots, "-j", str(workers), "-q", *words)
    result = subprocess.run(
        [sys.executable, "-c", program, str(benchmarks), sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(result.stdout.split()[-1]) * 1024
