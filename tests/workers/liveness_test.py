"""Workers that hang are killed, the run that they were at is found, and nobody else is charged for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.engine import run
from support.shards import plan_with, sides, supervise

from batchpersist.models import Shard, ShardOutcome, Side, Work
from batchpersist.persist.liveness import Beat, Heartbeat, Liveness, open_heartbeat, read_beats
from batchpersist.persist.worker import empty_outcome
from batchpersist.plan.shard_job import ShardJob
from batchpersist.workers.pool import WorkerPool


def persist_with_beats(job: ShardJob, folder: str, log: str, bad: dict[str, str]) -> ShardOutcome:
    """Report all runs as persisted; a bad one hangs or takes the process down."""
    Path(log, f"{time.monotonic_ns()}").write_text(str(job.shard.stop - job.shard.start))
    outcome = empty_outcome(job.shard)
    for row, run_id in enumerate(job.rows().run_ids):
        open_heartbeat(folder).beat(job.shard.start + row)
        if bad.get(run_id) == "hangs":
            time.sleep(600)
        if bad.get(run_id) == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome.snapshot[row] = outcome.manifest[row] = Side.PERSISTED
    open_heartbeat(folder).rest()
    return outcome


@pytest.mark.parametrize("workers", [1, 2])
def test_heartbeats_find_bad_runs_and_only_these_fail(tmp_path: Path, workers: int) -> None:
    (tmp_path / "beats").mkdir()
    (tmp_path / "log").mkdir()
    plan = plan_with(tmp_path, tasks=4, runs=400, workers=workers)
    bad = {"run-57": "hangs", "run-211": "dies"}
    script = partial(persist_with_beats, folder=str(tmp_path / "beats"), log=str(tmp_path / "log"), bad=bad)
    with closing(WorkerPool(workers, pool_runs=0, in_process=False)) as pool:
        liveness = Liveness(str(tmp_path / "beats"), 3.0)
        outcomes = list(supervise(pool, plan, script, liveness=liveness))
    found = sides(outcomes, plan)
    failed = {run_id for run_id, pair in found.items() if pair == (Side.FAILED, Side.FAILED)}
    assert failed == set(bad)
    assert sum(pair == (Side.PERSISTED, Side.PERSISTED) for pair in found.values()) == 398
    messages = {failure.message for outcome in outcomes for failure in outcome.manifest_failures.values()}
    assert messages == {"run timed out", "worker died"}
    # A bad run costs two workers: the one that met it first, and the one that had it alone.
    assert len(pool.pids) <= 5 * workers


def persist_a_few(job: ShardJob, folder: str, most: int) -> ShardOutcome:
    """As a worker with little memory; run-8 hangs for as long as a test may take."""
    if len(job.rows()) > most:
        raise MemoryError
    outcome = empty_outcome(job.shard)
    for row, run_id in enumerate(job.rows().run_ids):
        open_heartbeat(folder).beat(job.shard.start + row)
        if run_id == "run-8":
            time.sleep(20)
        outcome.snapshot[row] = outcome.manifest[row] = Side.PERSISTED
    open_heartbeat(folder).rest()
    return outcome


def test_a_worker_that_returned_a_shard_is_still_watched(tmp_path: Path) -> None:
    (tmp_path / "beats").mkdir()
    plan = plan_with(tmp_path, tasks=3, runs=9, workers=1)
    script = partial(persist_a_few, folder=str(tmp_path / "beats"), most=4)
    plan = replace(plan, shards=[Shard(0, Work.PAIR, 0, 2, 1), Shard(1, Work.PAIR, 2, 9, 1)])
    with closing(WorkerPool(1, pool_runs=0, in_process=False)) as pool:
        liveness = Liveness(str(tmp_path / "beats"), 2.0)
        outcomes = list(supervise(pool, plan, script, liveness=liveness))
    messages = {failure.message for outcome in outcomes for failure in outcome.manifest_failures.values()}
    assert messages == {"run timed out"}


def test_without_a_timeout_no_worker_hangs(tmp_path: Path) -> None:
    liveness = Liveness(str(tmp_path), None)
    assert liveness.poll_seconds is None
    liveness.kill_hung([os.getpid()])


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[str], int]:
    """Runs a line of Python with a heartbeat in another process; returns that one's pid."""

    def in_another(line: str) -> int:
        program = f"from batchpersist.persist.liveness import *\nh = Heartbeat({str(tmp_path)!r})\n{line}"
        process = subprocess.Popen([sys.executable, "-c", program])
        assert process.wait() == 0
        return process.pid

    return in_another


def test_other_processes_see_beats_but_none_of_idle_workers(
    tmp_path: Path, elsewhere: Callable[[str], int]
) -> None:
    before = time.monotonic()
    working, resting = elsewhere("h.beat(7)"), elsewhere("h.beat(7); h.rest()")
    new = elsewhere("pass")
    (beat,) = read_beats(str(tmp_path), [working, resting, new, 1])
    assert beat[:2] == Beat(working, 7, 0.0)[:2]
    assert before <= beat.moment <= time.monotonic()
    liveness = Liveness(str(tmp_path), 1.0)
    assert liveness.last_rows([working, resting]) == {7}
    assert liveness.last_rows([working, resting]) == set()


def test_a_heartbeat_without_a_file_is_silent(tmp_path: Path) -> None:
    Heartbeat(str(tmp_path / "none")).beat(1)
    assert list(read_beats(str(tmp_path / "none"), [os.getpid()])) == []


def test_the_command_kills_a_worker_that_hangs(tmp_path: Path) -> None:
    """A source that is a pipe once it was scanned, which nobody writes to: reading it hangs."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(run("good", n)) + "\n" for n in range(30)))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(run("bad", n)) + "\n" for n in range(3)))
    program = """
import os
from batchpersist import plan
real = plan.make_plan
def make_plan(*given, **more):
    os.unlink("b.jsonl"); os.mkfifo("b.jsonl")
    return real(*given, **more)
import batchpersist.batch.run
batchpersist.batch.run.make_plan = make_plan
from batchpersist.cli.main import cli
if __name__ == "__main__":
    cli(["run", "a.jsonl", "b.jsonl", "-j", "1", "--run-timeout", "2", "--durability", "none"])
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "3 x manifest: run timed out" in done.stdout
    assert "30 persisted, 3 failed" in done.stdout
