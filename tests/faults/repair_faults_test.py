"""A repair that is killed, or meets an error, at a change of a file: no run is lost, and a rerun finishes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from faultpoints import CHANGES, FAIL, KILL_GROUP, Answer, Command
from support.drift import DRIFTS, TASKS, Tree, parsable_runs, remaining_differences, slow_audit

Tally = Callable[[str, int], None]
Runs = dict[tuple[str, str], list[object]]


class World:
    """A tree with many differences; ``reset`` restores it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "world"
        tasks = {drift.__name__: drift for drift in DRIFTS}
        self._before = Tree(base / "before").fill(tasks=[*TASKS, *tasks])
        for task, drift in tasks.items():
            drift(self._before, task, 1, 577)
        for drift in ("delete_manifest", "delete_entry", "change_manifest", "swap_entries"):
            tasks[drift](self._before, "mail", 2, 579)
        self.tree = Tree(self.root)

    def reset(self) -> Runs:
        """Restore the tree; returns its runs."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._before.root, self.root)
        for lock in self.tree.runs.glob("*.lock*"):
            os.utime(lock, (0, 0))
        return parsable_runs(self.tree)

    @property
    def words(self) -> list[object]:
        roots = ["--out-dir", self.tree.out, "--runs-dir", self.tree.runs]
        return ["--yes", "--prefer", "manifest", "--pause", 0, *roots, "--json", "--progress", "none"]

    def lost(self, before: Runs) -> list[str]:
        """Runs that are missing now, or have none of the texts that they had."""
        now = parsable_runs(self.tree)
        gone = [key for key, texts in before.items() if not any(text in texts for text in now.get(key, []))]
        return [f"lost: {key}" for key in gone]

    def finish(self, command: Command, before: Runs) -> list[str]:
        for lock in self.tree.runs.glob("*.lock*"):
            os.utime(lock, (0, 0))
        answer = command.run(*self.words, "-j", 1, command="repair")
        left = remaining_differences(self.tree)
        found = [f"rerun: exit {answer.code}: {answer.stderr} {answer.stdout}"] if answer.code else []
        return found + [f"rerun: left {item}" for item in sorted(left)] + self.lost(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("repair"))


def sweep(
    world: World, command: Command, points: Iterable[int], check: Callable[[Answer], list[str]], **how: int
) -> list[str]:
    violations = []
    for at in points:
        before = world.reset()
        answer = command.run(*world.words, "-j", 1, at=at, command="repair", **how)  # type: ignore[arg-type]
        problems = check(answer) + world.lost(before) + world.finish(command, before)
        violations += [f"call {at} ({answer.what}): {problem}" for problem in problems]
    return violations


def calls_of(world: World, command: Command) -> int:
    before = world.reset()
    assert len({kind for kind, _, _ in slow_audit(world.tree)[0]}) > 8
    answer = command.run(*world.words, "-j", 1, classes=CHANGES, command="repair")
    assert (answer.code, remaining_differences(world.tree), world.lost(before)) == (0, set(), []), answer
    assert answer.calls > 80
    return answer.calls


def test_repair_killed_at_each_call_loses_nothing(
    world: World, command: Command, full: bool, tally: Tally
) -> None:
    points = range(1, calls_of(world, command) + 1, 1 if full else 17)

    def check(answer: Answer) -> list[str]:
        return [] if answer.code < 0 else [f"it was not killed: exit {answer.code}"]

    assert sweep(world, command, points, check, action=KILL_GROUP) == []
    tally("repair: kill at a call", len(points))


def test_repair_that_meets_an_error_at_a_call_loses_nothing(
    world: World, command: Command, full: bool, tally: Tally
) -> None:
    points = range(1, calls_of(world, command) + 1, 1 if full else 60)

    def check(answer: Answer) -> list[str]:
        problems = [] if answer.fired else ["the fault did not fire"]
        return problems + ([] if answer.code in (0, 1, 3) else [f"exit {answer.code}: {answer.stderr}"])

    for error in (errno.ENOSPC, errno.EIO):
        assert sweep(world, command, points, check, action=FAIL, error=error) == []
    tally("repair: an error at a call", 2 * len(points))
