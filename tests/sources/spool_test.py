from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchpersist.sources.spool import Spool


def test_what_is_added_is_in_the_file_at_once(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as spool:
        spool.add(b"one\n")
        spool.add(b"")
        spool.add(b"two\n")
        assert Path(spool.path).read_bytes() == b"one\ntwo\n"
        assert spool.size == 8


def test_each_has_a_file_of_its_own_in_the_folder(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as one, Spool(str(tmp_path)) as two:
        assert {Path(one.path), Path(two.path)} == set(tmp_path.iterdir())
        assert one.path != two.path


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as spool:
        assert os.stat(spool.path).st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _size: "known")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "spool-known").symlink_to(victim)
    with pytest.raises(FileExistsError):
        Spool(str(tmp_path))
    assert victim.read_bytes() == b"precious"


def test_what_a_full_disk_cuts_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    monkeypatch.setattr(os, "open", lambda _path, flags, mode: real("/dev/full", flags & ~os.O_EXCL, mode))
    spool = Spool(str(tmp_path))
    monkeypatch.undo()
    with spool, pytest.raises(OSError, match="No space left"):
        spool.add(b"x")
    assert spool.size == 0
