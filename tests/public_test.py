"""The public interface: listed once, typed, and each name where it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import batchpersist

NAMES = [
    "BatchOptions",
    "BatchPersistError",
    "BatchReport",
    "Durability",
    "EventBus",
    "FailurePolicy",
    "InvalidRunError",
    "Keys",
    "LockPolicy",
    "PersistenceCoordinator",
    "RunManifestWriter",
    "Selection",
    "Side",
    "SnapshotError",
    "TaskStateLockError",
    "TaskStateStore",
    "preview_batch",
    "run_batch",
]


def test_these_names_and_no_others() -> None:
    assert sorted(batchpersist.__all__) == sorted([*NAMES, "__version__"])
    assert dir(batchpersist) == sorted(batchpersist.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_imported_and_has_a_docstring(name: str) -> None:
    value = getattr(batchpersist, name)
    assert value.__name__ == name
    assert value.__doc__


def test_type_checkers_are_told_the_same() -> None:
    stub = ast.parse(Path(batchpersist.__file__).with_suffix(".pyi").read_text())
    told = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == set(NAMES)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = batchpersist.nothing  # type: ignore[attr-defined]
