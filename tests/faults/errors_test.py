"""An error of the system at each call: it is reported by its name, nothing is lost, a rerun finishes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from faultpoints import CHANGES, FAIL, FAIL_FROM, READS, Command
from sweeps import ALL_CALLS, ERRORS, Sweep, calls_of, fail_calls, unreported_error
from world import World

Tally = Callable[[str, int], None]
Tool = Callable[[str], str]

SERIAL: list[object] = ["-j", 1]
POOL: list[object] = ["-j", 2, "--pool-threshold", 0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("errors"))


def one_by_one(calls: int, full: bool, step: int) -> Iterable[tuple[int, str]]:
    """Points: each error at each call, or the next error at every ``step``-th call."""
    if full:
        return [(at, name) for at in range(1, calls + 1) for name in ERRORS]
    return [(at, ERRORS[at // step % len(ERRORS)]) for at in range(1, calls + 1, step)]


def test_error_at_each_call_is_reported_and_nothing_is_lost(
    command: Command, world: World, full: bool, tally: Tally
) -> None:
    calls = calls_of(command, world, *SERIAL, classes=ALL_CALLS)
    sweep = fail_calls(command, world, SERIAL, one_by_one(calls, full, 13))
    tally("an error at a call, in process", sweep.points)
    assert sweep.violations == []


def test_root_that_cannot_be_opened_for_its_sync_is_reported(command: Command, world: World) -> None:
    for at in range(1, 200):
        world.reset()
        answer = command.run(*world.words, *SERIAL, at=at, action=FAIL, error=errno.EMFILE, classes=READS)
        if answer.what == "open out":
            break
    assert answer.what == "open out"
    assert unreported_error(answer, "EMFILE") == []


def test_error_at_calls_in_a_pool_is_reported_and_nothing_is_lost(
    command: Command, world: World, full: bool, tally: Tally
) -> None:
    calls = calls_of(command, world, *POOL, classes=ALL_CALLS)
    points = [(at, ERRORS[at % len(ERRORS)]) for at in range(13, calls + 1, 1 if full else 139)]
    sweep = fail_calls(command, world, POOL, points)
    tally("an error at a call, pool", sweep.points)
    assert sweep.violations == []


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EROFS"])
def test_errors_from_a_call_on_are_reported_and_nothing_is_lost(
    command: Command, world: World, full: bool, tally: Tally, name: str
) -> None:
    calls = calls_of(command, world, *SERIAL)
    points = [(at, name) for at in range(1, calls + 1, 1 if full else 47)]
    sweep = fail_calls(command, world, SERIAL, points, action=FAIL_FROM, classes=CHANGES, strict=False)
    tally("errors from a call on", sweep.points)
    assert sweep.violations == []


def test_control_swallowed_errors_are_found(library: Path, world: World) -> None:
    with Command(library, world.root.parent, world.root, "forgetful") as broken:
        calls = calls_of(broken, world, *SERIAL)
        sweep = fail_calls(
            broken, world, SERIAL, [(at, "EIO") for at in range(calls // 2, calls, 5)], classes=CHANGES
        )
    assert any("reported but not there" in violation for violation in sweep.violations)


@pytest.fixture(scope="module")
def small_disk(
    command: Command, tmp_path_factory: pytest.TempPathFactory, full: bool, root_user: None, tool: Tool
) -> Sweep:
    """Batches on a file system with a few KiB to spare, and reruns once it has been enlarged."""
    world = World(tmp_path_factory.mktemp("disk"))
    world.root.mkdir()
    mount, umount = tool("mount"), tool("umount")

    def resize(size: str, *options: str) -> None:
        options = (f"size={size}", *options)
        subprocess.run([mount, "-t", "tmpfs", "-o", ",".join(options), "none", world.root], check=True)

    sweep = Sweep()
    resize("1m")
    try:
        world.fill()
        used = (os.statvfs(world.root).f_blocks - os.statvfs(world.root).f_bfree) * 4
        for spare in range(0, 120, 4 if full else 16):
            resize("1m", "remount")
            world.fill()
            resize(f"{used + spare}k", "remount")
            answer = command.run(*world.words, *SERIAL)
            problems = world.violations(answer) + unreported_error(answer, "ENOSPC")
            resize("1m", "remount")
            world.age_locks()
            again = command.run(*world.words, *SERIAL)
            problems += world.violations(again) + world.finish(again)
            if answer.code != 0:
                sweep.note(f"{spare} KiB to spare", answer, problems)
    finally:
        subprocess.run([umount, "--lazy", world.root], check=True)
    return sweep


def test_full_disk_loses_nothing(small_disk: Sweep, tally: Tally) -> None:
    tally("a disk that fills up", small_disk.points)
    assert small_disk.points > 3
    assert small_disk.violations == []
