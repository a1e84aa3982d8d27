"""Hostile sources and folders: no file outside the roots and no foreign file changes; each run is reported.

Anyone who may write to the folders, or send runs to the orchestrator, could plant what these tests plant.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.model import Run, stringify
from world import tree

from batchpersist.cli.main import cli


def make_run(task: str = "task", run: str = "run", **more: Any) -> Run:
    return {"taskId": task, "runId": run, "timestamp": "2026-01-01T00:00:00.000Z", **more}


class Place:
    """Two roots, and beside them a folder that must not change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out, self.runs, self.outside = folder / "out", folder / "runs", folder / "outside"
        for made in (self.out, self.runs, self.outside):
            made.mkdir()
        self.victim = self.outside / "victim.json"
        self.victim.write_text('{"a victim": 1}')
        self.snapshot = self.out / "task" / "runs.json"
        self.manifest = self.runs / "task" / "run" / "manifest.json"
        self.lock = self.runs / "task.lock"
        self.gate = self.runs / "task.lock.acquire"

    def batch(self, *documents: object, more: tuple[str, ...] = ()) -> Answer:
        """Persist documents (bytes: a line as it is); without any, the one run of ``make_run()``."""
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in documents]
        source = self.folder / "source.jsonl"
        source.write_bytes(b"".join(line + b"\n" for line in lines or [json.dumps(make_run()).encode()]))
        return self.run(str(source), *more)

    def run(self, *words: str, **options: Any) -> Answer:
        """``options`` are those of subprocess.run; without any the command runs in this process."""
        before, existing = self.outside_files(), tree(self.folder)
        arguments = ["run", *words, "--out-dir", str(self.out), "--runs-dir", str(self.runs)]
        arguments += ["--json", "-j", "1", "--lock-attempts", "1"]
        answer = _in_a_process(arguments, options) if options else _in_this_process(arguments)
        assert self.outside_files() == before
        assert not [path for path in tree(self.folder).keys() - existing if ".tmp-" in path]
        return answer

    def outside_files(self) -> dict[str, tuple[bytes, int]]:
        """Content and inode of each file outside of the roots."""
        return {
            path: (content, (self.outside / path).stat().st_ino)
            for path, content in tree(self.outside).items()
        }


class Answer:
    """The exit code of a command, and its events."""

    def __init__(self, code: int, stdout: str) -> None:
        self.code = code
        self._events = [json.loads(line) for line in stdout.splitlines()]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event for event in self._events if event["message_type"] == "error"]

    @property
    def counts(self) -> dict[str, int]:
        return next(event["counts"] for event in self._events if event["message_type"] == "summary")


