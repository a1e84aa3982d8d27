"""The members of a made-up run after its keys, for ``generate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

RUN_ID = b"@RUN-ID@"
"""Stands in a sample where the run's own id belongs."""

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
