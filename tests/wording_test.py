"""Figures, sizes, durations and moments in words."""

from __future__ import annotations

import pytest

from batchpersist.wording import duration, moment, number, rough_duration, share, size


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
def test_measured_duration_has_three_digits(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.042, "0.042 s"),
        (0.25, "0.25 s"),
        (12.4, "12 s"),
        (130, "2.2 min"),
        (180, "3 min"),
        (3_000, "50 min"),
        (8_000, "2.2 h"),
        (200_000, "2.3 days"),
    ],
)
def test_rough_duration_has_two_digits_in_a_large_unit(seconds: float, shown: str) -> None:
    assert rough_duration(seconds) == shown


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
def test_share_is_0_or_100_percent_only_where_that_is_exact(part: int, whole: int, shown: str) -> None:
    assert share(part, whole) == shown


def test_number_has_its_noun_in_the_plural_but_for_one() -> None:
    assert [number(count, "run") for count in (0, 1, 2_000)] == ["0 runs", "1 run", "2,000 runs"]


def test_size_and_moment_have_a_unit() -> None:
    assert [size(count) for count in (0, 999, 999_600, 5e12, 5e15)] == [
        "0 B",
        "999 B",
        "1 MB",
        "5 TB",
        "5e+03 TB",
    ]
    assert moment("2026-01-31T04:05:06.789Z") == "2026-01-31 04:05:06 UTC"
