"""The contract of docs/formats.md in plain Python: slow, obvious, and independent of batchpersist.

It persists runs as the orchestrator does, one after the other. What batchpersist writes in
one go must be, byte for byte, what this writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Run = dict[str, Any]
Snapshot = dict[str, Any]

KEYS = ("taskId", "runId", "timestamp")
"""Under which names a run carries its task, its own id and its completion time."""


class NoSnapshotError(Exception):
    """The task's runs.json is not a snapshot of that task."""


def stringify(value: object) -> str:
    """``JSON.stringify(value, null, 2)``.

    A number that a double does not hold keeps all its digits.
    """
    text = json.dumps(_in_order(value), indent=2, ensure_ascii=False, allow_nan=False)
    text = re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)
    return re.sub(r'"(?:[^"\\]|\\.)*"|-?\d[-+.\deE]*', _spelled, text)


def _in_order(value: Any) -> Any:
    """With the members of each object as JavaScript lists them: array indices first."""
    if isinstance(value, dict):
        indices = sorted((name for name in value if is_index(name)), key=int)
        names = [*indices, *(name for name in value if not is_index(name))]
        return {name: _in_order(value[name]) for name in names}
    return list(map(_in_order, value)) if isinstance(value, list) else value


def is_index(name: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]*", name, re.ASCII) is not None and int(name) < 2**32 - 1


def _spelled(token: re.Match[str]) -> str:
    return token[0] if token[0].startswith('"') else js_number(token[0])


def js_number(text: str) -> str:
    """ECMA-262, Number::toString, of the double next to a number; the number itself where they differ."""
    value = float(text)
    if abs(value) == float("inf") or _decimal(text) != _decimal(repr(value)):
        return text
    sign, digits, exponent = _decimal(repr(value))
    size, point = len(digits), len(digits) + exponent
    if not digits:
        return "0"
    if size <= point <= 21:
        return sign + digits + "0" * (point - size)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}{'.' if size > 1 else ''}{digits[1:]}e{point - 1:+}"


def _decimal(text: str) -> tuple[str, str, int]:
    """A number's sign, its digits without zeros at either end, and the power of ten that they count."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "", "", 0
    power = int(exponent or "0") - len(fraction) + len(digits) - len(kept)
    return "-" if text.startswith("-") else "", kept, power


IGNORED = "".join(map(chr, [*range(9), *range(14, 32), 127]))
COLLATION = "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"


def javascript_order(text: str) -> tuple[list[int], list[bool]]:
    """A key by which strings of ASCII sort as they do by ``localeCompare``; others behind them."""
    seen = [character for character in text if character not in IGNORED]
    ranks = [COLLATION.find(each.lower()) if each.isascii() else ord(each) + 128 for each in seen]
    return ranks, [each.isascii() and each.isupper() for each in seen]


def record(snapshot: Snapshot | None, run: Run, task_id: str, keys: tuple[str, str, str] = KEYS) -> Snapshot:
    """The snapshot of a task after one more completed run; None: there was none before."""
    _, run_key, time_key = keys
    runs: list[Run] = list(snapshot["runs"]) if snapshot is not None else []
    ids = [other[run_key] for other in runs]
    times = [javascript_order(other[time_key]) for other in runs]
    time = javascript_order(run[time_key])

    if run[run_key] in ids:
        runs[ids.index(run[run_key])] = run
        runs.sort(key=lambda other: javascript_order(other[time_key]))
    elif not runs or time >= times[-1]:
        runs.append(run)
    else:
        low, high, place = 0, len(runs) - 1, len(runs)
        while low <= high:
            middle = (low + high) // 2
            if times[middle] > time:
                place, high = middle, middle - 1
            else:
                low = middle + 1
        runs.insert(place, run)
    return {"taskId": task_id, "lastRunAt": runs[-1][time_key], "runs": runs}


def read_snapshot(task_dir: Path, task_id: str) -> Snapshot | None:
    """What a task's next run is recorded into. NoSnapshotError: its runs.json must be left alone."""
    if (task_dir / "runs.json").exists():
        snapshot = _parse(task_dir / "runs.json", task_id)
        if snapshot is None:
            raise NoSnapshotError(task_id)
        return snapshot
    return _parse(task_dir / "state.json", task_id) if (task_dir / "state.json").exists() else None


def _parse(path: Path, task_id: str) -> Snapshot | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    is_snapshot = isinstance(value, dict) and value.get("taskId") == task_id
    return value if is_snapshot and isinstance(value.get("runs"), list) else None


def persist(runs: Iterable[Run], out_dir: Path, runs_dir: Path, keys: tuple[str, str, str] = KEYS) -> None:
    """Persist the pair of each run, in their order, one after the other.

    A task that is locked, or whose snapshot cannot be read, keeps its snapshot as it is; its
    manifests are written all the same.
    """
    for run in runs:
        task_id, run_id = run[keys[0]], run[keys[1]]
        if not (runs_dir / f"{task_id}.lock").exists():
            try:
                before = read_snapshot(out_dir / task_id, task_id)
            except NoSnapshotError:
                pass
            else:
                _write(out_dir / task_id / "runs.json", record(before, run, task_id, keys))
        _write(runs_dir / task_id / run_id / "manifest.json", run)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stringify(value).encode())
