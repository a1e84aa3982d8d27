"""Sources that hold something else than their name says: the true cause is named, once, with what helps."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scans import lines, put, run, scan, text

from batchpersist.sources import streams

RUNS = [run(f"r{number}") for number in range(50)]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)  # type: ignore[no-any-return]


def parquet(_data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(RUNS), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.jsonl", data)
    return sink.getvalue()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip data": gzip.compress,
    "Zstandard data": zstd,
    "xz data": lzma.compress,
    "bzip2 data": bz2.compress,
    "a Parquet table": parquet,
    "a ZIP archive": zipped,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
}
UTF16 = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.1", "a.json"])
def test_other_data_under_the_name_of_text_is_named_once(tmp_path: Path, kind: str, name: str) -> None:
    path = put(tmp_path / name, FORMS[kind](lines(*RUNS)))
    found = scan(tmp_path / "spool", path, scan_task_bytes=100)  # of all ranges the first one speaks
    (reject,) = found.rejects
    assert (found.rows, reject.line) == ([], 0)
    assert reject.failure.message.startswith(f"{kind} where plain text was expected; ")


@pytest.mark.parametrize("encoding", UTF16)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_wide_encodings_are_recognised_with_a_mark_and_without(
    tmp_path: Path, encoding: str, name: str
) -> None:
    data = text(RUNS[0]).decode().encode(encoding)
    path = put(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    (reject,) = scan(tmp_path / "spool", path).rejects
    assert reject.failure.message.startswith("UTF-16 where plain text was expected; convert it: iconv")


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [("gz", "gzip data"), ("zst", "Zstandard data"), ("xz", "xz data"), ("bz2", "bzip2 data")],
)
@pytest.mark.parametrize("kind", [*FORMS, "plain text"])
def test_other_data_under_the_name_of_a_compression_is_named(
    tmp_path: Path, suffix: str, expected: str, kind: str
) -> None:
    data = FORMS.get(kind, bytes)(lines(*RUNS))
    found = scan(tmp_path / "spool", put(tmp_path / f"a.jsonl.{suffix}", data))
    if kind == expected:
        assert (len(found.rows), found.rejects) == (50, [])
        return
    (reject,) = found.rejects
    assert reject.failure.message.startswith(f"{kind} where {expected} was expected; ")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_text_under_the_name_of_a_table_is_named(tmp_path: Path, suffix: str) -> None:
    (reject,) = scan(tmp_path / "spool", put(tmp_path / f"a.{suffix}", lines(*RUNS))).rejects
    assert reject.failure.message.startswith("plain text where ")


def test_an_encrypted_table_is_named(tmp_path: Path) -> None:
    (reject,) = scan(tmp_path / "spool", put(tmp_path / "a.parquet", b"PARE" + bytes(50) + b"PARE")).rejects
    assert reject.failure.message.startswith("an encrypted Parquet table where a Parquet table was expected")


@pytest.mark.parametrize("kind", ["gzip data", "UTF-16"])
def test_standard_input_that_is_no_text_is_named(tmp_path: Path, kind: str) -> None:
    words = [sys.executable, "-m", "batchpersist", "run", "-"]
    found = subprocess.run(
        words, input=FORMS[kind](lines(*RUNS)), capture_output=True, cwd=tmp_path, check=False
    )
    assert found.returncode == 3
    assert f"1 x input: {kind} where plain text was expected" in found.stdout.decode()


def test_zstandard_with_a_long_window_says_what_to_do(tmp_path: Path, tool: Callable[[str], str]) -> None:
    plain = put(tmp_path / "plain", lines(*RUNS))
    with plain.open("ab") as file:
        file.truncate(300 << 20)
    path = tmp_path / "a.jsonl.zst"
    subprocess.run([tool("zstd"), "-q", "--long=31", plain, "-o", path], check=True)
    (reject,) = scan(tmp_path / "spool", path).rejects
    assert reject.failure.message == (
        "compressed with a too long window; pipe it: zstd -dc --long=31 FILE | batchpersist run -"
    )
    assert reject.failure.detail.endswith(" MiB")


def test_zstandard_with_a_dictionary_says_what_to_do(tmp_path: Path, tool: Callable[[str], str]) -> None:
    samples = [put(tmp_path / f"s{number}", lines(*RUNS[number:])) for number in range(20)]
    train = [tool("zstd"), "-q", "--train", *samples, "--maxdict=600", "--dictID=77", "-o", tmp_path / "dict"]
    subprocess.run(train, check=True, capture_output=True)
    path = tmp_path / "a.jsonl.zst"
    subprocess.run([tool("zstd"), "-q", "-D", tmp_path / "dict", samples[0], "-o", path], check=True)
    second = put(tmp_path / "b.jsonl.zst", zstd(lines(run("first"))) + path.read_bytes())
    for source, rows in ((path, 0), (second, 1)):
        found = scan(tmp_path / "spool", source)
        (reject,) = found.rejects
        assert len(found.rows) == rows
        assert reject.failure.message == (
            "compressed with a dictionary; pipe it: zstd -dc -D DICTIONARY FILE | batchpersist run -"
        )
        assert reject.failure.detail == "dictionary 77"


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(0, 50), st.booleans())
def test_the_frames_of_a_file_are_walked_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], missing: int, skippable: bool
) -> None:
    data = b"".join(map(zstd, texts))
    if skippable:
        data = b"\x53\x2a\x4d\x18\x03\0\0\0abc" + data
    path = put(tmp_path_factory.mktemp("frames") / "a.zst", data[: len(data) - missing] if missing else data)
    with open(path, "rb") as file:
        found = streams.read_zstd_frames(file)
        if not missing:
            assert [frame.dictionary for frame in found] == [0] * len(texts)
        elif 0 < missing < 9 and texts:  # within the last frame, which has no fewer bytes
            with pytest.raises(EOFError):
                list(found)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("zst", zstd), ("xz", lzma.compress), ("bz2", bz2.compress)],
)
def test_a_cut_file_is_called_cut_short_and_a_broken_one_damaged(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    whole = compress(lines(*RUNS))
    (cut,) = scan(tmp_path / "spool", put(tmp_path / f"a.jsonl.{suffix}", whole[:-4])).rejects
    broken = whole[:20] + bytes(byte ^ 0xFF for byte in whole[20:40]) + whole[40:]
    (damaged,) = scan(tmp_path / "spool", put(tmp_path / f"b.jsonl.{suffix}", broken)).rejects
    assert cut.failure.message == "the compressed file is cut short"
    assert damaged.failure.message in ("the compressed file is damaged", "the compressed file is cut short")
