"""Random tasks, with existing files and new runs, for two programs to compare."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from support.json_spelling import Number, spell, spell_string

from batchpersist.contract.json_text import lay_out

Value = object
"""As ``json_spelling.spell`` takes it: an object is a tuple of pairs, whose names may repeat."""

TASK_NAMES = ["task", "tâche", "a b", "名前", "0", "O'Neil", "x.y", "Task"]
RUN_NAMES = [*(f"run-{number}" for number in range(6)), "10", "2", "é", "e\u0301", "a b", "\U0001f600"]
NAMES = [
    "a",
    "b",
    "note",
    "",
    "0",
    "1",
    "2",
    "10",
    "01",
    "-1",
    "1.0",
    "4294967294",
    "4294967295",
    "__proto__",
]
NAMES += ['q"\\', "é", "\n", "\ud800", "toString", "length", "runs"]
STRINGS = [
    "",
    "plain",
    'q"\\/',
    "\b\f\n\r\t\0\x1f",
    "é\u2028\U0001f600",
    "\ud800",
    "1.0",
    ' "1": 1.50,',
    "],",
]
NUMBERS = [
    "0",
    "1",
    "-1",
    "1.0",
    "-0",
    "-0.0",
    "0e0",
    "0.10",
    "1E5",
    "1e+05",
    "1e-07",
    "100e-2",
    "0.5",
    "3.25",
]
NUMBERS += [
    "1e21",
    "1e20",
    "123456789012345680000",
    "0.000001",
    "0.0000001",
    "5e-324",
    "1.7976931348623157e308",
]
NUMBERS += ["9007199254740991", "9007199254740992", "0.30000000000000004", "1764599999123456", "2.50"]
LOSSY = ["9007199254740993", "12345678901234567890", "0.1000000000000000055", "1e400", "-1e-400", "3e-324"]


@dataclass
class Task:
    """One task of a world."""

    task_id: str
    before: dict[str, bytes] = field(default_factory=dict)
    """The files of its folder in the out-dir, by name."""
    lines: list[str] = field(default_factory=list)
    """The lines of a log, in order."""
    stays: bool = False
    """Whether its snapshot must stay as it is: one of the documented differences."""
    further: bytes = b""
    """Members of its snapshot that are kept: another documented difference."""


class Worlds:
    """Makes tasks; the same seed makes the same tasks."""

    def __init__(self, seed: int, *, lossy: bool = True) -> None:
        """``lossy``: with numbers that a double does not hold."""
        self._random = random.Random(seed)
        self._numbers = [*NUMBERS, *LOSSY] if lossy else NUMBERS

    def tasks(self, count: int) -> list[Task]:
        return [self._task(f"{self._random.choice(TASK_NAMES)}-{number}") for number in range(count)]

    def log(self, tasks: list[Task]) -> list[str]:
        """The lines of all tasks, mixed, those of each in their order."""
        order = [task for task in tasks for _ in task.lines]
        self._random.shuffle(order)
        rest = {task.task_id: iter(task.lines) for task in tasks}
        return [next(rest[task.task_id]) for task in order]

    def _task(self, task_id: str) -> Task:
        task = Task(task_id)
        times = self._times()
        self._add_history(task, times)
        for _ in range(self._random.choice([1, 1, 2, 3, 5, 9])):
            task.lines.append(self._line(self._run(task_id, times)))
        return task

    def _times(self) -> Callable[[], str]:
        """The form of the task's timestamps."""
        choose = self._random.choice
        kinds: list[Callable[[], str]] = [
            lambda: (
                f"2026-01-{choose('123'):0>2}T04:05:0{choose('0123456789')}.{choose(['000', '5', '789'])}Z"
            ),
            lambda: f"2026-01-3{choose('01')}T04:0{choose('0123456789')}:06.789Z",
            lambda: choose("1234"),
            lambda: (
                f"2026-01-05{choose('Tt ')}09:00:00{choose(['', '.5', '.500', ',5'])}"
                f"{choose(['Z', 'z', '', '+00:00', '-01:00'])}"
            ),
            lambda: "".join(choose("aAbB_-:.+0 \0\x7f~$") for _ in range(choose([0, 1, 2, 3]))),
        ]
        return choose(kinds)

    def _run(self, task_id: str, times: Callable[[], str]) -> Value:
        members: list[tuple[str, Value]] = [
            ("taskId", task_id),
            ("runId", self._random.choice(RUN_NAMES)),
            ("timestamp", times()),
        ]
        if self._random.random() < 0.3:
            self._random.shuffle(members)
        for _ in range(self._random.choice([0, 1, 2, 4])):
            member = (self._random.choice(NAMES), self._value(3))
            members.insert(self._random.randrange(len(members) + 1), member)
        if self._random.random() < 0.1:  # the last one counts
            members.insert(0, (self._random.choice(["taskId", "runId", "timestamp"]), self._value(1)))
        return tuple(members)

    def _value(self, depth: int) -> Value:
        kind = self._random.randrange(8 if depth else 6)
        if kind < 3:
            return Number(self._random.choice(self._numbers))
        if kind == 3:
            return self._random.choice([None, True, False])
        if kind < 6:
            return self._random.choice(STRINGS)
        size = self._random.choice([0, 1, 2, 3])
        if kind == 6:
            return [self._value(depth - 1) for _ in range(size)]
        return tuple((self._random.choice(NAMES), self._value(depth - 1)) for _ in range(size))

    def _spell(self, value: Value) -> str:
        """The text on one line."""
        return spell(value, self._random).replace("\n", " ").replace("\r", " ").strip()

    def _line(self, run: Value) -> str:
        kind = self._random.random()
        if kind < 0.8:
            return self._spell(run)
        if kind < 0.95:
            return self._spell((("type", "run:completed"), ("at", Number("1.0")), ("payload", run)))
        return self._spell((("type", "run:started"), ("payload", run)))

    def _add_history(self, task: Task, times: Callable[[], str]) -> None:
        kind = self._random.random()
        if kind < 0.3:
            return
        runs = [self._run(task.task_id, times) for _ in range(self._random.choice([0, 1, 2, 3, 4, 8]))]
        if self._random.random() < 0.4:
            runs.sort(key=lambda run: dict(run)["timestamp"])  # type: ignore[call-overload]
        name = self._random.choice(["runs.json", "runs.json", "state.json"])
        members: list[tuple[str, Value]] = [("taskId", task.task_id), ("lastRunAt", "any"), ("runs", runs)]
        if kind > 0.95:
            self._spoil(members, task)
        if self._random.random() < 0.15:
            members.append(("more", "kept"))
            if name == "runs.json":
                task.further = b',\n  "more": "kept"'
        if self._random.random() < 0.2:
            self._random.shuffle(members)
        text = self._spell(tuple(members)).encode()
        if self._random.random() < 0.6:
            text = lay_out(text)
        task.before[name] = text
        if name == "state.json":
            self._make_other_state(task)

    def _spoil(self, members: list[tuple[str, Value]], task: Task) -> None:
        """An entry without a key."""
        members[2] = ("runs", [(("runId", "no time"),), *members[2][1]])  # type: ignore[misc]
        task.stays = True

    def _make_other_state(self, task: Task) -> None:
        """Sometimes a state that is not a snapshot of the task, or cannot be read."""
        text = task.before["state.json"]
        deep = b"[" * 600 + b"]" * 600
        own = spell_string(task.task_id, self._random).encode()
        others: list[tuple[bytes, bool]] = [
            (b'{"taskId":"another","runs":[{"any":1},null],"x":%b}' % deep, False),
            (b'{"taskId":%b,"runs":{"x":"\xff"}}' % own, False),
            (b'{"taskId":%b,"runs":[],"x":\xff}' % own, False),
            (b"\xef\xbb\xbf" + text, False),
            (text[:-1], False),
            (b"\0" * 100, False),
            (b"", False),
            (b"[]", False),
            (b'{"taskId":%b,"runs":[],"x":"\xff"}' % own, True),
            (b'{"taskId":%b,"x":%b,"runs":[]}' % (own, deep), True),
        ]
        if self._random.random() < 0.4:
            task.before["state.json"], task.stays = self._random.choice(others)
