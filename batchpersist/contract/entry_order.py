"""The order of a task's entries after runs were recorded (docs/formats.md, "Task snapshot").

Recording one run either inserts it or replaces the entry of the same ``runId`` and sorts the
list again. Done literally for each arrival that is quadratic. But a list that is sorted stays
sorted, and then each arrival only says where it belongs among the entries of its own timestamp:
behind all of them or before all of them. So one sort at the end serves all arrivals.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from operator import le

RunIdsAndTimes = tuple[Sequence[str], Sequence[str]]
"""Of some runs: their ids, and their timestamps."""


def merge(history: RunIdsAndTimes, arrivals: RunIdsAndTimes) -> list[int]:
    """The final order after recording ``arrivals`` one by one into ``history``.

    In the result ``i >= 0`` is item i of the history, kept as it is, and ``-1 - j``
    for arrival j. An arrival replaces the first entry of its run, as JavaScript's ``findIndex``
    finds it; further entries of the same run stay. Timestamps compare as ``localeCompare`` does.

    O((n + k) log(n + k)) for n sorted entries and k arrivals in any order; O(n + k log k), and
    little of it, where none of them replaces another. An unsorted history costs O(n) an
    arrival until the first one that replaces an entry, since that one sorts it.
    """
    size = len(history[0])
    # Arrivals are appended in reverse, so that -1 - j indexes the columns as i does.
    run_ids = [*history[0], *reversed(arrivals[0])]
    times = _comparable([*history[1], *reversed(arrivals[1])])

    order = list(range(size))
    upcoming = range(-1, -1 - len(arrivals[0]), -1)
    if not _is_sorted(times[:size]):
        recorded = _record_unsorted(order, upcoming, run_ids, times)
        upcoming = upcoming[recorded:]
    elif _are_new(history[0], arrivals[0]):
        order += upcoming
        order.sort(key=times.__getitem__)  # stable: behind all of the same timestamp
        return order
    return _record_sorted(order, upcoming, run_ids, times) if upcoming else order


def _are_new(existing: Sequence[str], arriving: Sequence[str]) -> bool:
    """Whether nothing would replace an entry, nor another arrival."""
    different = set(arriving)
    return len(different) == len(arriving) and different.isdisjoint(existing)


def is_regular(run_ids: Sequence[str], timestamps: Sequence[str]) -> bool:
    """Whether entries are in the order of their timestamps, and no run is there twice.

    Recording any of them again, as it is, then leaves the list as it is; and so it
    does before, between and after the recording of other runs.
    """
    return len(set(run_ids)) == len(run_ids) and is_sorted(timestamps)


def repeated_runs(run_ids: Sequence[str]) -> dict[str, int]:
    """The runs that have several entries, and how many."""
    if len(set(run_ids)) == len(run_ids):
        return {}
    return {run_id: times for run_id, times in Counter(run_ids).items() if times > 1}


def is_sorted(timestamps: Sequence[str]) -> bool:
    """Whether none is less than the one before it, as ``localeCompare`` has it."""
    return _is_sorted(_comparable(list(timestamps)))


def _record_unsorted(order: list[int], upcoming: range, run_ids: list[str], times: list[str]) -> int:
    """Record literally, up to and including the first replacement; returns how many were recorded."""
    existing = {run_ids[item] for item in order}
    existing_times = [times[item] for item in order]
    for recorded, item in enumerate(upcoming, 1):
        run_id, time = run_ids[item], times[item]
        if run_id in existing:
            order[next(at for at, other in enumerate(order) if run_ids[other] == run_id)] = item
            order.sort(key=times.__getitem__)
            return recorded
        at = len(order) if time >= existing_times[-1] else _place(existing_times, time)
        order.insert(at, item)
        existing_times.insert(at, time)
        existing.add(run_id)
    return len(upcoming)


def _place(times: list[str], time: str) -> int:
    """Where the orchestrator's binary search ends, over times in their order, though unsorted.

    With other steps (``bisect`` has others) it would end elsewhere.
    """
    low, high, place = 0, len(times) - 1, len(times)
    while low <= high:
        middle = (low + high) >> 1
        if times[middle] > time:
            place, high = middle, middle - 1
        else:
            low = middle + 1
    return place


def _record_sorted(order: list[int], upcoming: range, run_ids: list[str], times: list[str]) -> list[int]:
    """Record into a sorted list by giving each item a rank among those of its timestamp.

    A new run goes behind all of its timestamp. So does a replacement that became earlier: the
    stable sort meets it after them. One that became later goes before all of them, and one of
    the same timestamp stays where it is.
    """
    rank = [0] * len(run_ids)
    first: dict[str, int] = {}
    twins: dict[str, list[int]] = {}
    """All entries of a run that is there more than once (a damaged, but readable history)."""
    for position, item in enumerate(order):
        rank[item] = position
        if first.setdefault(run_ids[item], item) != item:
            twins.setdefault(run_ids[item], [first[run_ids[item]]]).append(item)

    for behind, item in enumerate(upcoming, len(order)):
        run_id, time = run_ids[item], times[item]
        replaced = first.get(run_id)
        if replaced is None or time < times[replaced]:
            rank[item] = behind
        elif time == times[replaced]:
            rank[item] = rank[replaced]
        else:
            rank[item] = -1 - behind
        first[run_id] = item
        if replaced is not None and run_id in twins:
            same = twins[run_id]
            same[same.index(replaced)] = item
            first[run_id] = min(same, key=lambda item: (times[item], rank[item]))

    alone = (item for run_id, item in first.items() if run_id not in twins)
    merged = [*alone, *chain.from_iterable(twins.values())]
    merged.sort(key=rank.__getitem__)
    merged.sort(key=times.__getitem__)
    return merged


def _is_sorted(times: list[str]) -> bool:
    return all(map(le, times, islice(times, 1, None)))


_USUAL = "0000-00-00T00:00:00.000Z"
"""The orchestrator's own form, digits aside: the collation has the order of the strings themselves."""

_DIGITS = str.maketrans(string.digits, "0" * 10)

_COLLATION = (
    *"\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789",
    *map("".join, zip(string.ascii_lowercase, string.ascii_uppercase, strict=True)),
)
"""ASCII characters in the order of ICU's root collation; those of one rank differ in case."""

_RANKS = {
    **dict.fromkeys(range(128)),  # ignored: other control characters
    **{ord(each): chr(rank) for rank, characters in enumerate(_COLLATION, 1) for each in characters},
}
_CASES = {code: rank and ("\2" if chr(code).isupper() else "\1") for code, rank in _RANKS.items()}


def _comparable(times: list[str]) -> list[str]:
    """Keys that compare as the strings do by JavaScript's ``localeCompare``.

    That is ICU's root collation: all ranks first, then case, lower before upper. Beyond ASCII the
    keys compare by code points, behind all of ASCII.
    """
    if "\n".join(times).translate(_DIGITS) == "\n".join([_USUAL] * len(times)):
        return times
    return [f"{time.translate(_RANKS)}\0{time.translate(_CASES)}" for time in times]
