"""Sources that become shorter while a batch reads them: what is gone is counted, what is there is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scans import lines, put, run, run_scan_tasks, text

from batchpersist import BatchOptions, run_batch
from batchpersist.events import Event, Progress
from batchpersist.index.scan_worker import ScanResult, run_scan_task
from batchpersist.models import DEFAULT_KEYS, Reject
from batchpersist.sources.discovery import discover

MESSAGE = "the source became shorter while it was read"
RUNS = [run(f"r{number:02}") for number in range(20)]


def scan_after(
    path: Path, source: Path, change: Callable[[], object], scan_task_bytes: int = 8 << 20
) -> tuple[list[str], list[Reject]]:
    """Scan a source that is changed after it was found, and cut into parts."""
    parts = list(discover([str(source)], scan_task_bytes=scan_task_bytes))
    change()
    spool = path / "spool"
    spool.mkdir(exist_ok=True)
    scanned = list(run_scan_tasks(parts, DEFAULT_KEYS, spool))
    run_ids = [row for part in scanned if part.rows for row in part.rows.column("run_id").to_pylist()]
    return run_ids, [reject for part in scanned for reject in part.rejects]


@given(kept=st.integers(0, len(lines(*RUNS))), scan_task_bytes=st.integers(30, 3000))
def test_each_line_is_read_or_lies_in_a_range_that_is_reported(
    tmp_path_factory: pytest.TempPathFactory, kept: int, scan_task_bytes: int
) -> None:
    folder, data = tmp_path_factory.mktemp("cut"), lines(*RUNS)
    path = put(folder / "a.jsonl", data)
    found, rejects = scan_after(folder, path, lambda: os.truncate(path, kept), scan_task_bytes)
    whole = data[:kept].count(b"\n")
    assert found in ([row["runId"] for row in RUNS[:whole]], [row["runId"] for row in RUNS[: whole + 1]])
    shorter = [reject for reject in rejects if reject.failure.message == MESSAGE]
    ranges_cut = [
        stop for start in range(0, len(data), scan_task_bytes) if (stop := start + scan_task_bytes) > kept
    ]
    assert len(shorter) == (len(ranges_cut) if kept < len(data) else 0)
    assert all(reject.failure.detail.startswith(f"it ends after {kept:,} bytes, ") for reject in shorter)


def test_a_shorter_source_says_how_much_was_expected(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines(*RUNS))
    size = path.stat().st_size
    found, (reject,) = scan_after(tmp_path, path, lambda: os.truncate(path, 0))
    assert (found, reject.source) == ([], str(path))
    assert str(reject.failure) == f"{MESSAGE}: it ends after 0 bytes, {size:,} were expected"


def gzip_text(values: list[dict[str, object]]) -> bytes:
    return gzip.compress(lines(*values))


def zstd_text(values: list[dict[str, object]]) -> bytes:
    compressed: bytes = pa.compress(lines(*values), "zstd", asbytes=True)
    return compressed


def parquet(values: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(values), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.json", text),
        ("a.json.gz", lambda values: gzip.compress(text(values))),
        ("a.jsonl.gz", gzip_text),
        ("a.jsonl.zst", zstd_text),
        ("a.jsonl.xz", lambda values: lzma.compress(lines(*values))),
        ("a.jsonl.bz2", lambda values: bz2.compress(lines(*values))),
        ("a.parquet", parquet),
    ],
)
def test_a_source_that_is_whole_but_shorter_than_it_was_is_reported(
    tmp_path: Path, name: str, form: Callable[[list[dict[str, object]]], bytes]
) -> None:
    runs = [run(f"r{number}", note=os.urandom(20).hex()) for number in range(20)]
    path = put(tmp_path / name, form(runs))
    found, rejects = scan_after(tmp_path, path, lambda: path.write_bytes(form(runs[:5])))
    assert [reject.failure.message for reject in rejects] == [MESSAGE]
    assert found in ([row["runId"] for row in runs[:5]], [])  # a compressed JSON text is read whole or not


@pytest.mark.parametrize(
    "suffix", ["json", "json.gz", "jsonl.gz", "jsonl.zst", "jsonl.xz", "jsonl.bz2", "parquet"]
)
@pytest.mark.parametrize("kept", [0, 40])
def test_a_cut_source_is_reported_as_shorter_rather_than_damaged(
    tmp_path: Path, suffix: str, kept: int
) -> None:
    forms: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
        "xz": lzma.compress,
        "bz2": bz2.compress,
    }
    compress = forms.get(suffix.rpartition(".")[2], lambda data: data)
    data = parquet(RUNS) if suffix == "parquet" else text(RUNS) if suffix[:4] == "json" else lines(*RUNS)
    path = put(tmp_path / f"a.{suffix}", compress(data))
    found, rejects = scan_after(tmp_path, path, lambda: os.truncate(path, kept))
    assert (found, [reject.failure.message for reject in rejects]) == ([], [MESSAGE])


def test_a_source_that_grows_is_read_without_complaint(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines(*RUNS))
    found, rejects = scan_after(
        tmp_path, path, lambda: path.write_bytes(lines(*RUNS, run("new"))), scan_task_bytes=100
    )
    assert (found, rejects) == ([row["runId"] for row in RUNS], [])


def test_a_file_on_standard_input_that_becomes_shorter_is_reported(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines(*RUNS) * 5000)
    program = """
import os, sys
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources import SourceReader, Source, streams
from batchpersist.sources.formats import Format
next_block = streams._next_block
def cut(*arguments):
    block = next_block(*arguments)
    os.truncate(0, 1000)
    return block
streams._next_block = cut
source = Source(Format.STANDARD_INPUT, "-", "<stdin>", 0, 0)
print(SourceReader(DEFAULT_KEYS, sys.argv[1]).stage(source).failure)
"""
    with open(path, "r+b") as source:
        words = [sys.executable, "-c", program, str(tmp_path)]
        found = subprocess.run(words, stdin=source, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"{MESSAGE}: it ends after ")
    assert f"{len(lines(*RUNS)) * 5000:,} were expected" in found.stdout


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_source_cut_between_scan_and_settling_fails_the_runs_that_are_gone(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = text(RUNS) if name == "a.json" else lines(*RUNS)
    path = put(tmp_path / name, data)

    def cut_it(event: Event) -> None:
        if isinstance(event, Progress) and event.phase == "scan" and event.done == len(RUNS):
            os.truncate(path, len(data) // 2)

    metrics = run_batch([name], BatchOptions(), on_event=cut_it).metrics
    counts = metrics.counts
    assert (counts.discovered, counts.persisted + counts.failed) == (20, 20)
    assert 9 <= counts.failed <= 11
    assert {error.message for error in metrics.errors} == {"the source became shorter after it was scanned"}


def test_a_cut_source_makes_the_batch_end_with_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.jsonl", lines(*RUNS))

    def cut_first(part: object, *rest: object) -> ScanResult:
        os.truncate("a.jsonl", 200)
        return run_scan_task(part, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("batchpersist.index.scan.run_scan_task", cut_first)
    report = run_batch(["a.jsonl"], BatchOptions())
    assert (report.exit_code, report.metrics.counts.persisted) == (3, 2)
    assert MESSAGE in {error.message for error in report.metrics.errors}
