from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scans import lines, put, rows_of, run, scan, text

from batchpersist.arrow_tables import run_schema
from batchpersist.index import scan_worker
from batchpersist.index.scan_worker import run_scan_task
from batchpersist.models import DEFAULT_KEYS, Keys
from batchpersist.sources import discovery, scan_tasks
from batchpersist.sources.discovery import discover
from batchpersist.sources.formats import Format
from batchpersist.sources.source import SourceFile


def test_columns_say_where_each_run_is(tmp_path: Path) -> None:
    data = lines(run("a"), {**run("b"), "taskId": "other"})
    path = put(tmp_path / "in" / "a.jsonl", data)
    other = put(tmp_path / "in" / "b.json", text(run("c")))
    (part,) = discover([str(tmp_path / "in")])
    scanned = run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    columns = {name: [row[name] for row in rows_of(scanned)] for name in run_schema().names}
    assert columns["task_id"] == ["t", "other", "t"]
    assert columns["run_id"] == ["a", "b", "c"]
    assert columns["timestamp"] == ["2025-01-01T00:00:00.000Z"] * 3
    lines_file = SourceFile(str(path), str(path), Format.LINES)
    assert list(map(SourceFile.decode, columns["origin"], columns["file"])) == [
        lines_file,
        lines_file,
        SourceFile(str(other), str(other), Format.JSON),
    ]
    assert columns["line"] == [1, 2, 1]
    assert columns["offset"] == [0, data.index(b"\n") + 1, 0]
    assert columns["length"] == [len(text(run("a"))), len(data.splitlines()[1]), len(text(run("c")))]
    assert scanned.bytes_read == len(data) + other.stat().st_size


def test_a_scanned_part_travels_between_processes(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.jsonl",
        lines(*(run(f"r{number}", taskId="one task") for number in range(1000))) + b"x\n",
    )
    (part,) = discover([str(path)])
    scanned = run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    sent = pickle.dumps(scanned)
    assert pickle.loads(sent) == scanned
    assert sent.count(b"one task") == 1


def test_events_are_rows_of_the_run_inside(tmp_path: Path) -> None:
    event = {"type": "run:completed", "payload": run("a")}
    path = put(
        tmp_path / "a.jsonl", lines({"type": "run:started"}, event, {"type": "log", "payload": run("x")})
    )
    found = scan(tmp_path / "spool", path)
    (row,) = found.rows
    assert (row.line, row.run_id, row.document) == (2, "a", text(event))
    assert found.other_events == 2


def test_each_invalid_line_is_a_reject_by_itself(tmp_path: Path) -> None:
    bad = [b"x", b"[]", b'{"taskId": "t"}', text({**run(), "runId": "a/b"}), b'{"a": NaN}', b'{"a": "\xff"}']
    path = put(tmp_path / "a.jsonl", b"\n".join([text(run("a")), *bad, text(run("b"))]))
    found = scan(tmp_path / "spool", path)
    assert found.run_ids == ["a", "b"]
    assert [reject.line for reject in found.rejects] == [2, 3, 4, 5, 6, 7]
    assert {reject.source for reject in found.rejects} == {str(path)}
    assert [reject.failure.type for reject in found.rejects].count("UnsafeIdentifierError") == 1


def test_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", b"\r\n\n" + text(run("a")) + b"\r\n  \t\r\n" + text(run("b")) + b"\r\n")
    found = scan(tmp_path / "spool", path)
    assert [(row.line, row.document) for row in found.rows] == [(3, text(run("a"))), (5, text(run("b")))]
    assert found.rejects == []


def test_other_key_names(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines({"task_id": "t", "run_id": "a", "completed_at": "5"}))
    (row,) = scan(tmp_path / "spool", path, keys=Keys("task_id", "run_id", "completed_at")).rows
    assert (row.task_id, row.run_id, row.timestamp) == ("t", "a", "5")


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a.json", "b.jsonl", "c.parquet", "d.jsonl.gz", "e.jsonl.zst", "f.arrow"):
        put(tmp_path / "in" / name, b"")
    put(tmp_path / "in" / "z.json", text(run("z")))
    parts = list(discover([str(tmp_path / "in")]))
    for path in (tmp_path / "in").iterdir():
        if path.name != "z.json":
            path.unlink()
    (scanned,) = [run_scan_task(part, DEFAULT_KEYS, str(tmp_path)) for part in parts]
    assert [row["run_id"] for row in rows_of(scanned)] == ["z"]
    assert [(Path(reject.source).name, reject.line) for reject in scanned.rejects] == [
        (name, 0) for name in ("a.json", "b.jsonl", "c.parquet", "d.jsonl.gz", "e.jsonl.zst", "f.arrow")
    ]
    assert {reject.failure.message for reject in scanned.rejects} == {"[ENOENT] No such file or directory"}


def test_a_spool_that_cannot_be_written_is_a_failure_of_the_source(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(lines(run())))
    (part,) = discover([str(path)])
    scanned = run_scan_task(part, DEFAULT_KEYS, str(tmp_path / "gone"))
    (reject,) = scanned.rejects
    assert (reject.source, scanned.rows) == (str(path), None)
    assert reject.failure.detail.startswith(str(tmp_path / "gone" / "spool-"))


