from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from batchpersist.locks import lock_file
from batchpersist.locks.lock_file import new_owner
from batchpersist.locks.task_lock import LockRefresher

SHORT = 0.2
LONG = 3600.0


def lock_at(path: Path) -> str:
    """An old lock file of this process; returns its token."""
    owner = new_owner("task", SHORT)
    path.write_bytes(owner.encode())
    os.utime(path, (1000, 1000))
    return owner.token


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def fresh(path: Path) -> bool:
    return path.stat().st_mtime > 1000


@pytest.fixture
def threads() -> Callable[[], int]:
    """Counts the refresher's threads that the test started; earlier ones may still be waiting."""
    before = set(threading.enumerate())
    return lambda: sum(
        thread.name == "batchpersist-lock-refresher" for thread in set(threading.enumerate()) - before
    )


def test_all_held_files_are_refreshed_again_and_again_by_one_thread(
    tmp_path: Path, threads: Callable[[], int]
) -> None:
    refresher = LockRefresher()
    paths = [tmp_path / str(number) for number in range(5)]
    tokens = [lock_at(path) for path in paths]
    for token, path in zip(tokens, paths, strict=True):
        refresher.add(token, str(path), SHORT)
    assert threads() == 1
    for _ in range(2):
        eventually(lambda: all(fresh(path) for path in paths))
        for path in paths:
            os.utime(path, (1000, 1000))
    for token in tokens:
        refresher.remove(token)


def test_a_short_lease_is_kept_beside_a_long_one(tmp_path: Path) -> None:
    refresher = LockRefresher()
    long, short = lock_at(tmp_path / "long"), lock_at(tmp_path / "short")
    refresher.add(long, str(tmp_path / "long"), LONG)
    refresher.add(short, str(tmp_path / "short"), SHORT)
    eventually(lambda: fresh(tmp_path / "short"))
    refresher.remove(long)
    refresher.remove(short)


def test_the_thread_ends_with_nothing_to_do_and_comes_back(
    tmp_path: Path, threads: Callable[[], int]
) -> None:
    refresher = LockRefresher()
    for _ in range(2):
        token = lock_at(tmp_path / "lock")
        refresher.add(token, str(tmp_path / "lock"), SHORT)
        eventually(lambda: fresh(tmp_path / "lock"))
        refresher.remove(token)
        eventually(lambda: threads() == 0)


def test_taking_and_dropping_a_lock_does_not_start_another_thread(
    tmp_path: Path, threads: Callable[[], int]
) -> None:
    refresher = LockRefresher()
    for number in range(100):
        refresher.add(str(number), str(tmp_path / "lock"), LONG)
        refresher.remove(str(number))
    assert threads() == 1


def test_a_file_of_another_owner_is_never_refreshed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Callable[[], int]
) -> None:
    looks = []
    refresh = lock_file.refresh
    monkeypatch.setattr(lock_file, "refresh", lambda path, token: looks.append(path) or refresh(path, token))
    refresher = LockRefresher()
    lock_at(tmp_path / "lock")
    refresher.add("a token that was lost", str(tmp_path / "lock"), SHORT)
    eventually(lambda: threads() == 0)
    assert looks == [str(tmp_path / "lock")]
    assert not fresh(tmp_path / "lock")


def test_a_refresh_that_fails_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    refresher = LockRefresher()
    with caplog.at_level(logging.WARNING):
        refresher.add("token", str(tmp_path / "file" / "lock"), SHORT)
        eventually(lambda: len(caplog.records) >= 2)
    refresher.remove("token")
    assert "could not refresh lock file" in caplog.text


def in_forked_child(action: Callable[[], bool]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12: forking beside a thread is the point
        pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_keeps_its_own_locks_only(tmp_path: Path) -> None:
    refresher = LockRefresher()
    parents = lock_at(tmp_path / "parent's")
    refresher.add(parents, str(tmp_path / "parent's"), LONG)

    def child() -> bool:
        token = lock_at(tmp_path / "child's")
        refresher.add(token, str(tmp_path / "child's"), SHORT)
        eventually(lambda: fresh(tmp_path / "child's"))
        return not fresh(tmp_path / "parent's")

    assert in_forked_child(child)
    refresher.remove(parents)


def test_a_child_forked_in_the_midst_of_a_change_does_not_hang(tmp_path: Path) -> None:
    refresher = LockRefresher()
    inside, go_on = threading.Event(), threading.Event()

    def busy() -> None:
        with refresher._changed:
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=busy)
    thread.start()
    inside.wait()
    token = lock_at(tmp_path / "lock")

    def child() -> bool:
        refresher.add(token, str(tmp_path / "lock"), SHORT)
        refresher.remove(token)
        return True

    try:
        assert in_forked_child(child)
    finally:
        go_on.set()
        thread.join()
