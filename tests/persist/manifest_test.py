import errno
import json
import os
import stat
import tempfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recording_group import RecordingGroup

from batchpersist.errors import InvalidRunError, UnsafeIdentifierError
from batchpersist.models import Durability, Keys, Side
from batchpersist.paths import Layout
from batchpersist.persist.manifests import RunManifestWriter, TaskManifests
from batchpersist.storage import file_reader
from batchpersist.storage.fsync import SyncGroup

SUMMARY = {
    "taskId": "task",
    "runId": "run",
    "timestamp": "2024-05-01T10:00:00.000Z",
    "plan": {"items": [], "notes": "größer"},
}
TEXT = json.dumps(SUMMARY, indent=2, ensure_ascii=False).encode()
NO_SYNC = SyncGroup()


@pytest.fixture
def path(tmp_path):
    """Where the manifest will be."""
    return tmp_path / "task" / "run" / "manifest.json"


def of_task(runs_dir):
    return TaskManifests(Layout("", str(runs_dir)), "task", force=False)


def write_existing(path, data):
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def alone(path):
    """No temporary was left beside the manifest."""
    return os.listdir(path.parent) == ["manifest.json"]


@pytest.mark.parametrize("durability", list(Durability))
def test_a_run_is_written_once_and_then_unchanged(tmp_path, path, durability):
    writer = RunManifestWriter(tmp_path, durability=durability)
    assert writer.write(SUMMARY) is Side.PERSISTED
    assert path.read_bytes() == TEXT
    before = path.stat()
    assert writer.write(SUMMARY) is Side.UNCHANGED
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert alone(path)


@pytest.mark.parametrize(
    "summary",
    [
        SUMMARY,
        TEXT,
        TEXT.decode(),
        json.dumps(SUMMARY),
        json.dumps(SUMMARY).encode(),
        {"type": "run:completed", "payload": SUMMARY},
        json.dumps({"type": "run:completed", "payload": SUMMARY}),
    ],
)
def test_a_summary_is_an_object_or_text_of_it_or_its_event(tmp_path, path, summary):
    assert RunManifestWriter(tmp_path).write(summary) is Side.PERSISTED
    assert path.read_bytes() == TEXT


def test_the_keys_may_have_other_names(tmp_path, path):
    summary = {"task_id": "task", "run_id": "run", "completed_at": "2024"}
    RunManifestWriter(tmp_path, keys=Keys("task_id", "run_id", "completed_at")).write(summary)
    assert json.loads(path.read_bytes()) == summary


@pytest.mark.parametrize(
    "summary",
    [
        b"{",
        '{"taskId": "\ud800"}',
        {"taskId": "task", "runId": "run"},
        {**SUMMARY, "plan": float("nan")},
        {"type": "run:started", "payload": SUMMARY},
    ],
)
def test_input_that_is_not_a_completed_run_is_refused(tmp_path, summary):
    with pytest.raises(InvalidRunError):
        RunManifestWriter(tmp_path).write(summary)
    assert os.listdir(tmp_path) == []


def test_an_unsafe_id_is_refused(tmp_path):
    with pytest.raises(UnsafeIdentifierError):
        RunManifestWriter(tmp_path / "runs").write({**SUMMARY, "runId": "../../run"})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "existing"),
    [
        (b"12345678901234567890", b"12345678901234567000"),
        (b"12345678901234567e4", b"123456789012345670000"),
        (b"1e400", b"null"),
        (b"-1e-400", b"0"),
        (b"1.0", b"1"),
    ],
)
def test_a_manifest_with_numbers_that_the_orchestrator_has_rounded_is_unchanged(
    tmp_path, path, source, existing
):
    rounded = TEXT[:-2] + b',\n  "n": ' + existing + b"\n}"
    write_existing(path, rounded)
    run = json.dumps(SUMMARY).encode()[:-1] + b',"n":' + source
    writer = RunManifestWriter(tmp_path)
    assert writer.write(run + b"}") is Side.UNCHANGED
    assert path.read_bytes() == rounded
    assert writer.write(run + b',"more":1}') is Side.PERSISTED


@pytest.mark.parametrize(
    "existing",
    [b"", b"{", b"\xff", TEXT[:-1], TEXT + b"\n", json.dumps(SUMMARY).encode(), TEXT + b" " * len(TEXT)],
)
def test_a_manifest_with_other_content_or_layout_is_written(tmp_path, path, existing):
    write_existing(path, existing)
    assert RunManifestWriter(tmp_path).write(SUMMARY) is Side.PERSISTED
    assert path.read_bytes() == TEXT


