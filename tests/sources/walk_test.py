from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scans import put, run, scan, text

from batchpersist.sources import walk as walking
from batchpersist.sources.formats import Format
from batchpersist.sources.source import NO_IDENTITY, Source
from batchpersist.sources.walk import Finding, Skipped, UnknownSuffix, folder_source, list_folder, walk


def names(root: Path) -> list[str]:
    """What is read below a folder, relative to it."""
    found = [finding for finding in walk([folder_source(str(root), "src")]) if isinstance(finding, Source)]
    assert all(source.path == f"{root}/{source.name.removeprefix('src/')}" for source in found)
    return [source.name.removeprefix("src/") for source in found]


def test_each_level_is_walked_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/10.json", "a.json", "b.json", "B.json", "b-/x.json", "c/d/e.json"):
        put(tmp_path / name, b"")
    assert names(tmp_path) == [
        "B.json",
        "a.json",
        "b/10.json",
        "b/2.json",
        "b-/x.json",
        "b.json",
        "c/d/e.json",
    ]


@given(
    st.sets(st.lists(st.sampled_from(["a", "b", "cli", "a.json", "a-b"]), min_size=1, max_size=4).map(tuple))
)
def test_the_order_is_that_of_sorted_path_parts(
    tmp_path_factory: pytest.TempPathFactory, folders: set[tuple[str, ...]]
) -> None:
    root = tmp_path_factory.mktemp("walk")
    for parts in folders:
        put(root.joinpath(*parts) / "run.json", b"")
    assert names(root) == [
        "/".join((*parts, "run.json")) for parts in sorted(folders, key=lambda parts: (*parts, "run.json"))
    ]


def uncached(finding: Finding) -> Finding:
    """A file just written has no fingerprint, and a moment later it has."""
    return finding._replace(identity=NO_IDENTITY) if isinstance(finding, Source) else finding


@given(
    st.sets(st.lists(st.sampled_from(["a", "b", "cli", "a.json", "a-b"]), min_size=1, max_size=4).map(tuple)),
    st.integers(1, 5),
)
def test_a_walk_may_be_cut_short_and_taken_up_again(
    tmp_path_factory: pytest.TempPathFactory, folders: set[tuple[str, ...]], limit: int
) -> None:
    root = tmp_path_factory.mktemp("walk")
    for parts in folders:
        put(root.joinpath(*parts) / "manifest.json", b"")
        put(root.joinpath(*parts) / "x.txt", b"")
    whole = list(map(uncached, walk([folder_source(str(root), "src")])))
    left, found = [folder_source(str(root), "src")], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "UNSEEN_FILES", 2)
        while left:
            findings = list(walk(left, limit))
            found += map(uncached, findings[:limit])
            left = findings[limit:]
            assert all(source.format is Format.FOLDER for source in left)
    assert found == whole


def test_a_large_folder_is_listed_once_and_examined_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "UNSEEN_FILES", 3)
    for name in ("0.json", "1.json", "2.txt", "5.json", "6.json", "7.json", "8.json", "9.json"):
        put(tmp_path / name, b"")
    put(tmp_path / "4" / "a.json", b"")
    whole = list(map(uncached, walk([folder_source(str(tmp_path), "src")])))
    seen, *rest = list_folder(folder_source(str(tmp_path), "src"), 1)
    shutil.rmtree(tmp_path / "4")
    listed: list[str] = []
    monkeypatch.setattr(os, "scandir", listed.append)
    assert [source.names for source in rest if isinstance(source, Source)] == [
        ("1.json", "2.txt"),
        (),
        ("5.json", "6.json", "7.json"),
        ("8.json", "9.json"),
    ]
    found = [seen, *walk(source for source in rest if isinstance(source, Source) and source.names)]
    assert list(map(uncached, found)) == [*whole[:3], *whole[4:]]
    assert listed == []


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    for name in (".hidden.json", ".git/a.json", "a/.b/c.json", "a/d.json"):
        put(tmp_path / name, b"")
    assert names(tmp_path) == ["a/d.json"]
    assert len(list(walk([folder_source(str(tmp_path), "src")]))) == 1


def test_a_hidden_folder_can_be_named(tmp_path: Path) -> None:
    put(tmp_path / ".runs" / "t" / "r1" / "manifest.json", text(run()))
    assert scan(tmp_path / "spool", tmp_path / ".runs").run_ids == ["r1"]


def test_links_to_files_are_read_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "a.json", b"")
    root = tmp_path / "in"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "folder.json").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to(root)
    (root / "file.json").symlink_to(tmp_path / "outside" / "a.json")
    assert names(root) == ["file.json"]
    assert Skipped.IGNORED_FILE not in set(walk([folder_source(str(root), "src")]))


def test_a_link_that_leads_out_of_its_folder_is_reported_and_one_to_its_neighbour_is_not(
    tmp_path: Path,
) -> None:
    put(tmp_path / "outside" / "a.json", b"")
    put(tmp_path / "in" / "2026" / "b.json", b"")
    (tmp_path / "in" / "latest").symlink_to("2026")
    (tmp_path / "in" / "2025").symlink_to(tmp_path / "outside")
    assert names(tmp_path / "in") == ["2026/b.json"]
    found = list(walk([folder_source(str(tmp_path / "in"), "src")]))
    assert [told for told in found if isinstance(told, UnknownSuffix)] == [
        UnknownSuffix("(link to a folder)")
    ]


def test_a_broken_link_is_reported(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").symlink_to("nowhere")
    (reject,) = scan(tmp_path / "spool", tmp_path / "in").rejects
    assert (reject.source, reject.line) == (f"{tmp_path}/in/a.json", 0)
    assert reject.failure.message == "[ENOENT] No such file or directory"


def test_a_link_to_itself_spoils_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.json", text(run()))
    (tmp_path / "in" / "loop.json").symlink_to("loop.json")
    found = scan(tmp_path / "spool", tmp_path / "in")
    assert found.run_ids == ["r1"]
    assert [reject.source for reject in found.rejects] == [f"{tmp_path}/in/loop.json"]


def test_other_suffixes_and_what_is_not_a_file_are_named(tmp_path: Path) -> None:
    for name in ("t.lock", "README.md", "manifest.json.tmp-ab12", "a/json", "agent.log.1.gz"):
        put(tmp_path / name, b"")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "null.json").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jsonl"))
    expected = [".md", "(none)", ".log.gz", ".tmp", "(device)", "(pipe)", "(socket)", ".lock"]
    assert list(walk([folder_source(str(tmp_path), "src")])) == [*map(UnknownSuffix, expected)]


@pytest.mark.skipif(os.sep != "/", reason="names are bytes")
def test_a_name_that_is_not_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    put(tmp_path / "in" / os.fsdecode(b"caf\xe9.json"), text(run()))
    found = scan(tmp_path / "spool", tmp_path / "in")
    assert [row.name for row in found.rows] == [f"{tmp_path}/in/caf\\xe9.json"]
    assert found.rejects == []
