from __future__ import annotations

import os
import pickle
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.scans import lines, put, run, scan, text

from batchpersist.errors import SourceMissingError, UsageError
from batchpersist.index.scan_worker import run_scan_task
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources import walk as walking
from batchpersist.sources.discovery import discover
from batchpersist.sources.scan_tasks import SCAN_TASK_FILES

discovering = import_module("batchpersist.sources.discovery")  # there is a function of this name, too


def test_a_missing_source_is_found_before_anything_is_read(tmp_path: Path) -> None:
    there = put(tmp_path / "a.jsonl", lines(run()))
    with pytest.raises(SourceMissingError) as caught:
        discover([str(there), str(tmp_path / "gone.jsonl"), str(tmp_path / "unknown.txt")])
    assert caught.value.source == str(tmp_path / "gone.jsonl")


def test_below_a_file_there_is_no_source(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", b"")
    with pytest.raises(SourceMissingError):
        discover([str(tmp_path / "a.jsonl" / "b.jsonl")])


def test_an_empty_name_is_a_missing_source() -> None:
    with pytest.raises(SourceMissingError):
        discover([""])


def test_standard_input_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it where the descriptor is closed
    with pytest.raises(SourceMissingError):
        discover(["-"])


def test_a_named_file_of_unknown_suffix_is_refused_with_the_readable_ones(tmp_path: Path) -> None:
    path = put(tmp_path / "runs.csv", b"")
    with pytest.raises(UsageError, match=r"runs\.csv.*\.jsonl.*\.zst.*\.parquet"):
        discover([str(path)])


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UsageError, match="not a regular file"):
        discover([str(tmp_path / "pipe.jsonl")])


def test_suffixes_are_known_in_any_case(tmp_path: Path) -> None:
    path = put(tmp_path / "RUNS.NDJSON", lines(run()))
    assert scan(tmp_path / "spool", path).run_ids == ["r1"]


def test_sources_keep_their_order_and_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "z.jsonl", lines(run("z")))
    put(tmp_path / "folder" / "m.jsonl", lines(run("m")))
    put(tmp_path / "a.json", lines(run("a")))
    monkeypatch.chdir(tmp_path)
    found = scan(tmp_path / "spool", "z.jsonl", "./folder/", "a.json", "z.jsonl")
    assert [(row.name, row.run_id) for row in found.rows] == [
        ("z.jsonl", "z"),
        ("./folder/m.jsonl", "m"),
        ("a.json", "a"),
        ("z.jsonl", "z"),
    ]


def test_paths_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "folder" / "a.jsonl", lines(run()))
    monkeypatch.chdir(tmp_path)
    (part,) = discover(["folder"])
    monkeypatch.chdir("/")
    assert run_scan_task(part, DEFAULT_KEYS, str(tmp_path)).runs == 1


def test_small_files_share_a_part_up_to_its_size(tmp_path: Path) -> None:
    for number in range(10):
        put(tmp_path / "in" / f"{number}.json", lines(run(f"r{number}")))
    size = len(lines(run("r0")))
    parts = list(discover([str(tmp_path / "in")], scan_task_bytes=3 * size))
    assert [len(part.sources) for part in parts] == [3, 3, 3, 1]
    assert [part.number for part in parts] == [0, 1, 2, 3]
    assert not any(part.is_range or part.is_local for part in parts)


def test_small_files_share_a_part_up_to_a_number(tmp_path: Path) -> None:
    for number in range(SCAN_TASK_FILES + 1):
        put(tmp_path / "in" / f"{number:03d}.json", b"{}")
    assert [len(part.sources) for part in discover([str(tmp_path / "in")])] == [SCAN_TASK_FILES, 1]


def test_a_large_file_of_lines_is_cut_into_ranges(tmp_path: Path) -> None:
    small = put(tmp_path / "small.jsonl", b" " * 5)
    large = put(tmp_path / "large.jsonl", b" " * 25)
    parts = list(discover([str(small), str(large), str(small)], scan_task_bytes=10))
    ranges = [[(source.start, source.stop) for source in part.sources] for part in parts]
    assert ranges == [[(0, 5)], [(0, 10)], [(10, 20)], [(20, 25)], [(0, 5)]]
    assert [part.is_range for part in parts] == [False, True, True, True, False]


def test_only_standard_input_is_local(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", b"")
    assert [part.is_local for part in discover([str(path), "-", str(path)])] == [False, True, False]


def test_parts_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.jsonl", lines(run()))
    put(tmp_path / "in" / "note.txt", b"")
    parts = list(discover([str(tmp_path / "in"), "-"]))
    assert pickle.loads(pickle.dumps(parts)) == parts


def test_folders_are_listed_only_as_scan_tasks_are_taken(tmp_path: Path) -> None:
    put(tmp_path / "in" / "1" / "a.json", lines(run("a")))
    put(tmp_path / "in" / "2" / "b.json", lines(run("b")))
    put(tmp_path / "in" / "3" / "c.json", lines(run("c")))
    (part,) = discover([str(tmp_path / "in")])
    put(tmp_path / "in" / "2" / "new.json", lines(run("new")))
    shutil.rmtree(tmp_path / "in" / "3")
    (found,) = run_scan_task(part, DEFAULT_KEYS, str(tmp_path)).remaining
    assert [source.name.rsplit("/in/", 1)[1] for source in found.sources] == [
        "1/a.json",
        "2/b.json",
        "2/new.json",
    ]
    (reject,) = found.rejects
    assert reject.source == str(tmp_path / "in" / "3")
    assert (reject.line, reject.failure.message) == (0, "[ENOENT] No such file or directory")


def test_most_files_of_a_large_folder_are_examined_by_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovering, "_EXAMINED_FILES", 2)
    monkeypatch.setattr(walking, "UNSEEN_FILES", 3)
    for number in range(9):
        put(tmp_path / "in" / f"{number}.json", text(run(f"r{number}")))
    put(tmp_path / "in" / "note.txt", b"")
    (part,) = discover([str(tmp_path / "in")])
    assert [source.names for source in part.sources] == [
        *((), ()),
        *(("2.json", "3.json", "4.json"), ("5.json", "6.json", "7.json"), ("8.json", "note.txt")),
    ]
    found = scan(tmp_path / "spool", tmp_path / "in")
    assert found.run_ids == [f"r{number}" for number in range(9)]
    assert found.ignored_files == 1


def test_a_folder_within_a_folder_weighs_more_than_a_file(tmp_path: Path) -> None:
    for number in range(100):
        put(tmp_path / "in" / f"{number:02d}" / "a.json", b"")
    parts = list(discover([str(tmp_path / "in")]))
    assert [len(part.sources) for part in parts] == [32, 32, 32, 4]


def test_a_source_that_cannot_be_examined_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    found = scan(tmp_path / "spool", tmp_path / "loop.jsonl")
    (reject,) = found.rejects
    assert reject.failure.message == "[ELOOP] Too many levels of symbolic links"


def test_nothing_found_is_no_part(tmp_path: Path) -> None:
    assert list(discover([])) == []
    assert list(discover([str(tmp_path)])) == []
