"""Synthetic completed runs for trials and measurements: the same bytes for the same seed."""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from random import Random
from typing import Any, TypeVar

from .timestamps import utc_text

RUN_ID = b"@RUN-ID@"
"""In a sample, the place of the run's own id."""

T = TypeVar("T")

_WORDS = """
    build cache checks client commit config coverage deploy docs error export fixture flag flow guard handle
    index input latency lint lock logs merge metrics module page parser patch pipeline plan policy prompt
    query queue record refactor release report retry review route scan schema sections sidebar state stream
    summary task test token update upload validate vendor verify worker
    größer Prüfung déployé 検証 データ проверка 🚀 →
""".split()  # noqa: SIM905

_REVIEW = "Approved: scope is small, checks are green."


def sample_members(random: Random, size: int) -> bytes:
    """``"mode":...}``: compact JSON as ``JSON.stringify(value)`` writes it, about ``size`` bytes long.

    Never shorter than the members that every run has.
    """
    sample = _Sample(random)
    run = sample.run()
    while (missing := size - len(_text(run))) > 300:
        run["toolRuns"].append(sample.tool_run(min(missing - 200, 600)))
    if missing > 0:
        run["plan"]["notes"] += sample.prose(missing)
    return _text(run)[1:]


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class _Sample:
    def __init__(self, random: Random) -> None:
        self._random = random.random

    def run(self) -> dict[str, Any]:
        """The usual fields, in their usual order."""
        passed = self._random() < 0.9
        build, test = f"subtask-{self._below(900):03d}-build", f"subtask-{self._below(900):03d}-test"
        run_id = RUN_ID.decode()
        mode = self._pick(("mcp", "cloud"))
        return {
            "mode": mode,
            "plan": {"items": [{"id": build, "description": self.prose(60)}], "notes": ""},
            "build": {
                "subtaskId": build,
                "artifacts": [
                    {"path": f"src/{self._word()}/{self._word()}.ts", "description": self.prose(40)}
                ],
                "mode": mode,
                "runId": run_id,
                "success": True,
                "notes": self.prose(50),
            },
            "test": {
                "subtaskId": test,
                "success": passed,
                "reports": [{"name": "unit", "status": "passed" if passed else "failed", "details": ""}],
                "runId": run_id,
            },
            "review": {
                "summary": self.prose(50),
                "decision": {"approved": passed, "feedback": _REVIEW if passed else self.prose(60)},
            },
            "toolRuns": [],
            "privacy": self._privacy(),
        }

    def tool_run(self, size: int) -> dict[str, Any]:
        return {
            "id": f"tool-{self._below(1_000_000):06d}",
            "tool": self._pick(("apply_patch", "shell", "search", "browser")),
            "durationMs": self._below(90_000),
            "cost": self._below(1000) / 1000,
            "retried": self._random() < 0.1,
            "error": None,
            "output": f'{self._word()} "{self._word()}"\n{self.prose(size)}',
        }

    def _privacy(self) -> dict[str, Any]:
        total, redacted = 100 + self._below(900), self._below(50)
        return {
            "mode": "enforce",
            "totalFrames": total,
            "redactedFrames": redacted,
            "blockedFrames": 0,
            "allowedFrames": total - redacted,
        }

    def prose(self, size: int) -> str:
        """Words of about ``size`` bytes."""
        words: list[str] = []
        while size > 0:
            words.append(self._word())
            size -= len(words[-1].encode()) + 1
        return " ".join(words)

    def _word(self) -> str:
        return self._pick(_WORDS)

    def _pick(self, items: Sequence[T]) -> T:
        return items[self._below(len(items))]

    def _below(self, bound: int) -> int:
        return int(self._random() * bound)


TEMPLATES = 64
"""Different bodies; runs share them, so that a million runs are made in seconds."""

_FIRST_RUN = datetime(2025, 1, 1, tzinfo=timezone.utc)
_STEP = timedelta(seconds=7)
_EVENT_SHARE = 0.03
_LATE_SHARE = 0.05
"""Of runs that completed up to six hours before those around them."""


def generate(
    runs: int, tasks: int, *, skew: float, invalid: float, seed: int, size: int = 2500
) -> Iterator[bytes]:
    """Yield ``runs`` lines of JSON, newline included: completed runs as docs/formats.md has them.

    ``tasks``: how many tasks they belong to. ``skew``: Zipf's exponent: the k-th task gets a
    share of runs in proportion to 1/k**skew; 0 makes all alike, at 3 the first has most of
    the runs. ``invalid``: the share (0 to 1) of lines that are broken in one of several ways.
    ``size``: the mean of bytes a run, about. A few runs come wrapped as events.
    """
    # Of all that Python's generator offers, only random() is promised never to change.
    random = Random(seed)
    templates = _templates(random, size)
    shares = list(accumulate((task + 1) ** -skew for task in range(tasks)))
    for number in range(runs):
        task = bisect(shares, random.random() * shares[-1], hi=tasks - 1)
        run_id = f"run-{number + 1:07d}-{int(random.random() * 0x1000000):06x}"
        head = _head(f"task-{task + 1:05d}", run_id, _timestamp(number, random))
        members = run_id.encode().join(templates[int(random.random() * TEMPLATES)])
        if random.random() < invalid:
            yield _broken(head, members, random) + b"\n"
        elif random.random() < _EVENT_SHARE:
            yield b'{"type":"run:completed","payload":%b%b}\n' % (head, members)
        else:
            yield head + members + b"\n"


def _templates(random: Random, size: int) -> list[list[bytes]]:
    """Bodies cut where the run's id belongs; sizes from half to one and a half of ``size``."""
    head = len(_head("task-00001", "run-0000001-000000", _timestamp(0, random)))
    return [
        sample_members(random, int(size * (0.5 + (index + 0.5) / TEMPLATES)) - head).split(RUN_ID)
        for index in range(TEMPLATES)
    ]


def _head(task_id: str, run_id: str, timestamp: str) -> bytes:
    return f'{{"taskId":"{task_id}","runId":"{run_id}","timestamp":"{timestamp}",'.encode()


def _timestamp(number: int, random: Random) -> str:
    """Mostly ascending, as JavaScript's ``toISOString`` writes it."""
    late = timedelta(hours=6) * random.random() if random.random() < _LATE_SHARE else timedelta()
    moment = _FIRST_RUN + _STEP * (number + random.random()) - late
    return utc_text(moment)


def _broken(head: bytes, members: bytes, random: Random) -> bytes:
    """A line that is no completed run, in one of the ways in which real ones are not."""
    run = head + members
    ways = (
        run[: int(len(run) * (0.1 + 0.8 * random.random()))],  # the writer died
        head.replace(b'"timestamp"', b'"finished"') + members,
        head.replace(b'"timestamp":"', b'"timestamp":17,"at":"') + members,
        head.replace(b'"taskId":"', b'"taskId":"../') + members,
        head.replace(b'"runId":"', b'"runId":"a:b/') + members,
        head + b'"score":NaN,' + members,
        head + b'"note":"\xff\xfe",' + members,
        b"[" + run + b"]",
        b"Error: connect ECONNREFUSED 127.0.0.1:443",
    )
    return ways[int(random.random() * len(ways))]
