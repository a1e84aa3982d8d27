"""The options: which values they accept, and how they are shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchpersist import (
    AuditOptions,
    BatchOptions,
    CompareOptions,
    Durability,
    FailurePolicy,
    LockPolicy,
    Partition,
    RepairOptions,
    RetryPolicy,
    Selection,
    UsageError,
)


@pytest.mark.parametrize(
    ("kind", "wrong", "complaint"),
    [
        (BatchOptions, {"workers": "2"}, "workers must be a whole number, not '2'"),
        (BatchOptions, {"workers": True}, "workers must be a whole number, not True"),
        (BatchOptions, {"workers": 2.0}, "workers must be a whole number, not 2.0"),
        (BatchOptions, {"out_dir": None}, "out_dir must be text, not None"),
        (BatchOptions, {"metrics": b"m.json"}, "metrics must be text or None, not b'm.json'"),
        (BatchOptions, {"force": 1}, "force must be True or False, not 1"),
        (BatchOptions, {"commit": "both"}, "commit must be 'task' or 'run', not 'both'"),
        (BatchOptions, {"durability": "much"}, "durability must be 'none' or 'batch' or 'file', not 'much'"),
        (BatchOptions, {"lock_policy": 5}, "lock_policy must be of the type LockPolicy, not 5"),
        (BatchOptions, {"partition": "1/2"}, "partition must be of the type Partition or None, not '1/2'"),
        (
            BatchOptions,
            {"max_duration_seconds": "1h"},
            "max_duration_seconds must be a finite number or None",
        ),
        (BatchOptions, {"max_memory_bytes": "2G"}, "max_memory_bytes must be a whole number or None"),
        (LockPolicy, {"attempts": None}, "attempts must be a whole number"),
        (RetryPolicy, {"rounds": 1.5}, "rounds must be a whole number"),
        (FailurePolicy, {"limit": "5%"}, "limit must be a finite number or None, not '5%'"),
        (Selection, {"tasks": "billing"}, "tasks must be a sequence, each text, not 'billing'"),
        (Selection, {"since": 2026}, "since must be text or None, not 2026"),
        (Partition, {"number": "1", "of": 2}, "number must be a whole number, not '1'"),
        (AuditOptions, {"pause_seconds": "2"}, "pause_seconds must be a finite number"),
        (RepairOptions, {"prefer": "newest"}, "prefer must be 'manifest' or 'snapshot' or 'summary' or None"),
        (RepairOptions, {"audit": "out"}, "audit must be of the type AuditOptions"),
        (CompareOptions, {"workers": 2}, "workers must be a sequence, each a whole number, not 2"),
    ],
)
def test_wrong_type_is_refused_by_option_name(kind: type[Any], wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**wrong)
    assert complaint in str(caught.value)


def test_equivalent_values_are_converted() -> None:
    options = BatchOptions(Path("o"), Path("r"), durability="none", wait_seconds=2)  # type: ignore[arg-type]
    assert (options.out_dir, options.runs_dir, options.durability) == ("o", "r", Durability.NONE)
    assert Selection(tasks=["a*"]).tasks == ("a*",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (BatchOptions(), "BatchOptions()"),
        (
            BatchOptions("x", workers=4, lock_policy=LockPolicy(attempts=1), partition=Partition(1, 8)),
            "BatchOptions(out_dir='x', partition=Partition(number=1, of=8), workers=4, "
            "lock_policy=LockPolicy(attempts=1))",
        ),
        (BatchOptions(selection=Selection(limit=3)), "BatchOptions(selection=Selection(limit=3))"),
        (AuditOptions("/o", "/r"), "AuditOptions(out_dir='/o', runs_dir='/r')"),
        (RetryPolicy(rounds=0), "RetryPolicy(rounds=0)"),
        (FailurePolicy.parse("5%"), "FailurePolicy(limit=5.0, percent=True)"),
        (CompareOptions(rounds=2), "CompareOptions(rounds=2)"),
    ],
)
def test_repr_shows_values_other_than_the_defaults(options: object, shown: str) -> None:
    assert repr(options) == shown


def test_options_do_not_import_what_they_configure() -> None:
    program = "import sys, batchpersist.options; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    leaves = {"options", "option_checks", "partition", "errors", "exit_codes", "models"}
    leaves |= {"paths", "memory_limit", "timestamps"}
    loaded = {name.partition(".") for name in found.stdout.split()}
    assert {module for package, _, module in loaded if package == "batchpersist"} <= leaves | {""}


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


def test_without_a_limit_no_failures_exceed_the_policy() -> None:
    assert not FailurePolicy().exceeded(1_000_000, 1_000_000)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "-1%", "%", "nan", "nan%"])
def test_nonsense_is_a_usage_error_that_quotes_it(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number") as caught:
        FailurePolicy.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0", "25", "5%", "2.5%"])
def test_a_policy_prints_as_it_is_written(text: str) -> None:
    assert str(FailurePolicy.parse(text)) == text
