from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.foreign_text import printable
from batchpersist.report.terminal import course, cut, grid
from batchpersist.report.wording import duration, moment, share, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer 検証 🚀", "größer 検証 🚀"),
        ("a\tb\nc\x1b[2J\x00", r"a\tb\nc\x1b[2J\x00"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\ud800\ufffe\U000e0041", r"\ud800\ufffe\U000e0041"),
        ("\u200d \u200c", "\u200d \u200c"),  # joiners: words and emoji are spelt with them
    ],
)
def test_what_is_not_to_be_printed_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_no_control_is_left_and_plain_text_stays(text: str) -> None:
    shown = printable(text)
    assert [letter for letter in shown if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}] == []
    assert unicodedata.bidirectional(shown[:1] or "a") not in {
        "RLO",
        "LRO",
        "RLE",
        "LRE",
        "RLI",
        "LRI",
        "FSI",
    }
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (0.000_123_4, "123 µs"),
        (0.012_34, "12.3 ms"),
        (0.999_4, "999 ms"),
        (0.999_9, "1.00 s"),
        (1.5, "1.50 s"),
        (12.34, "12.3 s"),
        (119.96, "120.0 s"),
        (150.4, "2 min 30 s"),
        (7_260.0, "2 h 1 min"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "0%"),
        (0, 7, "0%"),
        (7, 7, "100%"),
        (1, 100_000, "<0.1%"),
        (99_999, 100_000, ">99.9%"),
        (1, 3, "33%"),
        (1, 200, "0.5%"),
    ],
)
def test_a_share_is_never_nothing_or_all_of_what_is_not(part: int, whole: int, shown: str) -> None:
    assert share(part, whole) == shown


def test_sizes_and_moments() -> None:
    assert [size(count) for count in (0, 999, 999_600, 5e12, 5e15)] == [
        "0 B",
        "999 B",
        "1 MB",
        "5 TB",
        "5e+03 TB",
    ]
    assert moment("2026-01-31T04:05:06.789Z") == "2026-01-31 04:05:06 UTC"


def test_columns_stand_below_each_other() -> None:
    assert list(grid([("a", "1"), ("bcd", "20")])) == ["  a     1", "  bcd  20"]
    assert cut("abcdef", 4) == "abc…"
    assert course([0.0, 1.0, 8.0, 0.01]) == " ▁█▁"
    assert course([]) == ""
