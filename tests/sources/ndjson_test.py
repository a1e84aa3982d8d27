from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scans import lines, put, run, scan, text

from batchpersist.sources import documents
from batchpersist.sources.documents import line_documents
from batchpersist.storage import file_reader

LINE = st.one_of(
    st.integers(0, 9).map(lambda number: text(run(f"r{number}"))),
    st.integers(0, 9).map(lambda number: b'  {"runId": %d}\t\r' % number),
    st.sampled_from([b"", b" ", b"\r", b"x", b'"' + b"y" * 300 + b'"']),
)
TEXT = st.builds(
    lambda all, end: b"\n".join(all) + end, st.lists(LINE, max_size=8), st.sampled_from([b"", b"\n"])
)


def obvious(data: bytes) -> list[tuple[int, int, bytes]]:
    """Every line: its number, and where its text is."""
    found, offset = [], 0
    for number, line in enumerate(data.split(b"\n"), 1):
        bare = line.strip(b" \t\r")
        found.append((number, offset + line.find(bare), bare))
        offset += len(line) + 1
    return found


def filled(found: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    return [document for document in found if document[2]]


@given(data=TEXT, scan_task_bytes=st.integers(1, 400), block=st.integers(1, 50))
def test_ranges_share_out_the_lines_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, scan_task_bytes: int, block: int
) -> None:
    path = put(tmp_path_factory.mktemp("ranges") / "a.jsonl", data)
    found, before = [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_reader, "BLOCK", block)
        patch.setattr(documents, "BLOCK", block)
        for start in range(0, len(data), scan_task_bytes):
            line = 0
            for line, offset, document in line_documents(
                str(path), start, min(start + scan_task_bytes, len(data))
            ):
                found.append((before + line, offset, document))
            before += line
    assert filled(found) == filled(obvious(data))
    assert before == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


@given(data=TEXT, scan_task_bytes=st.integers(1, 400))
def test_a_scan_does_not_depend_on_the_size_of_parts(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, scan_task_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    path = put(folder / "a.jsonl", data)
    whole = scan(folder / "spool", path, scan_task_bytes=len(data) + 1)
    cut = scan(folder / "spool", path, scan_task_bytes=scan_task_bytes)
    assert (cut.rows, cut.rejects, cut.bytes_read) == (whole.rows, whole.rejects, len(data))
    expected = [(line, bare) for line, _, bare in filled(obvious(data)) if b"taskId" in bare]
    assert [(row.line, row.document) for row in whole.rows] == expected


@pytest.mark.parametrize("scan_task_bytes", range(1, 60))
def test_every_cut_of_a_short_file(tmp_path: Path, scan_task_bytes: int) -> None:
    short = b'{"taskId":"t","runId":"%d","timestamp":""}'
    path = put(tmp_path / "a.jsonl", b"\n\n".join(short % number for number in range(5)) + b"\r\nx\n")
    found = scan(tmp_path / "spool", path, scan_task_bytes=scan_task_bytes)
    assert [(row.line, row.run_id) for row in found.rows] == [
        (1, "0"),
        (3, "1"),
        (5, "2"),
        (7, "3"),
        (9, "4"),
    ]
    assert [reject.line for reject in found.rejects] == [10]


def test_a_line_may_be_far_longer_than_ranges_and_blocks(tmp_path: Path) -> None:
    long = run("long", note="x" * (3 * file_reader.BLOCK))
    path = put(tmp_path / "a.jsonl", lines(run("a"), long, run("b")))
    found = scan(tmp_path / "spool", path, scan_task_bytes=100_000)
    assert [(row.line, row.document) for row in found.rows] == [
        (1, text(run("a"))),
        (2, text(long)),
        (3, text(run("b"))),
    ]


def test_a_range_is_not_read_far_beyond_its_end(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines(run("a"), run("b")) + b"x" * (4 * file_reader.BLOCK))
    read = documents.read_blocks

    def counted(*args: Any) -> object:
        for block in read(*args):
            seen.append(len(block))
            yield block

    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "read_blocks", counted)
        assert len(list(line_documents(str(path), 0, 10))) == 1
    assert sum(seen) <= file_reader.BLOCK


def test_lines_that_are_written_meanwhile_are_the_next_batchs(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines(run("a")) + text(run("b"))[:9])
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(text(run("b"))[9:] + b"\n" + lines(run("c")))
    assert [document for _, _, document in line_documents(str(path), 0, size)] == [
        text(run("a")),
        text(run("b")),
    ]


@pytest.mark.parametrize("scan_task_bytes", [1, 2, 3, 4, 1000])
def test_a_byte_order_mark_at_the_start_is_skipped(tmp_path: Path, scan_task_bytes: int) -> None:
    mark = b"\xef\xbb\xbf"
    data = mark + b" " + text(run("a")) + b"\n" + mark + text(run("b")) + b"\n"
    path = str(put(tmp_path / "a.jsonl", data))
    found = [
        (offset, document)
        for start in range(0, len(data), scan_task_bytes)
        for _, offset, document in line_documents(path, start, min(start + scan_task_bytes, len(data)))
    ]
    assert filled([(0, *each) for each in found]) == [
        (0, 4, text(run("a"))),
        (0, 5 + len(text(run("a"))), mark + text(run("b"))),
    ]
    scanned = scan(tmp_path / "spool", tmp_path / "a.jsonl")
    assert [row.document for row in scanned.rows] == [text(run("a"))]
    assert [reject.failure.message for reject in scanned.rejects] == ["begins with a byte order mark"]


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n"])
def test_a_file_of_nothing_but_a_byte_order_mark_holds_nothing(tmp_path: Path, rest: bytes) -> None:
    scanned = scan(tmp_path / "spool", put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + rest))
    assert (scanned.rows, scanned.rejects) == ([], [])


def test_the_text_of_a_stream_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + text(run("a")) + b"\n"))
    assert scan(tmp_path / "spool", path).run_ids == ["a"]
