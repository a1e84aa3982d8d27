from __future__ import annotations

import pytest

from batchpersist.errors import UsageError
from batchpersist.options import FailurePolicy


@pytest.mark.parametrize(
    ("text", "failures", "discovered", "exceeded"),
    [
        ("0", 0, 10, False),
        ("0", 1, 10, True),
        ("3", 3, 10, False),
        ("3", 4, 10, True),
        ("10%", 1, 10, False),
        ("10%", 2, 10, True),
        ("2.5%", 5, 200, False),
        ("2.5%", 6, 200, True),
        ("100%", 10, 10, False),
    ],
)
def test_more_failures_than_the_limit_exceed_it(
    text: str, failures: int, discovered: int, exceeded: bool
) -> None:
    assert FailurePolicy.parse(text).exceeded(failures, discovered) is exceeded


def test_without_a_limit_a_batch_never_gives_up() -> None:
    assert not FailurePolicy().exceeded(1_000_000, 1_000_000)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "-1%", "%", "nan", "nan%"])
def test_nonsense_is_a_usage_error_that_quotes_it(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number") as caught:
        FailurePolicy.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0", "25", "5%", "2.5%"])
def test_is_worded_as_it_was_given(text: str) -> None:
    assert str(FailurePolicy.parse(text)) == text
