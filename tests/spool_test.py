from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchpersist.sources.spool import Spool


def test_what_is_added_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    with Spool(str(path)) as spool:
        assert spool.add(b"one\n") == 0
        assert path.read_bytes() == b"one\n"
        assert spool.add(b"two\n") == 4
        assert list(spool.pass_on([b"three", b"\n"])) == [b"three", b"\n"]
        assert spool.size == 14
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    with Spool(str(tmp_path / "gone" / "spool")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_try_begins_anew(tmp_path: Path) -> None:
    for content in (b"a first try that was longer", b"second"):
        with Spool(str(tmp_path / "spool")) as spool:
            spool.add(content)
    assert (tmp_path / "spool").read_bytes() == b"second"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with Spool(str(tmp_path / "spool")) as spool:
        spool.add(b"x")
    assert os.stat(tmp_path / "spool").st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "spool").symlink_to(victim)
    with Spool(str(tmp_path / "spool")) as spool, pytest.raises(OSError, match="symbolic links"):
        spool.add(b"x")
    assert victim.read_bytes() == b"precious"


def test_what_a_full_disk_cuts_short_is_told() -> None:
    with Spool("/dev/full") as spool, pytest.raises(OSError, match="No space left"):
        spool.add(b"x")
