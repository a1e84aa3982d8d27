from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from support.scans import lines, put, run, scan

from batchpersist.errors import SourceUnreadableError
from batchpersist.sources.streams import bzip2_blocks, gzip_blocks, xz_blocks, zstd_blocks

Compress = Callable[[bytes], bytes]
Blocks = Callable[[str], Iterator[bytes]]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)  # type: ignore[no-any-return]


FORMATS = pytest.mark.parametrize(
    ("suffix", "compress", "blocks"),
    [
        ("gz", gzip.compress, gzip_blocks),
        ("zst", zstd, zstd_blocks),
        ("xz", lzma.compress, xz_blocks),
        ("bz2", bz2.compress, bzip2_blocks),
    ],
)


def some_lines(count: int) -> bytes:
    """Lines that compress badly, so that a cut anywhere leaves some of them whole."""
    random = Random(1)
    return lines(*(run(f"r{number}", note=random.randbytes(400).hex()) for number in range(count)))


@FORMATS
def test_all_members_are_read(tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks) -> None:
    members = [some_lines(5), b"", some_lines(1000), lines(run("last"))]
    path = put(tmp_path / f"a.jsonl.{suffix}", b"".join(map(compress, members)))
    assert b"".join(blocks(str(path))) == b"".join(members)
    found = scan(tmp_path / "spool", path)
    assert [row.document for row in found.rows] == b"".join(members).splitlines()
    assert [row.line for row in found.rows] == list(range(1, 1007))
    assert {row.name for row in found.rows} == {str(path)}
    assert found.bytes_read == path.stat().st_size


@FORMATS
def test_a_member_may_end_within_a_line(
    tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks
) -> None:
    data = some_lines(3)
    path = put(tmp_path / f"a.ndjson.{suffix}", compress(data[:500]) + compress(data[500:]))
    assert scan(tmp_path / "spool", path).run_ids == ["r0", "r1", "r2"]


@FORMATS
def test_a_cut_anywhere_is_one_reject_after_the_runs_before_it(
    tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks
) -> None:
    first, second = some_lines(7), some_lines(400)
    intact = compress(first)
    whole = intact + compress(second)
    step = len(whole) // 40
    for cut in {
        0,
        1,
        5,
        len(whole) - 1,
        len(intact) - 1,
        len(intact) + 1,
        len(intact) + 9,
        *range(2, len(whole), step),
    }:
        path = put(tmp_path / f"a.jsonl.{suffix}", whole[:cut])
        found = scan(tmp_path / "spool", path)
        (reject,) = found.rejects
        assert (reject.source, reject.line) == (str(path), len(found.rows))
        assert reject.failure.type == "SourceUnreadableError"
        assert [row.document for row in found.rows] == (first + second).splitlines()[: len(found.rows)]
        if cut >= len(intact):
            assert len(found.rows) >= 7


def test_gzip_gives_all_that_can_be_decompressed(tmp_path: Path) -> None:
    data = some_lines(400)
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(data)[:-8])  # without the checksum
    assert len(scan(tmp_path / "spool", path).rows) == 400


@FORMATS
def test_damage_inside_is_one_reject(tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks) -> None:
    first, second = compress(some_lines(3)), bytearray(compress(some_lines(100)))
    second[:4] = b"junk"
    path = put(tmp_path / f"a.jsonl.{suffix}", first + second)
    found = scan(tmp_path / "spool", path)
    assert (len(found.rows), len(found.rejects)) == (3, 1)
    assert found.rejects[0].failure.message == "the compressed file is damaged"


def test_a_wrong_checksum_is_reported(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(some_lines(3)))
    data[-5] ^= 1
    found = scan(tmp_path / "spool", put(tmp_path / "a.jsonl.gz", data))
    assert (len(found.rows), len(found.rejects)) == (3, 1)


@FORMATS
def test_uncompressed_data_is_reported(
    tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks
) -> None:
    path = put(tmp_path / f"a.jsonl.{suffix}", some_lines(3))
    with pytest.raises(SourceUnreadableError):
        list(blocks(str(path)))


@FORMATS
def test_nothing_compressed_is_nothing(
    tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks
) -> None:
    path = put(tmp_path / f"a.jsonl.{suffix}", compress(b""))
    found = scan(tmp_path / "spool", path)
    assert (found.rows, found.rejects) == ([], [])


@FORMATS
def test_a_missing_file_is_an_error(tmp_path: Path, suffix: str, compress: Compress, blocks: Blocks) -> None:
    with pytest.raises(FileNotFoundError):
        list(blocks(str(tmp_path / f"gone.{suffix}")))


def test_standard_input_is_read_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lines(run("a")) + b"\nx\n" + lines(run("b"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    before = put(tmp_path / "first.jsonl", lines(run("first")))
    found = scan(tmp_path / "spool", before, "-")
    assert [(row.name, row.line, row.run_id) for row in found.rows[1:]] == [
        ("<stdin>", 1, "a"),
        ("<stdin>", 4, "b"),
    ]
    assert [(reject.source, reject.line) for reject in found.rejects] == [("<stdin>", 3)]
    assert found.bytes_read == before.stat().st_size + len(data)
