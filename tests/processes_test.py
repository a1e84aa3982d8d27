"""Processes by their ids: when they started, and whether they are running."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime

import pytest
from support.processes import dead_pid

from batchpersist.processes import has_ended, is_running, process_start


@pytest.mark.parametrize("name", ["plain", "a) b (c 1 2"])
def test_start_is_found_whatever_the_name_of_the_process(name: str) -> None:
    script = f"open('/proc/self/comm', 'w').write({name!r}); print('named', flush=True); input()"
    before = time.time()
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = process_start(process.pid)
        after = time.time()
        process.communicate(b"\n")
    assert start is not None
    assert before - 2.1 <= start <= after


def test_start_agrees_with_ps(tool: Callable[[str], str]) -> None:
    command = [tool("ps"), "-p", str(os.getpid()), "-o", "lstart="]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    start_by_ps = datetime.strptime(shown.strip(), "%a %b %d %H:%M:%S %Y").timestamp()
    start = process_start(os.getpid())
    assert start is not None
    assert start <= start_by_ps


def test_missing_process_has_no_start() -> None:
    assert process_start(dead_pid()) is None


def test_thread_id_is_not_a_process_but_may_be_running() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        assert process_start(thread.native_id) is None
        assert is_running(thread.native_id, 0.0)
    finally:
        end.set()
        thread.join()


def test_zombie_has_ended_but_may_be_running() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        while not has_ended(process.pid):
            time.sleep(0.01)
        assert is_running(process.pid, None)
    assert not has_ended(process.pid)
    assert not is_running(process.pid, None)
