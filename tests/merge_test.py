from __future__ import annotations

import random
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchpersist.snapshots.merge import merge as merge_columns

IDS = st.sampled_from("abcdefgh")
TIMES = st.sampled_from(["1", "2", "3", "4"])
PAIRS = st.lists(st.tuples(IDS, TIMES), max_size=12)
UNIQUE_HISTORIES = st.lists(st.tuples(IDS, TIMES), max_size=8, unique_by=lambda pair: pair[0])
SORTED_HISTORIES = UNIQUE_HISTORIES.map(lambda pairs: sorted(pairs, key=lambda pair: pair[1]))


def merge(history: list[tuple[str, str]], arrivals: list[tuple[str, str]]) -> list[int]:
    def columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
        return [run_id for run_id, _ in pairs], [time for _, time in pairs]

    return merge_columns(columns(history), columns(arrivals))


def javascript_order(text: str) -> list[int]:
    """The UTF-16 code units of a string: what JavaScript's < and <= compare."""
    data = text.encode("utf-16-be", "surrogatepass")
    return [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]


def record_one(entries: list[tuple[int, str, str]], item: int, run_id: str, timestamp: str) -> None:
    """docs/formats.md, "Task snapshot", rules 3 and 4, to the letter."""
    for at, (_, other_id, _) in enumerate(entries):
        if other_id == run_id:
            entries[at] = (item, run_id, timestamp)
            entries.sort(key=lambda entry: javascript_order(entry[2]))
            return
    own = javascript_order(timestamp)
    if not entries or own >= javascript_order(entries[-1][2]):
        entries.append((item, run_id, timestamp))
        return
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) >> 1
        if javascript_order(entries[middle][2]) <= own:
            low = middle + 1
        else:
            high = middle
    entries.insert(low, (item, run_id, timestamp))


def one_by_one(history: list[tuple[str, str]], arrivals: list[tuple[str, str]]) -> list[int]:
    entries = [(item, run_id, timestamp) for item, (run_id, timestamp) in enumerate(history)]
    for number, (run_id, timestamp) in enumerate(arrivals):
        record_one(entries, -1 - number, run_id, timestamp)
    return [item for item, _, _ in entries]


@settings(max_examples=1000)
@given(history=st.one_of(PAIRS, UNIQUE_HISTORIES, SORTED_HISTORIES), arrivals=PAIRS)
@example(history=[("a", "2"), ("b", "1")], arrivals=[("a", "2")])
@example(history=[("a", "1"), ("b", "2"), ("c", "2")], arrivals=[("a", "2")])
@example(history=[("a", "2"), ("b", "2"), ("c", "3")], arrivals=[("c", "2"), ("d", "2"), ("a", "3")])
@example(history=[("a", "1"), ("a", "2"), ("b", "2")], arrivals=[("a", "3"), ("a", "1"), ("a", "2")])
def test_one_merge_equals_recording_one_by_one(
    history: list[tuple[str, str]], arrivals: list[tuple[str, str]]
) -> None:
    assert merge(history, arrivals) == one_by_one(history, arrivals)


@given(
    history=st.lists(
        st.tuples(IDS, st.sampled_from(["a", "é", "\ud800", "\ue000", "\U00010000"])), max_size=6
    ),
    arrivals=st.lists(st.tuples(IDS, st.sampled_from(["b", "\uffff", "\udfff", "\U0010ffff"])), max_size=6),
)
def test_timestamps_compare_by_utf16_code_units(
    history: list[tuple[str, str]], arrivals: list[tuple[str, str]]
) -> None:
    assert merge(history, arrivals) == one_by_one(history, arrivals)


def test_a_character_beyond_the_bmp_sorts_before_u_e000() -> None:
    assert merge([("low", "\ue000")], [("high", "\U00010000")]) == [-1, 0]


@pytest.mark.parametrize(
    ("history", "arrivals", "expected"),
    [
        ([], [], []),
        ([("a", "1")], [], [0]),
        ([("b", "2"), ("a", "1")], [], [0, 1]),
        ([], [("a", "1"), ("b", "1")], [-1, -2]),
        ([("a", "1"), ("b", "3")], [("c", "1")], [0, -1, 1]),
        ([("a", "1"), ("b", "2")], [("a", "1")], [-1, 1]),
    ],
)
def test_small_cases(
    history: list[tuple[str, str]], arrivals: list[tuple[str, str]], expected: list[int]
) -> None:
    assert merge(history, arrivals) == expected


class CountingTime(str):
    """A timestamp that counts how often it is compared."""

    __slots__ = ()
    comparisons = count()

    def __lt__(self, other: str) -> bool:
        next(self.comparisons)
        return str.__lt__(self, other)

    def __le__(self, other: str) -> bool:
        next(self.comparisons)
        return str.__le__(self, other)

    def __eq__(self, other: object) -> bool:
        next(self.comparisons)
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("arriving", ["new", "unchanged", "moved"])
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_the_work_is_not_quadratic(arriving: str, order: str) -> None:
    size = 3000
    history = [(f"h{number}", CountingTime(f"{number:06}")) for number in range(size)]
    arrivals = {
        "new": [(f"n{number}", CountingTime(f"{number:06}")) for number in range(size)],
        "unchanged": history[:],
        "moved": [(run_id, CountingTime(time[::-1])) for run_id, time in history],
    }[arriving]
    if order == "descending":
        arrivals.reverse()
    elif order == "random":
        random.Random(5).shuffle(arrivals)

    before = next(CountingTime.comparisons)
    merged = merge(history, arrivals)
    comparisons = next(CountingTime.comparisons) - before

    assert sorted(merged) == list(range(-size, size if arriving == "new" else 0))
    assert size < comparisons < 40 * size