def _in_this_process(arguments: list[str]) -> Answer:
    done = CliRunner().invoke(cli, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Answer(done.exit_code, done.stdout)


def _in_a_process(arguments: list[str], options: dict[str, Any]) -> Answer:
    command = [sys.executable, "-m", "batchpersist", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Answer(done.returncode, done.stdout.decode())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def plant_link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


# Symbolic links.


def test_link_at_the_snapshot_is_refused(place: Place) -> None:
    plant_link(place.snapshot, place.victim)
    answer = place.batch()
    assert answer.code == 3
    assert [error["stage"] for error in answer.errors] == ["snapshot"]
    assert place.snapshot.is_symlink()
    assert place.manifest.read_text() == stringify(make_run())


@pytest.mark.parametrize("dangling", [False, True])
def test_link_at_the_manifest_is_replaced(place: Place, dangling: bool) -> None:
    plant_link(place.manifest, place.outside / "new" if dangling else place.victim)
    assert place.batch().code == 0
    assert not place.manifest.is_symlink()
    assert place.manifest.read_text() == stringify(make_run())


@pytest.mark.parametrize("name", ["lock", "gate"])
@pytest.mark.parametrize("dangling", [False, True])
def test_link_at_the_lock_counts_as_a_lock(place: Place, name: str, dangling: bool) -> None:
    planted: Path = getattr(place, name)
    plant_link(planted, place.outside / "new" if dangling else place.victim)
    os.utime(planted, (0, 0), follow_symlinks=False)
    answer = place.batch()
    assert answer.code == 3
    assert [error["type"] for error in answer.errors] == ["TaskStateLockError"]
    assert planted.is_symlink()
    assert not place.snapshot.exists()
    assert place.manifest.exists()


def test_links_at_temporary_names_are_not_followed(place: Place) -> None:
    """Temporary names cannot be predicted, but may once have been those of other files."""
    for target in (place.snapshot, place.manifest):
        for suffix in ("0", "1", "cafe0"):
            plant_link(target.with_name(f"{target.name}.tmp-{suffix}"), place.victim)
    before = tree(place.folder)
    assert place.batch().code == 0
    assert before.items() <= tree(place.folder).items()


def test_link_at_the_legacy_state_is_not_read(place: Place) -> None:
    stolen = {"taskId": "task", "lastRunAt": "1", "runs": [make_run(run="secret")]}
    place.victim.write_text(stringify(stolen))
    plant_link(place.out / "task" / "state.json", place.victim)
    place.batch()
    assert not place.snapshot.exists() or "secret" not in place.snapshot.read_text()


@pytest.mark.parametrize("folder", ["out/task", "runs/task", "runs/task/run", "runs/.batchpersist"])
def test_link_instead_of_a_folder_is_not_followed(place: Place, folder: str) -> None:
    plant_link(place.folder / folder, place.outside)
    answer = place.batch()  # asserts that nothing outside has changed
    assert answer.code == (1 if folder.endswith(".batchpersist") else 3)
    assert {error["message"] for error in answer.errors} == {
        "[ENOTDIR] a symbolic link stands in a folder's place"
    }


@pytest.mark.parametrize("name", ["batches", "locks", "cache", "histories", "batch.lock", "batch.lock.json"])
def test_links_among_batchpersist_s_files_are_refused(place: Place, name: str) -> None:
    plant_link(place.runs / ".batchpersist" / name, place.victim if "." in name else place.outside)
    answer = place.batch()  # asserts that nothing outside has changed
    assert answer.code == 1
    assert [error["message"] for error in answer.errors] == [
        "[ELOOP] a symbolic link among batchpersist's own files"
    ]


def test_link_instead_of_a_batch_folder_is_not_a_batch(place: Place) -> None:
    """Else the batch would take it for a dead batch, and delete its files."""
    place.batch()
    (batch,) = (place.runs / ".batchpersist" / "batches").iterdir()
    record = json.loads((batch / "batch.json").read_text()) | {"state": "running"}
    (place.outside / "spool").mkdir()
    (place.outside / "spool" / "kept").write_text("not ours")
    (place.outside / "batch.json").write_text(json.dumps(record))
    plant_link(batch.with_name("99990101T000000000Z-abcdef"), place.outside)
    assert place.batch().code == 0


def test_circular_links_in_sources_are_not_followed(place: Place) -> None:
    source = place.folder / "sources"
    source.mkdir()
    (source / "one.json").write_text(json.dumps(make_run()))
    (source / "circle").symlink_to(source)
    (source / "gone.json").symlink_to(place.folder / "nowhere")
    answer = place.run(str(source))
    assert answer.counts["persisted"] == 1


# Pipes, folders and files instead of others.


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["snapshot", "manifest", "lock", "gate"])
def test_pipe_or_folder_instead_of_a_file_is_kept(
    place: Place, name: str, make: Callable[[Path], None]
) -> None:
    planted: Path = getattr(place, name)
    planted.parent.mkdir(parents=True, exist_ok=True)
    make(planted)
    answer = place.batch()
    other = "manifest" if name == "manifest" else "snapshot"
    replaced = name == "manifest" and make is os.mkfifo
    assert [error["stage"] for error in answer.errors] == ([] if replaced else [other])
    assert stat.S_IFMT(planted.lstat().st_mode) == (
        stat.S_IFREG if replaced else stat.S_IFIFO if make is os.mkfifo else stat.S_IFDIR
    )
    assert place.manifest.is_file() != (name == "manifest" and not replaced)


@pytest.mark.parametrize("name", ["out/task", "runs/task", "runs/task/run"])
def test_file_instead_of_a_folder_is_kept(place: Place, name: str) -> None:
    planted = place.folder / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text("foreign")
    answer = place.batch()
    assert answer.code == 3
    assert planted.read_text() == "foreign"
    assert place.snapshot.is_file() or place.manifest.is_file()


def test_pipes_in_sources_are_ignored(place: Place) -> None:
    source = place.folder / "sources"
    source.mkdir()
    os.mkfifo(source / "pipe.jsonl")
    (source / "one.json").write_text(json.dumps(make_run()))
    assert place.run(str(source)).counts["persisted"] == 1


# Hostile runs.

UNSAFE = [
    *(
        "",
        ".",
        "..",
        "../x",
        "../../outside/x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "\x7f",
    ),
    *(".hidden", "dot.", "space ", "CON", "nul.txt", "Com1", "LPT\u00b9", "CONIN$", "a:b", "a*", "a?", 'a"b'),
    *("a<b", "a|b", "é" * 128, "x" * 256, "\ud800", "a\udfffb"),
]


@pytest.mark.parametrize("key", ["taskId", "runId"])
def test_unsafe_ids_are_invalid_and_write_nothing(place: Place, key: str) -> None:
    answer = place.batch(*[make_run() | {key: unsafe} for unsafe in UNSAFE], make_run(run="well"))
    assert answer.counts["invalid"] == len(UNSAFE)
    assert answer.counts["persisted"] == 1
    assert [error["line"] for error in answer.errors] == list(range(1, len(UNSAFE) + 1))
    written = [
        path for path in tree(place.folder) if not path.startswith(("outside", "source", "runs/.batch"))
    ]
    assert sorted(written) == ["out/metrics.json", "out/task/runs.json", "runs/task/well/manifest.json"]


def test_task_named_like_a_lock_is_invalid(place: Place) -> None:
    """Its folders would be beside the locks and the metrics."""
    names = ["task.lock", "task.LOCK.acquire", "batchpersist", "runs.json"]
    answer = place.batch(*[make_run(task=name) for name in names])
    assert answer.counts["invalid"] == 2
    assert (place.out / "runs.json" / "runs.json").is_file()
    assert (place.runs / "batchpersist" / "run" / "manifest.json").is_file()


def test_task_named_like_the_metrics_does_not_stop_the_others(place: Place) -> None:
    answer = place.batch(make_run(task="metrics.json"), make_run())
    assert answer.counts["persisted"] >= 1


def test_ids_that_differ_in_case_are_two_tasks(place: Place) -> None:
    """On a file system that folds case they would be one folder: docs/formats.md."""
    answer = place.batch(make_run(task="Task"), make_run(task="task"), make_run(task="task", run="RUN"))
    assert answer.counts["persisted"] == 3
    for task in ("Task", "task"):
        snapshot = json.loads((place.out / task / "runs.json").read_text())
        assert {run["taskId"] for run in snapshot["runs"]} == {task}


INVALID = {
    "100,000 brackets": b"[" * 100_000,
    "100,000 nested": b'{"taskId":"t","runId":"r","timestamp":"1","x":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    "100,000 objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "BOM": b"\xef\xbb\xbf" + json.dumps(make_run()).encode(),
    "UTF-16": json.dumps(make_run()).encode("utf-16"),
    "NUL": json.dumps(make_run()).encode() + b"\0",
    "NULs": bytes(300),
    "NUL inside": b'{"taskId":"t","runId":"r","timestamp":"1","x":"\0"}',
    "invalid UTF-8": b'{"taskId":"t","runId":"r","timestamp":"1","x":"\xff"}',
    "surrogate in UTF-8": b'{"taskId":"t","runId":"r","timestamp":"1","x":"\xed\xa0\x80"}',
    "overlong": b'{"taskId":"t","runId":"r","timestamp":"1","x":"\xc0\xaf"}',
    "NaN": b'{"taskId":"t","runId":"r","timestamp":"1","x":NaN}',
    "Infinity": b'{"taskId":"t","runId":"r","timestamp":"1","x":-Infinity}',
    "not an object": b'"taskId"',
    "no run": b"{}",
    "a number for an id": b'{"taskId":1,"runId":"r","timestamp":"1"}',
    "null for a time": b'{"taskId":"t","runId":"r","timestamp":null}',
    "a comment": b'{"taskId":"t","runId":"r","timestamp":"1"} // x',
    "two documents": b'{"taskId":"t","runId":"r","timestamp":"1"}{}',
    "a trailing comma": b'{"taskId":"t","runId":"r","timestamp":"1",}',
    "single quotes": b"{'taskId':'t','runId':'r','timestamp':'1'}",
    "an unescaped control character": b'{"taskId":"t","runId":"r","timestamp":"1","x":"\x01"}',
}


def test_each_invalid_line_is_reported(place: Place) -> None:
    answer = place.batch(*INVALID.values(), make_run())
    assert answer.code == 3
    assert [error["line"] for error in answer.errors] == list(range(1, len(INVALID) + 1))
    assert answer.counts["persisted"] == 1


FAITHFUL = {
    "duplicate keys": '{"runId":"a","taskId":"x","taskId":"task","timestamp":"1","runId":"run"}',
    "lone surrogates": '{"taskId":"task","runId":"run","timestamp":"1","x":"\\ud800\\udfff\\udc00"}',
    "numbers": '{"taskId":"task","runId":"run","timestamp":"1","x":[1e400,-0,1.0,12345678901234567890,1E+2]}',
    "prototype": '{"taskId":"task","runId":"run","timestamp":"1","__proto__":{"a":1},"constructor":1}',
    "separators": '{"taskId":"task","runId":"run","timestamp":"1","x":"\\u2028\\u0000\\u007f"}',
}


@pytest.mark.parametrize("text", FAITHFUL.values(), ids=FAITHFUL.keys())
def test_unusual_but_valid_runs_are_kept(place: Place, text: str) -> None:
    from support.json_spelling import reference

    assert place.batch(text.encode()).code == 0
    assert place.manifest.read_bytes() == reference(text).encode()
    again = place.batch(text.encode())
    assert again.counts["unchanged"] == 1


def test_very_long_line_is_persisted_in_bounded_memory(place: Place, full: bool) -> None:
    """Memory: some multiples of the line, and no more; of 2 GB one cannot even be had by all machines."""
    size = (2_000 if full else 20) << 20
    source = place.folder / "long.jsonl"
    with source.open("wb") as file:
        file.write(b'{"taskId":"task","runId":"run","timestamp":"1","x":"')
        for _ in range(size >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + json.dumps(make_run(run="next")).encode() + b"\n")
    limit = 8 * size + (1 << 30)
    answer = place.run(
        str(source),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert answer.counts["persisted"] == 2
    assert place.manifest.stat().st_size > size


# Permissions.


def test_umask_and_existing_modes_are_kept(place: Place) -> None:
    place.batch()
    assert place.snapshot.stat().st_mode & 0o777 == 0o666 & ~_umask()
    place.snapshot.chmod(0o600)
    place.manifest.chmod(0o604)
    assert place.batch(make_run(x=1)).code == 0
    assert place.snapshot.stat().st_mode & 0o777 == 0o600
    assert place.manifest.stat().st_mode & 0o777 == 0o604


def test_strict_umask_applies_to_all_files(place: Place) -> None:
    source = place.folder / "source.json"
    source.write_text(json.dumps(make_run()))
    assert place.run(str(source), umask=0o077).code == 0
    made = [path for root in (place.out, place.runs) for path in root.rglob("*")]
    assert made
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_setgid_folders_pass_on_their_group(place: Place, root_user: None) -> None:
    for root in (place.out, place.runs):
        os.chown(root, 0, 12345)
        root.chmod(0o2775)
    assert place.batch().code == 0
    for path in (place.snapshot, place.manifest):
        assert path.stat().st_gid == 12345
        assert path.parent.stat().st_mode & stat.S_ISGID


def test_foreign_files_are_kept(place: Place) -> None:
    names = ["out/README", "out/task/state.json", "out/task/runs.json.bak", "out/task/runs.json.tmp"]
    names += ["out/task/.tmp-mine", "runs/other.lock", "runs/task/run/artifact.bin", "runs/task/run.lock"]
    for path in (place.folder / name for name in [*names, "runs/x.tmp-notes.txt"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"foreign \xff " + path.name.encode())
    before = tree(place.folder)
    assert place.batch().code == 0
    assert before.items() <= tree(place.folder).items()
    assert place.snapshot.exists()


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """As a user other than root, who ignores modes."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("closed", ["out/task", "runs/task"])
def test_read_only_folder_is_an_error_of_its_side(place: Place, root_user: None, closed: str) -> None:
    place.batch()  # everything that is imported late is imported by root
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        there = Place(Path(folder))
        for root in (there.folder, there.out, there.runs):
            root.chmod(0o777)
        (there.folder / closed).mkdir()
        with _as_nobody():
            answer = there.batch()
        assert answer.code == 3
        (error,) = answer.errors
        assert error["message"].startswith("[EACCES]")
        assert list((there.folder / closed).iterdir()) == []
        assert there.snapshot.exists() != there.manifest.exists()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
