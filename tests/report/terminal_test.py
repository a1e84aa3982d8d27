"""The lines of a report on a terminal."""

from __future__ import annotations

from batchpersist.report.terminal import align_columns, cut, sparkline


def test_columns_are_aligned() -> None:
    assert list(align_columns([("a", "1"), ("bcd", "20")])) == ["  a     1", "  bcd  20"]


def test_long_text_ends_in_an_ellipsis() -> None:
    assert cut("abcdef", 4) == "abc…"


def test_course_has_a_character_for_each_value() -> None:
    assert sparkline([0.0, 1.0, 8.0, 0.01]) == " ▁█▁"
    assert sparkline([]) == ""
