"""Copies of sources that cannot be read by position: made once for all who ask, and whole or not at all."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from scans import lines, put, run

from batchpersist.errors import SourceUnreadableError
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources import Format, SourceFile, copying, ensure_copy, place

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
    return ensure_copy(file, DEFAULT_KEYS, spool, lambda: None)


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
    blocks = copying._blocks

    def slow_blocks(*source: Any) -> Iterator[bytes]:
        begun.set()
        while not signs:
            time.sleep(0.01)
        yield from blocks(*source)

    monkeypatch.setattr(copying, "_blocks", slow_blocks)
    monkeypatch.setattr(copying, "_WAIT_SECONDS", 0.05)
    first = threading.Thread(target=ensure, args=(file, spool))
    first.start()
    begun.wait()
    path = ensure_copy(file, DEFAULT_KEYS, spool, lambda: signs.append("alive"))
    first.join()
    assert signs
    assert Path(path).read_bytes() == TEXT


def test_who_makes_a_copy_shows_signs_of_life(file: SourceFile, spool: str) -> None:
    signs: list[str] = []
    ensure_copy(file, DEFAULT_KEYS, spool, lambda: signs.append("alive"))
    assert signs


def test_what_cannot_be_copied_to_its_end_leaves_no_copy(file: SourceFile, spool: str) -> None:
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[:-9])
    with pytest.raises(SourceUnreadableError, match="damaged or cut short"):
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
