"""Sweeps: a fault at each of many points of a batch, and the check of what it left."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from faultpoints import CHANGES, CLOSES, FAIL, KILL_PROCESS, READS, Answer, Command
from world import World, is_lock

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EMFILE", "EDQUOT")
ALL_CALLS = CHANGES | READS | CLOSES


@dataclass
class Sweep:
    """The points of a sweep, and the violations that it found."""

    points: int = 0
    violations: list[str] = field(default_factory=list)
    leftovers: set[str] = field(default_factory=set)
    """Files of killed processes; the rerun may leave them."""

    def note(self, place: str, answer: Answer, problems: Iterable[str]) -> None:
        self.points += 1
        self.violations += [f"{place} ({answer.what}): {problem}" for problem in problems]


def calls_of(command: Command, world: World, *words: object, classes: int = CHANGES) -> int:
    """The number of calls of an undisturbed batch, whose trees must equal those of the model."""
    world.reset()
    answer = command.run(*world.words, *words, classes=classes)
    assert world.violations(answer) + world.finish(answer) == []
    assert answer.calls > 50
    return answer.calls


def kill_at_calls(
    command: Command,
    world: World,
    words: list[object],
    points: Iterable[int],
    action: int,
    *,
    rerun: int = 1,
    again: list[object] | None = None,
) -> Sweep:
    """Kill at the n-th call for each of ``points``; rerun after each ``rerun``-th, as ``again``."""
    sweep = Sweep()
    for at in points:
        world.reset()
        answer = command.run(*world.words, *words, at=at, action=action)
        problems = world.violations(answer)
        # A pool's calls vary from run to run: the last points may lie behind its end.
        if not answer.fired:
            problems += [] if answer.code == 0 else [f"exit {answer.code}"]
        elif action != KILL_PROCESS and answer.code >= 0:
            problems.append(f"it was not killed: exit {answer.code}")
        if at % rerun == 0:
            problems += _finish(command, world, again or words, sweep)
        sweep.note(f"call {at}", answer, problems)
    return sweep


def kill_at_moments(
    command: Command, world: World, words: list[object], rounds: int, seconds: float, victim: str
) -> Sweep:
    """Send SIGKILL to the whole group or to one of its processes, within ``seconds`` of the start."""
    sweep, chance = Sweep(), random.Random(0)
    for number in range(rounds):
        world.reset()
        kill = {"after": chance.random() * seconds, "victim": victim, "seed": number}
        answer = command.run(*world.words, *words, kill=kill)
        problems = world.violations(answer)
        if answer.code not in (0, 3, -9):
            problems.append(f"exit {answer.code}: {answer.stderr.strip()}")
        problems += _finish(command, world, words, sweep)
        sweep.note(f"round {number} after {kill['after']:.3f} s", answer, problems)
    return sweep


def _finish(command: Command, world: World, words: list[object], sweep: Sweep) -> list[str]:
    """Rerun. The lock of a dead process must stop neither the rerun nor a later batch."""
    sweep.leftovers.update(world.leftovers())
    world.age_locks()
    answer = command.run(*world.words, *words)
    problems = world.violations(answer) + world.finish(answer)
    if any(map(is_lock, world.leftovers())):
        answer = command.run(*world.words, *words, "--force")
        problems += world.violations(answer) + world.finish(answer)
        problems += [f"lock never cleared: {name}" for name in world.leftovers() if is_lock(name)]
    return problems


def fail_calls(
    command: Command,
    world: World,
    words: list[object],
    points: Iterable[tuple[int, str]],
    *,
    action: int = FAIL,
    classes: int = ALL_CALLS,
    strict: bool = True,
) -> Sweep:
    """Let the n-th call fail with an error, for each of ``points``; then rerun without faults.

    ``strict=False``: calls that clean up may fail as well.
    """
    sweep = Sweep()
    for at, name in points:
        world.reset()
        error = getattr(errno, name)
        answer = command.run(*world.words, *words, at=at, action=action, error=error, classes=classes)
        problems = world.violations(answer) + unreported_error(answer, name)
        if not answer.fired:
            problems.append("the fault did not fire")
        # A process that lives cleans up, unless the call itself cleans up, or reads the owner of a lock.
        if strict and not answer.what.startswith("unlink") and not is_lock(answer.what):
            problems += [f"left: {leftover}" for leftover in world.leftovers()]
        problems += _finish(command, world, words, sweep)
        sweep.note(f"{name} at call {at}", answer, problems)
    return sweep


def unreported_error(answer: Answer, name: str) -> list[str]:
    """Why the end of a batch hides an error of this name; empty: it does not.

    Either nothing depended on the call, or a run failed with that error (exit 3), or the batch stopped
    (exit 1) with one line that names it.
    """
    if answer.code == 0:
        return []
    if answer.code == 3:
        messages = [str(event["message"]) for event in answer.events if event["message_type"] == "error"]
        return [] if any(f"[{name}]" in message for message in messages) else [f"unreported: {messages}"]
    lines = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]  # beside warnings
    if answer.code == 1 and len(lines) == 1 and f"[{name}]" in lines[0]:
        return []
    return [f"exit {answer.code}: {lines}"]
