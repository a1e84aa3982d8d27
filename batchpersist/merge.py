"""The order of a task's entries after many runs were recorded (docs/formats.md, "Task snapshot").

Recording one run either inserts it or replaces the entry of the same ``runId`` and sorts the
list again. Done literally for each arrival that is quadratic. But a list that is sorted stays
sorted, and then each arrival only says where it stands among the entries of its own timestamp:
behind all of them or before all of them. So one sort at the end serves all arrivals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

RunIdAndTime = tuple[str, str]


def merge(history: Sequence[RunIdAndTime], arrivals: Sequence[RunIdAndTime]) -> list[int]:
    """The final order after recording ``arrivals`` one by one into ``history``.

    Both are (run id, timestamp) pairs. In the result ``i >= 0`` stands for ``history[i]``, kept
    as it is, and ``-1 - j`` for ``arrivals[j]``. An arrival replaces the first entry of its run,
    as JavaScript's ``findIndex`` finds it; further entries of the same run stay. Timestamps
    compare as JavaScript strings do.

    O((n + k) log(n + k)) for n sorted entries and k arrivals in any order. An unsorted history
    costs O(n) an arrival until the first one that replaces an entry, since that one sorts it.
    """
    # Arrivals are appended in reverse, so that -1 - j indexes the columns as i does.
    pairs = [*history, *reversed(arrivals)]
    run_ids = [run_id for run_id, _ in pairs]
    times = _comparable(time for _, time in pairs)

    order = list(range(len(history)))
    upcoming = range(-1, -1 - len(arrivals), -1)
    if not _is_sorted(times[: len(history)]):
        recorded = _record_unsorted(order, upcoming, run_ids, times)
        upcoming = upcoming[recorded:]
    return _record_sorted(order, upcoming, run_ids, times) if upcoming else order


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


def _comparable(times: Iterable[str]) -> list[Any]:
    """Keys that compare as the strings do in JavaScript: by UTF-16 code units."""
    texts = list(times)
    if all(map(str.isascii, texts)):
        return texts
    return [text.encode("utf-16-be", "surrogatepass") for text in texts]


def _is_sorted(times: list[Any]) -> bool:
    return all(earlier <= later for earlier, later in pairwise(times))
