"""The summary at the end of a batch: what happened, what failed, what to do next."""

from __future__ import annotations

from typing import Any

import pytest
from support import sample_metrics

from batchpersist.batch.dry_run import Preview
from batchpersist.cli.summary import preview_lines, summary_lines
from batchpersist.metrics.schema import Cause, Metrics, PassedOver, Sample, Task, TaskTiming


def metrics(state: str = "finished", figures: dict[str, int] | None = None, **fields: Any) -> Metrics:
    task = {name: 0 for name in Task.__struct_fields__ if name not in ("task_id", "timing")}
    tasks = [Task(task_id=name, timing=TaskTiming(commit_seconds=None), **task) for name in "ab"]
    timing = sample_metrics.timing(wall_seconds=2.04, runs_per_second=1234.5)
    counts = sample_metrics.counts(**figures or {})
    return sample_metrics.metrics(state=state, counts=counts, timing=timing, tasks=tasks, **fields)


def cause(count: int, **sample: Any) -> Cause:
    first = {"source": "a.jsonl", "line": 7, "task_id": "t", "run_id": "r", "detail": "", **sample}
    return Cause(stage="snapshot", type="E", message="task is locked", count=count, samples=[Sample(**first)])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"selected": 1}, "1 run of 2 tasks in 2.0 s"),
        ({"selected": 4000, "not_attempted": 1000}, "3,000 of 4,000 runs of 2 tasks in 2.0 s"),
        (
            {"selected": 4000, "not_attempted": 1000, "resumed": 2000},
            "1,000 of 4,000 runs of 2 tasks in 2.0 s",
        ),
    ],
)
def test_the_rate_counts_the_runs_of_this_part_only(counts: dict[str, int], expected: str) -> None:
    [line] = [line for line in summary_lines(metrics(figures=counts), "m.json") if "runs/s" in line]
    assert line.startswith(expected)


def last_line(state: str, **counts: int) -> str:
    return list(summary_lines(metrics(state, counts), "out/metrics.json"))[-1]


@pytest.mark.parametrize(
    ("state", "counts", "expected"),
    [
        (
            "finished",
            {"discovered": 3, "selected": 3, "persisted": 3},
            "Done: 3 persisted. Nothing failed.",
        ),
        ("finished", {}, "Done: 0 persisted. No runs were found in the sources."),
        (
            "finished",
            {
                "discovered": 5,
                "selected": 4,
                "persisted": 2,
                "failed": 2,
                "snapshot_locked": 1,
                "superseded": 1,
            },
            "Done: 2 persisted, 2 failed (1 because its task was locked), 1 superseded by a later line. "
            "Remove the cause and run the same command again; what stands already is skipped.",
        ),
        (
            "finished",
            {"discovered": 5, "selected": 4, "persisted": 4, "invalid": 1},
            "Done: 4 persisted, 1 invalid. Invalid input was left out; everything else is persisted.",
        ),
        (
            "stopped",
            {"discovered": 9, "selected": 9, "failed": 1, "not_attempted": 8},
            "Stopped by the failure policy: 0 persisted, 1 failed, 8 not attempted. "
            "Remove the cause, or allow more failures by --max-failures; then the same command does what is "
            "left, and what stands already is skipped.",
        ),
        (
            "timed_out",
            {"discovered": 9, "selected": 9, "persisted": 1, "not_attempted": 8},
            "Out of time: 1 persisted, 8 not attempted. "
            "The same command again does what is left; what stands already is skipped.",
        ),
        (
            "timed_out",
            {"discovered": 9, "selected": 9, "not_attempted": 9},
            "Out of time: 0 persisted, 9 not attempted. "
            "The time was up before anything was settled; it must be enough to read the sources, and more.",
        ),
        (
            "interrupted",
            {"discovered": 9, "selected": 9, "persisted": 1, "not_attempted": 8},
            "Interrupted: 1 persisted, 8 not attempted. "
            "The same command again does what is left; what stands already is skipped.",
        ),
    ],
)
def test_the_last_line_has_the_result(state: str, counts: dict[str, int], expected: str) -> None:
    assert last_line(state, **counts) == expected


def test_the_figures_come_before_the_result() -> None:
    lines = list(summary_lines(metrics(figures={"selected": 1}), "m.json"))
    assert lines[-2] == "1 run of 2 tasks in 2.0 s (1,234 runs/s); details in m.json"


def test_causes_come_first_with_an_example_each_and_are_limited() -> None:
    errors = [cause(8 - n, detail=f"detail {n}") for n in range(7)]
    found = metrics(figures={"failed": 20, "selected": 20}, errors=errors, errors_omitted=3)
    lines = list(summary_lines(found, "m.json"))
    assert lines[0] == "8 x snapshot: task is locked, e.g. a.jsonl:7 (t/r): detail 0"
    assert lines[5] == "... and 5 more causes"


def test_skipped_files_come_before_the_result() -> None:
    passed_over = PassedOver(other_events=0, other_manifests=0, ignored_files=1, incomplete=2)
    found = metrics(figures={"selected": 1}, passed_over=passed_over, unknown_suffixes={".txt": 1})
    assert list(summary_lines(found, "m.json"))[1:-1] == [
        "2 run folders without a run-summary.json (incomplete).",
        "Skipped 1 file with an unknown suffix: .txt (1).",
    ]


def test_a_dry_run_reports_that_nothing_was_written() -> None:
    preview = Preview(
        discovered=9, invalid=1, filtered=2, other_shards=0, superseded=1, selected=5, tasks=2, shards=1,
        bytes=12345, new=3, changed=1, unchanged=1, unreadable=0, incomplete=0, unknown_suffixes={},
        interrupted=False,
    )  # fmt: skip
    assert list(preview_lines(preview)) == [
        "5 runs of 2 tasks (12.3 kB) in 1 shard; "
        "of 9 found, 1 invalid, 2 filtered out, 1 superseded by a later line",
        "Dry run: 3 new, 1 changed, 1 unchanged. Nothing was written.",
    ]
