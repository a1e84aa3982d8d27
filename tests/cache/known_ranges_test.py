"""Parts meet the cache: what is known of their pieces is not scanned."""

from __future__ import annotations

import pickle
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from batchpersist.cache.sources import UNKNOWN, CachedSources, SourceRecorder, each_identity
from batchpersist.index.scan import Stretch, _stretches
from batchpersist.models import Failure
from batchpersist.sources import scan_tasks
from batchpersist.sources.scan_tasks import (
    IDENTITY_BYTES,
    NO_IDENTITY,
    Format,
    Part,
    Piece,
    PieceCounts,
    Pieces,
    Reject,
)


def piece(name: str) -> Piece:
    identity = NO_IDENTITY if name == "?" else name.encode() * IDENTITY_BYTES
    return Piece(Format.JSON, f"/in/{name}", name, 0, 100, identity=identity)


def part(names: str, **more: Any) -> Part:
    return Part(7, Pieces.of([piece(name) for name in names]), **more)


def known(names: str) -> CachedSources:
    tables: list[pa.RecordBatch] = []
    recorder = SourceRecorder(tables.append)
    for row, identity in enumerate(each_identity(part(names).pieces.identities)):
        recorder.add(identity, PieceCounts(1, 0, 0, 0, 100), row)
    recorder.flush()
    return CachedSources(pa.Table.from_batches(tables))


def shown(stretches: list[Stretch]) -> list[str | list[int]]:
    """The names of the pieces that are to be scanned, or the numbers of the files that are known."""
    return [
        "".join(piece.name for piece in stretch.part.pieces) if stretch.known is None else list(stretch.known)
        for stretch in stretches
    ]


def find(sources: CachedSources, names: str) -> list[int]:
    return list(sources.find(part(names).pieces))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("abc", [0, 1, 2]),
        ("", []),
        ("bc", [1, 2]),
        ("axc", [0, UNKNOWN, 2]),
        ("cba", [2, 1, 0]),
        ("c?", [2, UNKNOWN]),
        ("cd", [2, UNKNOWN]),
        ("aa", [0, 0]),
    ],
)
def test_files_are_found_by_their_identities_in_any_order(names: str, found: list[int]) -> None:
    assert find(known("abc"), names) == found


def test_what_follows_what_was_found_is_found_too() -> None:
    sources = known("abcdef")
    assert [find(sources, names) for names in ("ab", "cd", "xa", "bc", "f", "")] == [
        *([0, 1], [2, 3], [UNKNOWN, 0], [1, 2], [5], []),
    ]


def test_a_part_is_cut_where_what_is_known_meets_what_is_not() -> None:
    stretches = list(_stretches(part("abxcyz"), known("abc")))
    assert shown(stretches) == [[0, 1], "x", [2], "yz"]


def test_the_first_stretch_has_what_was_found_on_the_way() -> None:
    reject = Reject("r", 0, Failure("E", "m", ""))
    first, *rest = _stretches(part("axb", ignored_files=3, rejects=(reject,)), known("ab"))
    assert (first.part.ignored_files, first.part.rejects) == (3, (reject,))
    assert [(stretch.part.ignored_files, stretch.part.rejects) for stretch in rest] == [(0, ())] * 2


def test_a_part_that_is_known_as_a_whole_or_not_at_all_stays_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part("abc"), part("xyz"), part("")]
    sources = known("abc")
    monkeypatch.setattr(scan_tasks.pickle, "loads", None)
    assert [stretch.part for part in parts for stretch in _stretches(part, sources)] == parts
    assert [stretch.part for part in parts for stretch in _stretches(part, None)] == parts


def test_a_part_is_unpacked_once_however_often_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed, sources, loads = part("axbycz"), known("abc"), Mock(wraps=pickle.loads)
    monkeypatch.setattr(scan_tasks.pickle, "loads", loads)
    assert len(list(_stretches(mixed, sources))) == 6
    loads.assert_called_once()
