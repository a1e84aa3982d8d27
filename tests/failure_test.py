"""Failures: exceptions as data, for journals, tables and other processes."""

from __future__ import annotations

import errno

import pytest

from batchpersist.errors import InvalidRunError, MissingKeyError, TaskStateLockError, failure_of
from batchpersist.models import Failure


def test_failure_is_matched_by_class() -> None:
    failure = failure_of(MissingKeyError("a key is missing", "taskId"))
    assert failure.is_a(MissingKeyError)
    assert not failure.is_a(InvalidRunError), "InvalidRunError is another class"
    assert not failure.is_a(TaskStateLockError)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "file"), "ENOSPC"),
        (OSError(errno.E2BIG, "Argument list too long"), "E2BIG"),
        (OSError("without an errno"), ""),
        (TaskStateLockError("task is locked"), ""),
        (ValueError("[1] is not a number"), ""),
    ],
)
def test_failure_has_the_name_of_its_errno(error: Exception, name: str) -> None:
    assert failure_of(error).errno_name == name


def test_failure_is_shown_as_message_and_detail() -> None:
    assert str(Failure("OSError", "[EIO] Input/output error", "a.json")) == "[EIO] Input/output error: a.json"
    assert str(Failure("ValueError", "no", "")) == "no"
