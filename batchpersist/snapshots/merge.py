"""The order of a task's entries after many runs were recorded (docs/formats.md, "Task snapshot").

Recording one run either inserts it or replaces the entry of the same ``runId`` and sorts the
list again. Done literally for each arrival that is quadratic. But a list that is sorted stays
sorted, and then each arrival only says where it stands among the entries of its own timestamp:
behind all of them or before all of them. So one sort at the end serves all arrivals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain, islice
from operator import le
from typing import Any

RunIdsAndTimes = tuple[Sequence[str], Sequence[str]]
"""Of some runs: their ids, and their timestamps."""


def merge(history: RunIdsAndTimes, arrivals: RunIdsAndTimes) -> list[int]:
    """The final order after recording ``arrivals`` one by one into ``history``.

    In the result ``i >= 0`` stands for item i of the history, kept as it is, and ``-1 - j``
    for arrival j. An arrival replaces the first entry of its run, as JavaScript's ``findIndex``
    finds it; further entries of the same run stay. Timestamps compare as JavaScript strings do.

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


def _are_new(standing: Sequence[str], arriving: Sequence[str]) -> bool:
    """Whether nothing would replace an entry, nor another arrival."""
    different = set(arriving)
    return len(different) == len(arriving) and different.isdisjoint(standing)


def is_regular(run_ids: Sequence[str], timestamps: Sequence[str]) -> bool:
    """Whether entries are in the order of their timestamps, and no run is there twice.

    Recording any of them once more, as it stands, then leaves the list as it is; and so it
    does before, between and after the recording of other runs.
    """
    return len(set(run_ids)) == len(run_ids) and is_sorted(timestamps)


def is_sorted(timestamps: Sequence[str]) -> bool:
    """Whether none is less than the one before it, as JavaScript compares strings."""
    return _is_sorted(_comparable(list(timestamps)))


def _record_unsorted(order: list[int], upcoming: range, run_ids: list[str], times: list[Any]) -> int:
    """Record literally, up to and including the first replacement; returns how many were recorded.

    The binary search goes over the list as it stands, though unsorted: ``bisect_right`` takes
    the very steps that the orchestrator's search takes (lo + hi >> 1, then <=).
    """
    standing = {run_ids[item] for item in order}
    standing_times = [times[item] for item in order]
    for recorded, item in enumerate(upcoming, 1):
        run_id, time = run_ids[item], times[item]
        if run_id in standing:
            order[next(at for at, other in enumerate(order) if run_ids[other] == run_id)] = item
            order.sort(key=times.__getitem__)
            return recorded
        at = len(order) if time >= standing_times[-1] else bisect_right(standing_times, time)
        order.insert(at, item)
        standing_times.insert(at, time)
        standing.add(run_id)
    return len(upcoming)


def _record_sorted(order: list[int], upcoming: range, run_ids: list[str], times: list[Any]) -> list[int]:
    """Record into a sorted list by giving each item a rank among those of its timestamp.

    A new run goes behind all of its timestamp. So does a replacement that became earlier: the
    stable sort meets it after them. One that became later goes before all of them, and one of
    the same timestamp stays where it is.
    """
    rank = [0] * len(run_ids)
    first: dict[str, int] = {}
    twins: dict[str, list[int]] = {}
    """All entries of a run that stands there more than once (a damaged, but readable history)."""
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


def _comparable(times: list[str]) -> list[Any]:
    """Keys that compare as the strings do in JavaScript: by UTF-16 code units."""
    if all(map(str.isascii, times)):
        return times
    return [time.encode("utf-16-be", "surrogatepass") for time in times]


def _is_sorted(times: list[Any]) -> bool:
    return all(map(le, times, islice(times, 1, None)))
