"""Errors of the system at every call: each is an outcome by its name, or one clear line; nothing is lost, a rerun finishes."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from faultpoints import CHANGES, FAIL_FROM, Command, build
from sweeps import ALL_CALLS, ERRORS, Sweep, calls_of, fail_calls, told
from world import World

Tally = Callable[[str, int], None]

SERIAL: list[object] = ["-j", 1]
POOL: list[object] = ["-j", 2, "--pool-threshold", 0]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Path:
    return build(tmp_path_factory.mktemp("shim"), tool("gcc"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("errors"))


@pytest.fixture(scope="module")
def command(library: Path, world: World) -> Iterator[Command]:
    with Command(library, world.root.parent, world.root) as command:
        yield command


def of_the_batch(violation: str) -> bool:
    """Whether the call was for the batch itself: its lock and folder, its roots, its metrics."""
    call = violation.partition("(")[2].partition(")")[0]
    path = call.partition(" ")[2]
    return path.startswith(("runs/.batchpersist/ba", "out/metrics.json")) or path in (
        "out",
        "runs",
        "runs/.batchpersist",
    )


def one_by_one(calls: int, full: bool, step: int) -> Iterable[tuple[int, str]]:
    """Every error at every call, or at every ``step``-th call the next error."""
    if full:
        return [(at, name) for at in range(1, calls + 1) for name in ERRORS]
    return [(at, ERRORS[at // step % len(ERRORS)]) for at in range(1, calls + 1, step)]


@pytest.fixture(scope="module")
def in_process(command: Command, world: World, full: bool) -> Sweep:
    calls = calls_of(command, world, *SERIAL, classes=ALL_CALLS)
    return fail_calls(command, world, SERIAL, one_by_one(calls, full, 7))


def test_an_error_at_every_call_for_a_run(in_process: Sweep, tally: Tally) -> None:
    tally("an error at a call, in process", in_process.points)
    assert [text for text in in_process.violations if not of_the_batch(text)] == []


@pytest.mark.xfail(strict=True, reason="an OSError of the batch's lock, folder or metrics is a traceback")
def test_an_error_at_every_call_for_the_batch(in_process: Sweep) -> None:
    assert [text for text in in_process.violations if of_the_batch(text)] == []


def test_an_error_at_calls_in_a_pool(command: Command, world: World, full: bool, tally: Tally) -> None:
    calls = calls_of(command, world, *POOL, classes=ALL_CALLS)
    points = [(at, ERRORS[at % len(ERRORS)]) for at in range(13, calls + 1, 1 if full else 67)]
    sweep = fail_calls(command, world, POOL, points)
    tally("an error at a call, pool", sweep.points)
    assert [text for text in sweep.violations if not of_the_batch(text)] == []


@pytest.mark.xfail(strict=True, reason="an OSError of the batch's lock, folder or metrics is a traceback")
@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EROFS"])
def test_errors_from_one_call_on(command: Command, world: World, full: bool, tally: Tally, name: str) -> None:
    calls = calls_of(command, world, *SERIAL)
    points = [(at, name) for at in range(1, calls + 1, 1 if full else 31)]
    sweep = fail_calls(command, world, SERIAL, points, action=FAIL_FROM, classes=CHANGES, strict=False)
    tally("errors from a call on", sweep.points)
    assert sweep.violations == []


def test_the_same_sweep_finds_a_batch_that_swallows_errors(library: Path, world: World) -> None:
    with Command(library, world.root.parent, world.root, "forgetful") as broken:
        calls = calls_of(broken, world, *SERIAL)
        sweep = fail_calls(
            broken, world, SERIAL, [(at, "EIO") for at in range(calls // 2, calls, 5)], classes=CHANGES
        )
    assert any("reported but not there" in violation for violation in sweep.violations)


@pytest.fixture
def small_disk(world: World, root_user: None, tool: Callable[[str], str]) -> Iterator[Callable[[str], None]]:
    """Puts a file system of a given size under the world; called again, it gives it another."""
    mount, umount = tool("mount"), tool("umount")
    world.reset()
    mounted = False

    def resize(options: str) -> None:
        nonlocal mounted
        more = f"remount,{options}" if mounted else options
        subprocess.run([mount, "-t", "tmpfs", "-o", more, "none", world.root], check=True)
        mounted = True

    yield resize
    if mounted:
        subprocess.run([umount, "--lazy", world.root], check=True)


@pytest.mark.xfail(strict=True, reason="where the metrics find no room there is a traceback")
def test_a_disk_that_really_fills_up(
    command: Command, world: World, full: bool, tally: Tally, small_disk: Callable[[str], None]
) -> None:
    small_disk("size=1m,nr_inodes=1000")
    world.fill()
    used = int(subprocess.check_output(["df", "--output=used", "-k", world.root]).split()[-1])
    problems: list[str] = []
    points = 0
    for spare in range(0, 120, 4 if full else 16):
        small_disk("size=1m,nr_inodes=1000")
        world.fill()
        small_disk(f"size={used + spare}k")
        answer = command.run(*world.words, *SERIAL)
        found = world.violations(answer) + told(answer, errno.errorcode[errno.ENOSPC])
        full_at_all = answer.code != 0
        small_disk("size=1m")
        world.age_locks()
        again = command.run(*world.words, *SERIAL)
        found += world.violations(again) + world.finish(again)
        problems += [f"{spare} KiB to spare: {problem}" for problem in found]
        points += full_at_all
    tally("a disk that fills up", points)
    assert points > 3
    assert problems == []
