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
from batchpersist.sources import staging
from batchpersist.sources.discovery import discover
from batchpersist.sources.location import SourceFile
from batchpersist.sources.scan_tasks import IDENTITY_BYTES, Format
from batchpersist.sources.staging import copy_lines, ensure_copy, place
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
    ensure_copy(file, DEFAULT_KEYS, spool, lambda: None)
    return place(file.path, file.format, spool)


def test_a_copy_is_made_where_it_is_looked_for(file: SourceFile, spool: str) -> None:
    assert ensure(file, spool) == place(file.path, file.format, spool)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_sources_of_other_paths_have_other_copies(file: SourceFile, spool: str) -> None:
    assert place(file.path + "x", file.format, spool) != place(file.path, file.format, spool)
    assert place("/a.jsonl", Format.LINES, spool) == "/a.jsonl"


def test_one_copy_is_made_for_all_processes_that_ask_at_once(file: SourceFile, spool: str) -> None:
    with get_context("spawn").Pool(3) as pool:
        copies = pool.starmap(ensure_and_look, [(file, spool)] * 6)
    assert len(set(copies)) == 1, "nobody's copy was replaced"


def ensure_and_look(file: SourceFile, spool: str) -> tuple[str, int]:
    path = ensure(file, spool)
    return path, os.stat(path).st_ino


def test_who_waits_for_another_s_copy_shows_signs_of_life(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, signs = threading.Event(), []
    blocks = staging._blocks

    def slow_blocks(*source: Any) -> Iterator[bytes]:
        begun.set()
        while not signs:
            time.sleep(0.01)
        yield from blocks(*source)

    monkeypatch.setattr(staging, "_blocks", slow_blocks)
    first = threading.Thread(target=ensure, args=(file, spool))
    first.start()
    begun.wait()
    ensure_copy(file, DEFAULT_KEYS, spool, lambda: signs.append("alive"))
    first.join()
    assert signs
    assert Path(place(file.path, file.format, spool)).read_bytes() == TEXT


def test_who_makes_a_copy_shows_signs_of_life(file: SourceFile, spool: str) -> None:
    signs: list[str] = []
    ensure_copy(file, DEFAULT_KEYS, spool, lambda: signs.append("alive"))
    assert signs


def test_what_cannot_be_copied_to_its_end_leaves_no_copy(file: SourceFile, spool: str) -> None:
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[:-9])
    with pytest.raises(SourceUnreadableError, match="cut short"):
        ensure(file, spool)
    assert [name for name in os.listdir(spool) if not name.endswith(".lock")] == []
    Path(file.path).write_bytes(whole)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_a_spool_that_is_full_is_an_error_that_may_pass(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("batchpersist.sources.spool.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            ensure(file, spool)
    assert Path(ensure(file, spool)).read_bytes() == TEXT


def test_whoever_dies_of_a_copy_leaves_it_to_another_one_but_not_for_ever(
    file: SourceFile, spool: str
) -> None:
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

    staging._blocks = blocks  # type: ignore[assignment]  # in a process of its own
    ensure(file, spool)


def test_one_death_is_forgotten_when_the_copy_was_made(file: SourceFile, spool: str) -> None:
    for _ in range(3):
        maker = get_context("fork").Process(target=die_of, args=(file, spool))
        maker.start()
        maker.join()
        os.unlink(ensure(file, spool))


def test_where_the_batch_has_ended_nothing_is_copied(file: SourceFile, spool: str) -> None:
    os.rmdir(spool)
    with pytest.raises(FileNotFoundError):
        ensure(file, spool)
    assert not os.path.exists(spool)


def test_a_copy_is_given_up_when_the_batch_ends_meanwhile(
    file: SourceFile, spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def blocks(*_: Any) -> Iterator[bytes]:
        for block in (TEXT[:100], TEXT[100:200], TEXT[200:]):
            if len(taken) == 1:
                shutil.rmtree(spool)
            taken.append(block)
            yield block

    monkeypatch.setattr(staging, "_blocks", blocks)
    with pytest.raises(FileNotFoundError):
        ensure(file, spool)
    assert len(taken) == 2
    assert not os.path.exists(spool)


def test_an_earlier_copy_is_never_replaced(file: SourceFile, spool: str) -> None:
    """There are rows that point into it; a source that is named twice may have changed in between."""
    (piece,) = next(discover([file.path])).pieces
    piece = piece._replace(identity=b"known".ljust(IDENTITY_BYTES, b"!"))
    first, _ = copy_lines(piece, DEFAULT_KEYS, spool)
    other = os.urandom(5000).hex().encode() + b"\n"  # longer: it may have grown
    Path(file.path).write_bytes(gzip.compress(other))
    second, failure = copy_lines(piece, DEFAULT_KEYS, spool)
    assert (first.path, first.format) == (file.path, Format.GZIP_LINES)
    assert (second.format, failure) == (Format.COPIED_LINES, None)
    assert Path(place(file.path, file.format, spool)).read_bytes() == TEXT
    assert Path(second.path).read_bytes() == other


def test_room_is_wanted_for_copies_that_are_not_there(file: SourceFile, spool: str) -> None:
    plain = SourceFile("/in/b.jsonl", "b.jsonl", Format.LINES)
    columns = file_columns(file, plain, file)
    rows = pa.table({**columns, "offset": [0, 0, 500], "length": [100, 100, 70]})
    assert missing_copies(rows, spool, [0, 1, 2]) == 570
    assert missing_copies(rows, spool, [0, 1]) == 100
    assert missing_copies(rows, spool, [1]) == 0
    ensure(file, spool)
    assert missing_copies(rows, spool, [0, 1, 2]) == 0
