from __future__ import annotations

import gzip
import pickle
from pathlib import Path

from scans import lines, put, run, scan, text

from batchpersist.models import DEFAULT_KEYS, Keys
from batchpersist.scan import scan_part
from batchpersist.sources import discover


def test_columns_say_where_each_run_is(tmp_path: Path) -> None:
    data = lines(run("a"), {**run("b"), "taskId": "other"})
    path = put(tmp_path / "in" / "a.jsonl", data)
    other = put(tmp_path / "in" / "b.json", text(run("c")))
    (part,) = discover([str(tmp_path / "in")])
    scanned = scan_part(part, DEFAULT_KEYS, str(tmp_path))
    assert scanned.task_ids == ["t", "other", "t"]
    assert scanned.run_ids == ["a", "b", "c"]
    assert scanned.timestamps == ["2025-01-01T00:00:00.000Z"] * 3
    assert scanned.paths == scanned.names == [str(path), str(other)]
    assert list(scanned.files) == [0, 0, 1]
    assert list(scanned.lines) == [1, 2, 1]
    assert list(scanned.offsets) == [0, data.index(b"\n") + 1, 0]
    assert list(scanned.lengths) == [len(text(run("a"))), len(data.splitlines()[1]), len(text(run("c")))]
    assert scanned.bytes_read == len(data) + other.stat().st_size


def test_a_scanned_part_travels_between_processes(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.jsonl",
        lines(*(run(f"r{number}", taskId="one task") for number in range(1000))) + b"x\n",
    )
    (part,) = discover([str(path)])
    scanned = scan_part(part, DEFAULT_KEYS, str(tmp_path))
    sent = pickle.dumps(scanned)
    assert pickle.loads(sent) == scanned
    assert len({id(task_id) for task_id in scanned.task_ids}) == 1


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
    (scanned,) = [scan_part(part, DEFAULT_KEYS, str(tmp_path)) for part in parts]
    assert scanned.run_ids == ["z"]
    assert [(Path(reject.source).name, reject.line) for reject in scanned.rejects] == [
        (name, 0) for name in ("a.json", "b.jsonl", "c.parquet", "d.jsonl.gz", "e.jsonl.zst", "f.arrow")
    ]
    assert {reject.failure.message for reject in scanned.rejects} == {"[ENOENT] No such file or directory"}


def test_a_spool_that_cannot_be_written_is_told_of_its_source(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(lines(run())))
    (part,) = discover([str(path)])
    scanned = scan_part(part, DEFAULT_KEYS, str(tmp_path / "gone"))
    (reject,) = scanned.rejects
    assert (reject.source, scanned.run_ids) == (str(path), [])
    assert reject.failure.detail == str(tmp_path / "gone" / "spool-000000")


def test_parts_spool_into_files_of_their_own(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl.gz", gzip.compress(lines(run("a"))))
    two = put(tmp_path / "2.jsonl.gz", gzip.compress(lines(run("b"))))
    together = scan(tmp_path / "together", one, two)
    apart = scan(tmp_path / "apart", one, two, part_bytes=1)
    assert together.rows == apart.rows
    assert (together.parts, apart.parts) == (1, 2)
    assert [row.document for row in apart.rows] == [text(run("a")), text(run("b"))]


def test_counts_of_what_was_passed_over_come_with_the_part(tmp_path: Path) -> None:
    for name in ("a.txt", "t/cli/x/manifest.json"):
        put(tmp_path / "in" / name, b"")
    (part,) = discover([str(tmp_path / "in")])
    scanned = scan_part(part, DEFAULT_KEYS, str(tmp_path))
    assert (scanned.ignored_files, scanned.other_manifests, scanned.paths) == (1, 1, [])
