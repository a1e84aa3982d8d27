"""Lines that workers of a pool log reach the parent's loggers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine import run, write_source

from batchpersist.batch.run import run_batch
from batchpersist.options import POOL_RUNS, BatchOptions
from batchpersist.workers import worker_log
from batchpersist.workers.pool import WorkerPool
from batchpersist.workers.worker_log import LoggedResult, call_with_log, forward_log

LOGGER = logging.getLogger("batchpersist.tests")


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="batchpersist")
    return caplog


def log_and_count(lines: int) -> int:
    for number in range(lines):
        LOGGER.debug("line %d of %s", number, object())  # what cannot be pickled is formatted by the worker
    return lines


def log_and_fail() -> None:
    LOGGER.debug("before the failure")
    raise LookupError("no")


def log_and_die() -> None:
    LOGGER.debug("never seen")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_log_says_why_a_worker_wrote_a_run_again(tmp_path: Path, debug: pytest.LogCaptureFixture) -> None:
    runs = [run(f"t{number % 4}", number) for number in range(20)]
    write_source(tmp_path / "s.jsonl", runs)
    options = BatchOptions(str(tmp_path / "out"), str(tmp_path / "runs"), workers=2, pool_runs=0)
    assert run_batch([str(tmp_path / "s.jsonl")], options).exit_code == 0
    manifest = tmp_path / "runs/t3/run-7/manifest.json"
    manifest.write_text("{}")
    debug.clear()
    assert run_batch([str(tmp_path / "s.jsonl")], options).exit_code == 0
    lines = [
        record
        for record in debug.records
        if record.message == f"{manifest} is written again: it is not this run"
    ]
    assert len(lines) == 1
    assert lines[0].process != os.getpid()
    assert lines[0].name == "batchpersist.persist.manifests"


def test_the_command_shows_lines_of_its_workers(tmp_path: Path) -> None:
    """More runs than one process would persist by itself."""
    sources = [run(f"t{number % 50}", number) for number in range(POOL_RUNS)]
    write_source(tmp_path / "s.jsonl", sources)
    command = [sys.executable, "-m", "batchpersist", "run", "s.jsonl", "-j", "2", "--durability", "none"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    manifest = tmp_path / ".runs/t3/run-3/manifest.json"
    manifest.write_text("{}")
    shown = subprocess.run([*command, "-vv"], cwd=tmp_path, check=True, capture_output=True, text=True).stderr
    assert "starting a pool of 2 workers" in shown
    assert "t3/run-3/manifest.json is written again: it is not this run" in shown


def test_lines_come_before_the_result_and_in_their_order(debug: pytest.LogCaptureFixture) -> None:
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        assert pool.submit(0, log_and_count, 3).result() == 3
        found = [record for record in debug.records if record.name == LOGGER.name]
    assert [record.message.split(" of ")[0] for record in found] == ["line 0", "line 1", "line 2"]
    assert {record.process for record in found}.isdisjoint({os.getpid()})


def test_a_call_that_fails_brings_its_lines_and_its_traceback(debug: pytest.LogCaptureFixture) -> None:
    with closing(WorkerPool(2, pool_runs=0)) as pool, pytest.raises(LookupError):
        pool.submit(0, log_and_fail).result()
    assert "before the failure" in debug.messages
    assert any("a call failed" in line and "in log_and_fail" in line for line in debug.messages)


def test_a_killed_worker_loses_its_own_lines_only(debug: pytest.LogCaptureFixture) -> None:
    with closing(WorkerPool(1, pool_runs=0, in_process=False)) as pool:
        pool.submit(0, log_and_count, 1).result()
        with pytest.raises(BrokenExecutor):
            pool.submit(0, log_and_die).result()
        assert pool.replace_pool()
        pool.submit(0, log_and_count, 2).result()
    found = [record.message for record in debug.records if record.name == LOGGER.name]
    assert [line.split(" of ")[0] for line in found] == ["line 0", "line 0", "line 1"]


def test_workers_log_nothing_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="batchpersist")
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        assert pool.submit(0, log_and_count, 3).result() == 3
        assert not pool.submit(0, logging.getLogger("batchpersist").isEnabledFor, logging.DEBUG).result()
    assert not [record for record in caplog.records if record.name == LOGGER.name]


def test_lines_of_a_call_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_log, "MOST_RECORDS", 2)
    result = call_with_log(log_and_count, 5)
    assert result.value == 5
    assert [record.getMessage().split(" of ")[0] for record in result.records[:2]] == ["line 0", "line 1"]
    assert [record.getMessage() for record in result.records[2:]] == [
        "3 more lines of this call are left out"
    ]


def test_a_handler_that_raises_keeps_no_call_waiting(debug: pytest.LogCaptureFixture) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError(record.name)

    call: Future[LoggedResult[int]] = Future()
    forwarded = forward_log(call)
    LOGGER.addFilter(refuse)
    try:
        records = [LOGGER.makeRecord(LOGGER.name, 10, "", 0, "x", (), None)]
        call.set_result(replace(call_with_log(int, "7"), records=records))
    finally:
        LOGGER.removeFilter(refuse)
    assert forwarded.result(timeout=0) == 7
