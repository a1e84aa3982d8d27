"""Handing out work: results in order, a bounded number in flight, and workers that die."""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from support.shards import PERSISTED, persist_unless_poisoned, plan_with, sides, supervise

from batchpersist.context import RunContext
from batchpersist.errors import TaskStateLockError, failure_of
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Failure, ShardOutcome, Side
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout
from batchpersist.persist.worker import empty_outcome
from batchpersist.plan.shard_job import ShardJob
from batchpersist.workers.pool import SerialExecutor, WorkerPool
from batchpersist.workers.supervisor import Call, Supervisor


@dataclass(frozen=True, eq=False)
class Submitted(Call[int]):
    """A call that a test starts by itself."""

    start: Callable[[], Future[int]]
    runs = 0  # type: ignore[assignment]

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[int]:
        return self.start()

    def give_up(self, error: Exception) -> int:
        raise AssertionError("nothing was lost")


def break_down(job: ShardJob) -> ShardOutcome:
    raise ZeroDivisionError(f"a defect in shard {job.shard.number}")


def test_results_come_in_order_with_a_bounded_number_in_flight() -> None:
    futures: list[Future[int]] = []
    in_flight: list[int] = []

    def submit(number: int) -> Future[int]:
        future: Future[int] = Future()
        futures.append(future)
        in_flight.append(sum(not other.done() for other in futures))
        if len(futures) >= 3:  # the third to be started lets the first three finish, the last one first
            for done in reversed(range(len(futures))):
                if not futures[done].done():
                    futures[done].set_result(done)
        return future

    with closing(WorkerPool(2, pool_runs=0)) as pool:
        calls = (Submitted(partial(submit, number)) for number in range(9))
        assert list(Supervisor(pool, calls, RunContext(), in_order=True)) == list(range(9))
    assert max(in_flight) == 3


def test_a_serial_call_ends_before_the_next_one_is_taken() -> None:
    seen: list[str] = []

    def note(word: str) -> int:
        seen.append(word)
        return len(seen)

    def calls() -> Iterable[Submitted]:
        for number in range(3):
            seen.append(f"asked {number}")
            yield Submitted(partial(SerialExecutor().submit, note, f"done {number}"))

    with closing(WorkerPool(1)) as pool:
        list(Supervisor(pool, calls(), RunContext(), in_order=True))
    assert seen == ["asked 0", "done 0", "asked 1", "done 1", "asked 2", "done 2"]


@dataclass(frozen=True, eq=False)
class Square(Call[int]):
    """A call whose worker may die: at the first attempt, or at each."""

    number: int
    marker: Path
    runs = 0  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"the square of {self.number}"

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[int]:
        return pool.submit(self.runs, square_or_die, self.number, self.marker)

    def give_up(self, error: Exception) -> int:
        assert failure_of(error).message == "worker died"
        return -1


def square_or_die(number: int, marker: Path) -> int:
    if number == 5 or (number == 3 and not marker.exists()):
        marker.touch()
        os._exit(9)
    return number * number


def test_results_come_in_order_though_workers_die_and_the_log_says_what_is_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="batchpersist")
    calls = (Square(number, tmp_path / "died") for number in range(9))
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        assert list(Supervisor(pool, calls, RunContext(), in_order=True)) == [0, 1, 4, 9, 16, -1, 36, 49, 64]
    assert "the square of 3 is tried again, alone" in caplog.messages
    assert "the square of 5 is given up: it lost its worker while it was alone" in caplog.messages
    assert any(message.endswith("ended with exit code 9") for message in caplog.messages)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_run_is_persisted_once(tmp_path: Path, workers: int) -> None:
    plan = plan_with(tmp_path, tasks=3, runs=40, workers=workers)
    with closing(WorkerPool(workers, pool_runs=0)) as pool:
        outcomes = list(supervise(pool, plan, persist_unless_poisoned))
    assert sides(outcomes, plan) == dict.fromkeys(plan.rows["run_id"].to_pylist(), (PERSISTED, PERSISTED))


def test_a_stop_leaves_the_rest_unattempted(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tasks=40, runs=40)
    taken: list[ShardOutcome] = []
    with closing(WorkerPool(1)) as pool:
        context = RunContext(should_stop=lambda: len(taken) == 3)
        for outcome in supervise(pool, plan, persist_unless_poisoned, context):
            taken.append(outcome)  # noqa: PERF402  # should_stop reads it meanwhile
    assert len(taken) == 3 < len(plan.shards)


@pytest.mark.parametrize("tasks", [1, 5])
def test_a_run_that_kills_its_worker_fails_alone(tmp_path: Path, tasks: int) -> None:
    plan = plan_with(tmp_path, tasks=tasks, runs=30)
    script = partial(persist_unless_poisoned, poison=("run-7", "run-22"))
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        outcomes = list(supervise(pool, plan, script))
    found = sides(outcomes, plan)
    died = (Side.FAILED, Side.FAILED)
    assert {run_id for run_id, pair in found.items() if pair == died} == {"run-7", "run-22"}
    assert Counter(found.values()) == {(PERSISTED, PERSISTED): 28, died: 2}
    failures = {failure for outcome in outcomes for failure in outcome.manifest_failures.values()}
    assert failures == {Failure("WorkerDiedError", "worker died", "")}
    assert not any(outcome.defect for outcome in outcomes)


