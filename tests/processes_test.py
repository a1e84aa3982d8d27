from __future__ import annotations

import subprocess
import sys
import time

import pytest
from contenders import dead_pid

from batchpersist.processes import has_ended, is_running, process_start


@pytest.mark.parametrize("name", ["plain", "a) b (c 1 2"])
def test_the_start_of_a_process_is_told_whatever_its_name(name: str) -> None:
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
    tick = 0.1
    assert start is not None
    assert before - tick <= start <= after + tick


def test_the_start_of_no_process_cannot_be_told() -> None:
    assert process_start(dead_pid()) is None


def test_a_process_that_nobody_has_asked_for_its_end_has_ended_and_may_run_all_the_same() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        while not has_ended(process.pid):
            time.sleep(0.01)
        assert is_running(process.pid, None)
    assert not has_ended(process.pid)
    assert not is_running(process.pid, None)
