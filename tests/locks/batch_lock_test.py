from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.processes import run_together

from batchpersist.errors import BatchLockedError
from batchpersist.locks.batch_lock import GLANCE_SECONDS, BatchLock
from batchpersist.paths import Layout
from batchpersist.storage import atomic_write

HOLD = """
import sys
from batchpersist.locks.batch_lock import GLANCE_SECONDS, BatchLock
from batchpersist.paths import Layout
with BatchLock(Layout(*sys.argv[1:]), "the nightly batch"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "out"), str(tmp_path / "runs"))


@contextmanager
def another_batch(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, layout.out_dir, layout.runs_dir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


def records(layout: Layout) -> list[str]:
    return [name for name in os.listdir(layout.own_dir) if name not in ("batch.lock", "batch.gate")]


def test_the_error_of_a_second_batch_names_the_holder_and_since_when(layout: Layout) -> None:
    with another_batch(layout) as process:
        with pytest.raises(BatchLockedError) as caught:
            BatchLock(layout, "mine").acquire()
        assert caught.value.path == layout.batch_lock
        who = rf"the nightly batch \({process.pid}@{re.escape(socket.gethostname())} since \d{{4}}-.*Z\)"
        assert re.fullmatch(who, caught.value.holder)


def test_the_next_batch_runs_when_the_first_has_ended(layout: Layout) -> None:
    with another_batch(layout):
        pass
    assert records(layout) == []
    with BatchLock(layout, "mine"):
        assert records(layout) == ["batch.lock.json"]
    assert records(layout) == []


def test_a_killed_batch_holds_nothing(layout: Layout) -> None:
    with another_batch(layout) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert records(layout) == ["batch.lock.json"]
    with BatchLock(layout, "mine"), pytest.raises(BatchLockedError, match=rf"mine \({os.getpid()}@"):
        BatchLock(layout, "another").acquire()
    assert records(layout) == []


def test_it_can_wait_for_the_other_batch(layout: Layout) -> None:
    first = BatchLock(layout, "first")
    first.acquire()
    # Released by another thread than the one that acquired.
    timer = threading.Timer(0.1, first.release)
    timer.start()
    with BatchLock(layout, "second", wait=300.0):
        pass
    timer.join()


def test_without_a_wait_it_sleeps_for_no_more_than_a_glance_at_the_lock(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (slept.append(seconds), sleep(seconds)))
    with BatchLock(layout, "first"), pytest.raises(BatchLockedError):
        BatchLock(layout, "second", wait=-1.0).acquire()
    assert 0 < sum(slept) <= 2 * GLANCE_SECONDS


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_holder_that_cannot_be_named_still_holds(layout: Layout, content: bytes | None) -> None:
    with BatchLock(layout, "first"):
        record = Path(layout.batch_lock + ".json")
        record.unlink()
        if content is not None:
            record.write_bytes(content)
        with pytest.raises(BatchLockedError, match="has not said"):
            BatchLock(layout, "second").acquire()


def test_it_is_not_reentrant_and_may_be_released_twice(layout: Layout) -> None:
    lock = BatchLock(layout, "mine")
    lock.release()
    for _ in range(2):
        with lock:
            with pytest.raises(RuntimeError, match="held already"):
                lock.acquire()
            with pytest.raises(BatchLockedError):
                BatchLock(layout, "another").acquire()
    lock.release()


def test_other_roots_are_free(layout: Layout, tmp_path: Path) -> None:
    with BatchLock(layout, "here"), BatchLock(Layout("out", str(tmp_path / "elsewhere")), "there"):
        pass


def test_a_record_that_cannot_be_written_gives_the_lock_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(atomic_write, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        BatchLock(layout, "mine").acquire()
    monkeypatch.undo()
    with BatchLock(layout, "mine"):
        pass


def test_a_file_in_the_way_is_its_own_error(layout: Layout) -> None:
    Path(layout.runs_dir).touch()
    with pytest.raises(NotADirectoryError):
        BatchLock(layout, "mine").acquire()


def test_a_forked_child_does_not_end_its_parent_s_batch(layout: Layout) -> None:
    lock = BatchLock(layout, "mine")
    with lock:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12: forking beside a thread
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                lock.release()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert records(layout) == ["batch.lock.json"]
        with pytest.raises(BatchLockedError):
            BatchLock(layout, "another").acquire()


def increment(layout: Layout, counter: Path, rounds: int) -> None:
    for number in range(rounds):
        with BatchLock(layout, f"batch {number}", wait=300.0):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_processes_exclude_each_other(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    run_together(increment, 4, layout, tmp_path / "counter", 5)
    assert (tmp_path / "counter").read_text() == "20"