def die_once(job: ShardJob, marker: str) -> ShardOutcome:
    """The first worker dies, and not because of what it was at."""
    if not os.path.exists(marker):
        Path(marker).touch()
        os._exit(9)
    return persist_unless_poisoned(job)


@pytest.mark.parametrize("runs", [1, 2])
def test_one_dead_worker_fails_no_run(tmp_path: Path, runs: int) -> None:
    plan = plan_with(tmp_path, tasks=runs, runs=runs)
    script = partial(die_once, marker=str(tmp_path / "died"))
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        found = sides(supervise(pool, plan, script), plan)
    assert list(found.values()) == [(PERSISTED, PERSISTED)] * runs
    assert (tmp_path / "died").exists()


def persist_in_little_memory(job: ShardJob, hungry: tuple[str, ...], most: int) -> ShardOutcome:
    """There is too little memory for more than ``most`` runs at once, and for a hungry one."""
    if len(job.rows()) > most or not set(hungry).isdisjoint(job.rows().run_ids):
        raise MemoryError
    return persist_unless_poisoned(job)


@pytest.mark.parametrize("workers", [1, 2])
def test_too_little_memory_fails_only_the_run_that_needs_more(tmp_path: Path, workers: int) -> None:
    plan = plan_with(tmp_path, tasks=2, runs=20, workers=workers)
    script = partial(persist_in_little_memory, hungry=("run-7",), most=4)
    with closing(WorkerPool(workers, pool_runs=0)) as pool:
        outcomes = list(supervise(pool, plan, script))
    found = sides(outcomes, plan)
    assert [run_id for run_id, pair in found.items() if pair != (PERSISTED, PERSISTED)] == ["run-7"]
    failures = {failure for outcome in outcomes for failure in outcome.manifest_failures.values()}
    assert failures == {Failure("WorkerDiedError", "worker died", "out of memory")}


def test_a_defect_fails_its_shard_and_is_marked_as_one(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tasks=2, runs=4)
    with closing(WorkerPool(1)) as pool:
        outcomes = list(supervise(pool, plan, break_down))
    assert all(outcome.defect for outcome in outcomes)
    assert set(sides(outcomes, plan).values()) == {(Side.FAILED, Side.FAILED)}
    assert outcomes[0].snapshot_failures[0].type == "ZeroDivisionError"


def find_no_room(_job: ShardJob) -> ShardOutcome:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "calls")


def test_an_error_of_the_system_is_no_defect(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tasks=2, runs=4)
    with closing(WorkerPool(1)) as pool:
        outcomes = list(supervise(pool, plan, find_no_room))
    assert not any(outcome.defect for outcome in outcomes)
    assert outcomes[0].snapshot_failures[0].message.startswith("[ENOSPC]")


def refuse_to_start() -> None:
    raise MemoryError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_executor_of_the_caller_fails_the_remaining_runs(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tasks=2, runs=4)
    with (
        ThreadPoolExecutor(1, initializer=refuse_to_start) as given,
        closing(WorkerPool(2, executor=given)) as pool,
    ):
        outcomes = list(supervise(pool, plan, persist_unless_poisoned))
    assert set(sides(outcomes, plan).values()) == {(Side.FAILED, Side.FAILED)}
    assert {failure.message for failure in outcomes[0].snapshot_failures.values()} == {"the executor broke"}


def die_with_the_lock(job: ShardJob, layout: Layout, marker: str) -> ShardOutcome:
    """The first worker to come here dies with its task's lock and gate, as one out of memory may."""
    outcome = empty_outcome(job.shard)
    refs = job.rows()
    for row in range(len(refs)):
        task_id = refs.keys(row).task_id
        lock = TaskLock(layout, task_id, LockPolicy(attempts=1))
        try:
            lock.acquire()
        except TaskStateLockError:
            outcome.snapshot[row] = Side.LOCKED
            continue
        if task_id == "t1" and not os.path.exists(marker):
            Path(marker).touch()
            os.link(layout.task_lock("t1"), layout.task_lock_gate("t1"))
            os.kill(os.getpid(), signal.SIGKILL)
        lock.release()
        outcome.snapshot[row] = outcome.manifest[row] = PERSISTED
    return outcome


def test_a_dead_worker_s_locks_are_cleared_and_no_others(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    os.makedirs(layout.runs_dir)
    plan = plan_with(tmp_path, tasks=4, runs=40)
    script = partial(die_with_the_lock, layout=layout, marker=str(tmp_path / "died"))
    with TaskLock(layout, "t2"), closing(WorkerPool(2, pool_runs=0)) as pool:
        supervisor = supervise(pool, plan, script, layout=layout)
        found = sides(supervisor, plan)
        assert "t2.lock" in os.listdir(layout.runs_dir)
    tasks = dict(zip(plan.rows["run_id"].to_pylist(), plan.rows["task_id"].to_pylist(), strict=True))
    locked = {run_id for run_id, (snapshot, _) in found.items() if snapshot is Side.LOCKED}
    assert (tmp_path / "died").exists()
    assert locked == {run_id for run_id, task_id in tasks.items() if task_id == "t2"}
    assert not [name for name in os.listdir(layout.runs_dir) if ".lock" in name]
