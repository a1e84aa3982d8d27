"""The types of the values of options."""

from __future__ import annotations

import click
import pytest

from batchpersist.cli.params import DurationType


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("45", 45),
        ("1.5h", 5400),
        ("1d2h3m4s", 93_784),
        ("0.5s", 0.5),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert DurationType().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "2x", "m2", "-1", "0", "0s", "nan"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="time"):
        DurationType().convert(text, None, None)
