"""Errors as data: what is left of an exception in journals, tables and other processes."""

from __future__ import annotations

import errno

import pytest

from batchpersist.errors import InvalidRunError, MissingKeyError, TaskStateLockError, failure_of
from batchpersist.models import Failure


def test_a_failure_knows_the_class_of_its_exception() -> None:
    failure = failure_of(MissingKeyError("a key is missing", "taskId"))
    assert failure.is_a(MissingKeyError)
    assert not failure.is_a(InvalidRunError), "a class of its own"
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
def test_a_failure_knows_the_name_of_an_errno(error: Exception, name: str) -> None:
    assert failure_of(error).errno_name == name


def test_a_failure_reads_as_its_message_and_what_differs() -> None:
    assert str(Failure("OSError", "[EIO] Input/output error", "a.json")) == "[EIO] Input/output error: a.json"
    assert str(Failure("ValueError", "no", "")) == "no"