def test_force_writes_an_unchanged_manifest(tmp_path, path):
    writer = RunManifestWriter(tmp_path, force=True)
    writer.write(SUMMARY)
    before = path.stat().st_ino
    os.link(path, tmp_path / "keeps the inode in use")
    assert writer.write(SUMMARY) is Side.PERSISTED
    assert path.stat().st_ino != before
    assert path.read_bytes() == TEXT


def test_a_new_run_is_one_folder_and_one_file(tmp_path, path, monkeypatch):
    (tmp_path / "task").mkdir()
    opened = []
    real_open = os.open

    def record(name, *args, **kwargs):
        opened.append(name)
        return real_open(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", record)
    group = RecordingGroup()
    staged = of_task(tmp_path).stage("run", TEXT, group)
    assert opened == [staged.temporary]
    assert group.calls == [("created", str(path.parent)), ("written", staged.temporary)]
    assert (staged.target, staged.size) == (str(path), len(TEXT))
    assert not path.exists()


@settings(max_examples=100, deadline=None)
@given(old=st.binary(max_size=12), new=st.one_of(st.none(), st.binary(max_size=12)), block=st.integers(1, 5))
def test_exactly_the_same_bytes_are_unchanged(old, new, block):
    new = old if new is None else new
    with tempfile.TemporaryDirectory() as runs_dir, pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_reader, "BLOCK", block)
        manifests = of_task(runs_dir)
        manifests.stage("run", old, NO_SYNC).publish(NO_SYNC)
        assert (manifests.stage("run", new, NO_SYNC) is None) == (old == new)


def test_a_file_that_shrinks_while_it_is_read_is_not_the_same(tmp_path, monkeypatch):
    write_existing(tmp_path / "task" / "run" / "manifest.json", b"12345678")
    real_fstat = os.fstat

    def fstat(fd):
        status = real_fstat(fd)
        os.truncate(f"/proc/self/fd/{fd}", 4)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert of_task(tmp_path).stage("run", b"12345678", NO_SYNC) is not None


def test_permission_bits_are_kept(tmp_path, path):
    write_existing(path, b"older").chmod(0o640)
    RunManifestWriter(tmp_path).write(SUMMARY)
    assert path.read_bytes() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("content", [TEXT, b"elsewhere", None])
def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path, path, content):
    elsewhere = tmp_path / "elsewhere"
    if content is not None:
        elsewhere.write_bytes(content)
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    assert RunManifestWriter(tmp_path).write(SUMMARY) is Side.PERSISTED
    assert not path.is_symlink()
    assert path.read_bytes() == TEXT
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == content


def test_a_named_pipe_is_replaced_without_waiting_for_it(tmp_path, path):
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert RunManifestWriter(tmp_path).write(SUMMARY) is Side.PERSISTED
    assert path.read_bytes() == TEXT


def test_a_folder_in_the_manifest_s_place_is_an_error(tmp_path, path):
    path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"manifest\.json"):
        RunManifestWriter(tmp_path).write(SUMMARY)
    assert alone(path)


def test_a_file_in_the_run_folder_s_place_is_an_error(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "run").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        RunManifestWriter(tmp_path).write(SUMMARY)
    assert (tmp_path / "task" / "run").read_bytes() == b"kept"


def test_a_manifest_that_cannot_be_read_is_an_error_and_stays(tmp_path, path, monkeypatch):
    write_existing(path, b"older")
    real_open = os.open

    def refuse(name, *args, **kwargs):
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real_open(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        RunManifestWriter(tmp_path).write(SUMMARY)
    assert path.read_bytes() == b"older"
    assert alone(path)


def test_an_older_manifest_stays_when_the_new_one_cannot_be_renamed(tmp_path, path, monkeypatch):
    write_existing(path, b"older")

    def fail(*_args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        RunManifestWriter(tmp_path).write(SUMMARY)
    assert path.read_bytes() == b"older"
    assert alone(path)


def test_readers_see_one_whole_manifest_while_several_write_it(tmp_path, path):
    versions = [{**SUMMARY, "notes": letter * 20_000} for letter in "abcd"]
    writer = RunManifestWriter(tmp_path, durability=Durability.NONE)
    writer.write(versions[0])
    done = threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(json.loads(path.read_bytes()))

    def write(version):
        for _ in range(25):
            writer.write(version)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(version,)) for version in versions]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen
    assert all(version in versions for version in seen)
    assert alone(path)
