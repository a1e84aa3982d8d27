"""Scan tasks meet the cache: sources that it knows are not scanned."""

from __future__ import annotations

import pickle
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from batchpersist.cache.sources import UNKNOWN, CachedSources, SourceRecorder, each_identity
from batchpersist.index.scan import Stretch, _cut_stretches
from batchpersist.models import Failure, Reject, SkippedCounts, SourceCounts
from batchpersist.sources import source as source_module
from batchpersist.sources.formats import Format
from batchpersist.sources.scan_tasks import ScanTask
from batchpersist.sources.source import IDENTITY_BYTES, NO_IDENTITY, PackedSources, Source


def make_source(name: str) -> Source:
    identity = NO_IDENTITY if name == "?" else name.encode() * IDENTITY_BYTES
    return Source(Format.JSON, f"/in/{name}", name, 0, 100, identity=identity)


def make_task(names: str, **more: Any) -> ScanTask:
    return ScanTask(7, PackedSources.of([make_source(name) for name in names]), **more)


def known(names: str) -> CachedSources:
    tables: list[pa.RecordBatch] = []
    recorder = SourceRecorder(tables.append)
    for row, identity in enumerate(each_identity(make_task(names).sources.identities)):
        recorder.add(identity, SourceCounts(1, 0, 0, 0, 100), row)
    recorder.flush()
    return CachedSources(pa.Table.from_batches(tables))


def shown(stretches: list[Stretch]) -> list[str | list[int]]:
    """The names of the sources that are to be scanned, or the numbers of the files that are known."""
    return [
        "".join(source.name for source in stretch.scan_task.sources)
        if stretch.known is None
        else list(stretch.known)
        for stretch in stretches
    ]


def find(sources: CachedSources, names: str) -> list[int]:
    return list(sources.find(make_task(names).sources))


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


def test_files_are_found_in_the_order_of_the_cache() -> None:
    sources = known("abcdef")
    assert [find(sources, names) for names in ("ab", "cd", "xa", "bc", "f", "")] == [
        *([0, 1], [2, 3], [UNKNOWN, 0], [1, 2], [5], []),
    ]


def test_a_scan_task_is_cut_between_known_and_unknown_sources() -> None:
    stretches = list(_cut_stretches(make_task("abxcyz"), known("abc")))
    assert shown(stretches) == [[0, 1], "x", [2], "yz"]


def test_the_first_stretch_has_the_skipped_files_and_the_rejects() -> None:
    reject = Reject("r", 0, Failure("E", "m", ""))
    first, *rest = _cut_stretches(
        make_task("axb", skipped=SkippedCounts(ignored_files=3), rejects=(reject,)), known("ab")
    )
    assert (first.scan_task.skipped.ignored_files, first.scan_task.rejects) == (3, (reject,))
    assert [(stretch.scan_task.skipped.ignored_files, stretch.scan_task.rejects) for stretch in rest] == [
        (0, ())
    ] * 2


def test_a_scan_task_that_is_known_whole_or_not_at_all_stays_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [make_task("abc"), make_task("xyz"), make_task("")]
    sources = known("abc")
    monkeypatch.setattr(source_module.pickle, "loads", None)
    assert [stretch.scan_task for task in tasks for stretch in _cut_stretches(task, sources)] == tasks
    assert [stretch.scan_task for task in tasks for stretch in _cut_stretches(task, None)] == tasks


def test_a_scan_task_is_unpacked_once_however_often_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed, sources, loads = make_task("axbycz"), known("abc"), Mock(wraps=pickle.loads)
    monkeypatch.setattr(source_module.pickle, "loads", loads)
    assert len(list(_cut_stretches(mixed, sources))) == 6
    loads.assert_called_once()
