"""Copies of sources that cannot be read by position: made once for all who ask, and whole or not at all."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.engine import file_columns
from support.scans import lines, put, run

from batchpersist.errors import SourceUnreadableError
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources.discovery import discover
from batchpersist.sources.formats import Format
from batchpersist.sources.source import IDENTITY_BYTES, SourceFile
from batchpersist.sources.source_reader import SourceReader, Spool
from batchpersist.workers.retries import missing_copies

TEXT = lines(*(run(f"r{number}") for number in range(2000)))


@pytest.fixture
def file(tmp_path: Path) -> SourceFile:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(TEXT))
    return SourceFile(str(path), "a.jsonl.gz", Format.GZIP_LINES)


@pytest.fixture
def spool(tmp_path: Path) -> str:
    (tmp_path / "spool").mkdir()
    return str(tmp_path / "spool")


def ensure(file: SourceFile, spool: str) -> str:
    SourceReader(DEFAULT_KEYS, spool).ensure_copy(file)
    return file.data_path(spool)


def test_a_copy_is_made_in_its_place(file: SourceFile, spool: str) -> None:
    assert ensure(file, spool) == file.data_path(spool)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_sources_of_other_paths_have_other_copies(file: SourceFile, spool: str) -> None:
    other = file._replace(path=file.path + "x")
    assert other.data_path(spool) != file.data_path(spool)
    assert SourceFile("/a.jsonl", "a.jsonl", Format.LINES).data_path(spool) == "/a.jsonl"


def test_one_copy_is_made_for_all_processes_that_ask_at_once(file: SourceFile, spool: str) -> None:
    with get_context("spawn").Pool(3) as pool:
        copies = pool.starmap(ensure_and_stat, [(file, spool)] * 6)
    assert len(set(copies)) == 1, "no copy was replaced"


def ensure_and_stat(file: SourceFile, spool: str) -> tuple[str, int]:
    path = ensure(file, spool)
    return path, os.stat(path).st_ino


class Signs:
    """A checkpoint that counts its checks."""

    def __init__(self) -> None:
        self.count = 0

    def check(self) -> None:
        self.count += 1


def test_waiting_for_a_copy_checks_again_and_again(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, signs = threading.Event(), Signs()
    blocks = SourceReader._blocks

    def slow_blocks(reader: SourceReader, file: SourceFile) -> Iterator[bytes]:
        begun.set()
        while not signs.count:
            time.sleep(0.01)
        yield from blocks(reader, file)

    monkeypatch.setattr(SourceReader, "_blocks", slow_blocks)
    first = threading.Thread(target=ensure, args=(file, spool))
    first.start()
    begun.wait()
    SourceReader(DEFAULT_KEYS, spool, signs).ensure_copy(file)
    first.join()
    assert signs.count
    assert Path(file.data_path(spool)).read_bytes() == TEXT


def test_making_a_copy_checks_again_and_again(file: SourceFile, spool: str) -> None:
    signs = Signs()
    SourceReader(DEFAULT_KEYS, spool, signs).ensure_copy(file)
    assert signs.count


def test_a_file_that_cannot_be_copied_to_its_end_leaves_no_copy(file: SourceFile, spool: str) -> None:
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[:-9])
    with pytest.raises(SourceUnreadableError, match="cut short"):
        ensure(file, spool)
    assert [name for name in os.listdir(spool) if not name.endswith(".lock")] == []
    Path(file.path).write_bytes(whole)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_a_full_spool_is_an_error_that_may_pass(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("batchpersist.sources.source_reader.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            ensure(file, spool)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_a_copy_is_retried_after_one_death_and_not_after_two(file: SourceFile, spool: str) -> None:
    for _ in range(2):
        maker = get_context("fork").Process(target=die_of, args=(file, spool))
        maker.start()
        maker.join()
        assert maker.exitcode == 9
    with pytest.raises(SourceUnreadableError, match="workers died as they copied the source"):
        ensure(file, spool)


def die_of(file: SourceFile, spool: str) -> None:
    def blocks(*_: Any) -> Iterator[bytes]:
        yield TEXT[:100]
        os._exit(9)

    SourceReader._blocks = blocks  # type: ignore[method-assign]  # in a process of its own
    ensure(file, spool)


def test_deaths_before_a_copy_was_made_do_not_count(file: SourceFile, spool: str) -> None:
    for _ in range(3):
        maker = get_context("fork").Process(target=die_of, args=(file, spool))
        maker.start()
        maker.join()
        os.unlink(ensure(file, spool))


def test_nothing_is_copied_after_the_batch_has_ended(file: SourceFile, spool: str) -> None:
    os.rmdir(spool)
    with pytest.raises(FileNotFoundError):
        ensure(file, spool)
    assert not os.path.exists(spool)


def test_a_copy_ends_when_the_batch_ends_meanwhile(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def blocks(*_: Any) -> Iterator[bytes]:
        for block in (TEXT[:100], TEXT[100:200], TEXT[200:]):
            if len(taken) == 1:
                shutil.rmtree(spool)
            taken.append(block)
            yield block

    monkeypatch.setattr(SourceReader, "_blocks", blocks)
    with pytest.raises(FileNotFoundError):
        ensure(file, spool)
    assert len(taken) == 2
    assert not os.path.exists(spool)


def test_an_earlier_copy_is_never_replaced(file: SourceFile, spool: str) -> None:
    """There are rows that point into it; a source that is named twice may have changed in between."""
    (source,) = next(discover([file.path])).sources
    source = source._replace(identity=b"known".ljust(IDENTITY_BYTES, b"!"))
    reader = SourceReader(DEFAULT_KEYS, spool)
    first = reader.stage(source).source
    other = os.urandom(5000).hex().encode() + b"\n"  # longer: it may have grown
    Path(file.path).write_bytes(gzip.compress(other))
    second, failure, _ = reader.stage(source)
    assert (first.path, first.format) == (file.path, Format.GZIP_LINES)
    assert (second.format, failure) == (Format.COPIED_LINES, None)
    assert Path(file.data_path(spool)).read_bytes() == TEXT
    assert Path(second.path).read_bytes() == other


def test_missing_copies_count_their_bytes(file: SourceFile, spool: str) -> None:
    plain = SourceFile("/in/b.jsonl", "b.jsonl", Format.LINES)
    columns = file_columns(file, plain, file)
    rows = pa.table({**columns, "offset": [0, 0, 500], "length": [100, 100, 70]})
    assert missing_copies(rows, spool, [0, 1, 2]) == 570
    assert missing_copies(rows, spool, [0, 1]) == 100
    assert missing_copies(rows, spool, [1]) == 0
    ensure(file, spool)
    assert missing_copies(rows, spool, [0, 1, 2]) == 0


def test_added_bytes_are_in_the_file_at_once(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as spool:
        spool.add(b"one\n")
        spool.add(b"")
        spool.add(b"two\n")
        assert Path(spool.path).read_bytes() == b"one\ntwo\n"
        assert spool.size == 8


def test_each_spool_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as one, Spool(str(tmp_path)) as two:
        assert {Path(one.path), Path(two.path)} == set(tmp_path.iterdir())
        assert one.path != two.path


def test_only_its_owner_can_read_a_spool_file(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as spool:
        assert os.stat(spool.path).st_mode & 0o777 == 0o600


def test_a_link_in_place_of_it_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _size: "known")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "spool-known").symlink_to(victim)
    with pytest.raises(FileExistsError):
        Spool(str(tmp_path))
    assert victim.read_bytes() == b"precious"


def test_a_full_disk_is_an_error_of_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    monkeypatch.setattr(os, "open", lambda _path, flags, mode: real("/dev/full", flags & ~os.O_EXCL, mode))
    spool = Spool(str(tmp_path))
    monkeypatch.undo()
    with spool, pytest.raises(OSError, match="No space left"):
        spool.add(b"x")
    assert spool.size == 0