def test_copies_do_not_depend_on_the_size_of_parts(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl.gz", gzip.compress(lines(run("a"))))
    two = put(tmp_path / "2.jsonl.gz", gzip.compress(lines(run("b"))))
    together = scan(tmp_path / "together", one, two)
    apart = scan(tmp_path / "apart", one, two, scan_task_bytes=1)
    assert together.rows == apart.rows
    assert (together.tasks, apart.tasks) == (1, 2)
    assert [row.document for row in apart.rows] == [text(run("a")), text(run("b"))]


def test_a_result_has_the_counts_of_skipped_files(tmp_path: Path) -> None:
    for name in ("a.txt", "t/cli/x/manifest.json"):
        put(tmp_path / "in" / name, b"")
    (part,) = discover([str(tmp_path / "in")])
    scanned = run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    assert (scanned.skipped.ignored_files, scanned.skipped.other_manifests, scanned.source_counts) == (
        1,
        0,
        [],
    )
    (inside,) = scanned.remaining
    scanned = run_scan_task(inside, DEFAULT_KEYS, str(tmp_path))
    counts = (
        scanned.skipped.ignored_files,
        scanned.skipped.other_manifests,
        scanned.source_counts,
        scanned.remaining,
    )
    assert counts == (0, 1, [], [])


@given(
    files=st.sets(st.lists(st.sampled_from(["a", "b", "c.json", "-"]), min_size=1, max_size=4).map(tuple)),
    limit=st.integers(1, 6),
    task_files=st.integers(1, 4),
)
@settings(deadline=None)
def test_folders_are_scanned_in_order_however_they_are_unfolded(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, ...]], limit: int, task_files: int
) -> None:
    root = tmp_path_factory.mktemp("folders")
    for number, parts in enumerate(files):
        put(root.joinpath("in", *parts, f"{number}.json"), text(run(f"r{number}")))
    put(root / "in" / "b" / "no run.json", b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "_WALK", limit)
        patch.setattr(scan_tasks, "SCAN_TASK_FILES", task_files)
        found = scan(root / "spool", root / "in", scan_task_bytes=100)
    paths = sorted(root.glob("in/**/*.json"), key=lambda path: path.parts)
    expected = [str(path) for path in paths if path.is_file() and path.name != "no run.json"]
    assert [row.name for row in found.rows] == expected
    assert [reject.source for reject in found.rejects] == [str(root / "in" / "b" / "no run.json")]


"""The module: its package has a function of this name."""

COPIES = ("1.jsonl.gz", "2.jsonl.gz", "3.jsonl.zst", "4.parquet", "5.jsonl", "6.jsonl.gz")


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=6, max_size=6),
    damaged=st.sets(st.sampled_from([0, 1, 5])),
    longest=st.integers(0, 3000),
    size=st.integers(40, 900),
)
def test_long_copies_are_left_as_ranges_and_come_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], damaged: set[int], longest: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("copies")
    for at, count in enumerate(counts):
        texts = [text(run(f"{at}-{number}")) for number in range(count)]
        if at == 1:
            texts.append(b"no run")
        write_copy(folder / "in" / COPIES[at], texts, damaged=at in damaged)
    whole = scan(folder / "whole", folder / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_worker, "LONGEST_COPY", longest)
        patch.setattr(scan_worker, "SCAN_TASK_BYTES", size)
        left = scan(folder / "left", folder / "in")
    assert (left.rows, left.rejects, left.bytes_read) == (whole.rows, whole.rejects, whole.bytes_read)
    damage = [f"{folder}/in/{COPIES[at]}" for at in sorted(damaged)]
    assert [
        reject.source for reject in whole.rejects if reject.failure.type == "SourceUnreadableError"
    ] == damage


def write_copy(path: Path, texts: list[bytes], *, damaged: bool) -> None:
    data = b"\n".join(texts)
    if path.suffix == ".parquet":
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"json": pa.array([text.decode() for text in texts], pa.string())}), path)
    elif path.suffix == ".gz":
        put(path, gzip.compress(data)[:-3] if damaged else gzip.compress(data))
    else:
        put(path, pa.compress(data, "zstd", asbytes=True) if path.suffix == ".zst" else data)


def test_what_follows_a_long_copy_is_left_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_worker, "LONGEST_COPY", 1000)
    monkeypatch.setattr(scan_worker, "SCAN_TASK_BYTES", 600)
    put(tmp_path / "in" / "1.json", text(run("first")))
    put(tmp_path / "in" / "2.jsonl.gz", gzip.compress(lines(*(run(f"r{number}") for number in range(20)))))
    put(tmp_path / "in" / "3.jsonl.gz", gzip.compress(lines(run("after"))))
    put(tmp_path / "in" / "4.json", text(run("last")))
    put(tmp_path / "in" / "note.txt", b"")
    (part,) = discover([str(tmp_path / "in")])
    scanned = run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    assert ([row["run_id"] for row in rows_of(scanned)], scanned.skipped.ignored_files) == (["first"], 1)
    ranges, rest = scanned.remaining[:-2], scanned.remaining[-2:]
    assert [(left.is_range, len(left.sources)) for left in ranges] == [(True, 1)] * len(ranges)
    assert len({source.path for left in ranges for source in left.sources}) == 1
    assert [list(left.sources) for left in rest] == [[source] for source in list(part.sources)[2:]]
    assert pickle.loads(pickle.dumps(scanned)) == scanned
