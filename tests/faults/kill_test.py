"""SIGKILL at each call that changes a file, and at any moment: nothing is lost, and a rerun finishes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faultpoints import KILL_GROUP, KILL_PROCESS, READS, Answer, Command
from sweeps import Sweep, calls_of, kill_at_calls, kill_at_moments
from world import World, is_lock

Tally = Callable[[str, int], None]

IN_PROCESS: list[object] = ["-j", 1]
POOL: list[object] = ["-j", 2, "--pool-threshold", 0, "--lock-attempts", 2]
OPTION_SETS = [
    ["--commit", commit, "--pair", pair, "--durability", durability]
    for commit in ("task", "run")
    for pair in ("concurrent", "sequential")
    for durability in ("batch", "file", "none")
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("kill"))


def check(sweep: Sweep, tally: Tally, what: str) -> None:
    tally(what, sweep.points)
    assert sweep.violations == []
    assert [name for name in sweep.leftovers if ".tmp-" not in name and not is_lock(name)] == []


def test_process_killed_at_each_call_loses_nothing(
    command: Command, world: World, full: bool, tally: Tally
) -> None:
    for options in OPTION_SETS if full else OPTION_SETS[:1]:
        calls = calls_of(command, world, *IN_PROCESS, *options)
        words = IN_PROCESS + options
        sweep = kill_at_calls(command, world, words, range(1, calls + 1), KILL_GROUP, rerun=1 if full else 10)
        check(sweep, tally, "kill at a call, in process")


@pytest.mark.parametrize("action", [KILL_GROUP, KILL_PROCESS])
def test_pool_killed_at_each_call_loses_nothing(
    command: Command, world: World, full: bool, tally: Tally, action: int
) -> None:
    for commit in ("task", "run") if full else ("task",):
        words = [*POOL, "--commit", commit]
        calls = calls_of(command, world, *words)
        points = range(1, calls + 1, 1 if full else 71)
        sweep = kill_at_calls(command, world, words, points, action, again=IN_PROCESS)
        check(sweep, tally, "kill at a call, pool, " + ("all" if action == KILL_GROUP else "the process"))


def test_process_killed_at_any_moment_loses_nothing(
    command: Command, world: World, full: bool, tally: Tally
) -> None:
    sweep = kill_at_moments(command, world, IN_PROCESS, 1000 if full else 10, 0.05, "group")
    check(sweep, tally, "kill at a moment, in process")


@pytest.mark.parametrize("victim", ["group", "process"])
def test_pool_killed_at_any_moment_loses_nothing(
    command: Command, world: World, full: bool, tally: Tally, victim: str
) -> None:
    sweep = kill_at_moments(command, world, POOL, 250 if full else 2, 0.6, victim)
    check(sweep, tally, f"kill at a moment, pool, {victim}")


def assert_finished(answer: Answer, world: World) -> None:
    """The batch has lost a process, and has still persisted everything."""
    assert answer.code == 0, answer.stderr
    assert world.violations(answer) + world.finish(answer) == []


def test_worker_killed_during_the_scan_is_replaced(command: Command, world: World) -> None:
    for at in range(1, 10):  # the first reads are those of the cache
        world.reset()
        answer = command.run(*world.words, *POOL, at=at, action=KILL_PROCESS, classes=READS)
        if answer.what == "open source.jsonl":
            break
    assert answer.what == "open source.jsonl"
    assert_finished(answer, world)


@pytest.mark.parametrize("after", [0, 0.02, 0.05])  # a batch of so few runs ends soon after
def test_killed_fork_server_is_replaced(command: Command, world: World, after: float) -> None:
    world.reset()
    kill = {"after": after, "victim": "multiprocessing.forkserver"}
    answer = command.run(*world.words, *POOL, kill=kill)
    assert answer.killed
    assert_finished(answer, world)


def test_control_killed_writes_in_place_are_found(library: Path, world: World) -> None:
    with Command(library, world.root.parent, world.root, "in-place") as broken:
        calls = calls_of(broken, world, *IN_PROCESS)
        # Not a step of 3: a manifest is made by three calls, and it would always be the same one of them. Nor
        # a long one: there are few snapshots.
        points = range(calls // 5, calls, 2)
        sweep = kill_at_calls(broken, world, IN_PROCESS, points, KILL_GROUP, rerun=1000)
    assert any("not a version of this run" in violation for violation in sweep.violations)
    assert any("runs.json: does not parse" in violation for violation in sweep.violations)
