from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.javascript import JavaScript, needs_node
from support.model import javascript_order

from batchpersist.contract.entry_order import _comparable
from batchpersist.contract.entry_order import merge as merge_columns

IDS = st.sampled_from("abcdefgh")
TIMES = st.sampled_from(["1", "2", "3", "4"])
PAIRS = st.lists(st.tuples(IDS, TIMES), max_size=12)
UNIQUE_HISTORIES = st.lists(st.tuples(IDS, TIMES), max_size=8, unique_by=lambda pair: pair[0])
SORTED_HISTORIES = UNIQUE_HISTORIES.map(lambda pairs: sorted(pairs, key=lambda pair: pair[1]))


def merge(history: list[tuple[str, str]], arrivals: list[tuple[str, str]]) -> list[int]:
    def columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
        return [run_id for run_id, _ in pairs], [time for _, time in pairs]

    return merge_columns(columns(history), columns(arrivals))


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
    low, high, place = 0, len(entries) - 1, len(entries)
    while low <= high:
        middle = (low + high) >> 1
        if javascript_order(entries[middle][2]) > own:
            place, high = middle, middle - 1
        else:
            low = middle + 1
    entries.insert(place, (item, run_id, timestamp))


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


ODD_TIMES = st.one_of(
    st.sampled_from(["a", "A", "b", "", "\0", "é", "\ud800", "\ue000", "\U00010000"]),
    st.text(st.characters(codec="ascii"), max_size=3),
    st.builds(
        "{}T09:00:00{}{}".format,
        st.sampled_from(["2026-01-05", "2026-01-06", "+002026-01-05"]),
        st.sampled_from(["", ".5", ".500", ",5"]),
        st.sampled_from(["Z", "z", "+00:00", "-01:00", ""]),
    ),
)


@given(
    history=st.lists(st.tuples(IDS, ODD_TIMES), max_size=8),
    arrivals=st.lists(st.tuples(IDS, ODD_TIMES), max_size=8),
)
def test_timestamps_compare_by_collation(
    history: list[tuple[str, str]], arrivals: list[tuple[str, str]]
) -> None:
    assert merge(history, arrivals) == one_by_one(history, arrivals)


@pytest.fixture(scope="module")
def compare() -> Iterator[JavaScript]:
    with JavaScript(
        "(pairs) => pairs.map(([one, other]) => Math.sign(one.localeCompare(other)))"
    ) as function:
        yield function


def signs(pairs: list[tuple[str, str]]) -> list[int]:
    keys = [_comparable([one, other]) for one, other in pairs]
    return [(one > other) - (one < other) for one, other in keys]


@needs_node
def test_each_pair_of_ascii_characters_compares_as_by_locale_compare(compare: JavaScript) -> None:
    characters = list(map(chr, range(128)))
    pairs = [
        (f"{one}{end}", f"{other}{end}") for one in characters for other in characters for end in ("", "1")
    ]
    assert signs(pairs) == compare(pairs)


TIMES_IN_USE = [
    f"{day}T{time}{fraction}{zone}"
    for day in ("2026-01-05", "2026-01-06", "+012026-01-05", "-000001-01-05", "20260105")
    for time in ("09:00:00", "09:00", "23:59:60", "090000")
    for fraction in ("", ".5", ".500", ".000", ".123456", ",5")
    for zone in ("Z", "z", "", "+00:00", "-01:00", "+0100", "[UTC]")
]


@needs_node
def test_timestamps_in_use_compare_as_by_locale_compare(compare: JavaScript) -> None:
    rng = random.Random(11)
    pairs = [(rng.choice(TIMES_IN_USE), rng.choice(TIMES_IN_USE)) for _ in range(20_000)]
    assert signs(pairs) == compare(pairs)


@needs_node
def test_random_text_of_ascii_compares_as_by_locale_compare(compare: JavaScript) -> None:
    rng = random.Random(12)

    def text() -> str:
        alphabet = rng.choice(["aAbB", "aA\0\x7f ", "".join(map(chr, range(128)))])
        return "".join(rng.choices(alphabet, k=rng.randrange(6)))

    pairs = [(text(), text()) for _ in range(20_000)]
    assert signs(pairs) == compare(pairs)


def test_an_unsorted_history_is_searched_in_the_orchestrator_s_steps() -> None:
    history = [("a", "1"), ("b", "3"), ("c", "1"), ("d", "3")]
    assert bisect_right(["1", "3", "1", "3"], "2") == 3
    assert merge(history, [("e", "2")]) == [0, -1, 1, 2, 3]


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


def a_time(number: int) -> CountingTime:
    """In the orchestrator's own form, that is compared as it is."""
    return CountingTime(f"{number:04}-01-05T09:00:00.000Z")


@pytest.mark.parametrize("arriving", ["new", "unchanged", "moved"])
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_the_work_is_not_quadratic(arriving: str, order: str) -> None:
    size = 3000
    history = [(f"h{number}", a_time(number)) for number in range(size)]
    arrivals = {
        "new": [(f"n{number}", a_time(number)) for number in range(size)],
        "unchanged": history[:],
        "moved": [(run_id, a_time(size - number)) for number, (run_id, _) in enumerate(history)],
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
