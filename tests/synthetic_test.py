"""Generated runs: reproducible, with sizes, skew and invalid lines as requested."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.scans import put, scan

from batchpersist.synthetic import generate, sample_members


def generate_lines(runs: int = 1000, tasks: int = 10, **options: Any) -> list[bytes]:
    return list(generate(runs, tasks, **{"skew": 0.0, "invalid": 0.0, "seed": 1, **options}))


def payloads(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    values = [json.loads(line) for line in lines]
    return [value.get("payload", value) for value in values]


def test_same_seed_makes_the_same_bytes() -> None:
    lines = generate_lines(200, 7, skew=1.1, invalid=0.1, seed=42)
    assert lines == generate_lines(200, 7, skew=1.1, invalid=0.1, seed=42)
    assert lines != generate_lines(200, 7, skew=1.1, invalid=0.1, seed=43)
    assert (
        hashlib.sha256(b"".join(lines)).hexdigest()
        == "1895549ae6e57fc46a36f463df46bfa37d77803839bcb4185989486018a1a0ca"
    )


def test_more_runs_begin_with_the_same_runs() -> None:
    assert generate_lines(100) == generate_lines(200)[:100]


def test_lines_are_what_json_stringify_writes() -> None:
    for line in generate_lines(300):
        assert (
            line == json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        )


def test_runs_have_the_usual_fields_in_their_order() -> None:
    usual = ["taskId", "runId", "timestamp", "mode", "plan", "build", "test", "review", "toolRuns", "privacy"]
    for value in payloads(generate_lines(100)):
        assert list(value) == usual
        assert value["build"]["runId"] == value["test"]["runId"] == value["runId"]


def test_runs_have_unique_ids_and_iso_timestamps() -> None:
    values = payloads(generate_lines())
    assert len({value["runId"] for value in values}) == 1000
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value["timestamp"]) for value in values
    )


def test_timestamps_mostly_ascend() -> None:
    times = [value["timestamp"] for value in payloads(generate_lines())]
    later = sum(one < two for one, two in itertools.pairwise(times))
    assert 0.85 * len(times) < later < len(times) - 1


def test_some_runs_are_events_and_some_texts_are_not_ascii() -> None:
    lines = generate_lines()
    assert 10 < sum(line.startswith(b'{"type":"run:completed","payload":{') for line in lines) < 60
    assert sum(not line.isascii() for line in lines) / len(lines) > 0.5


@pytest.mark.parametrize("size", [1500, 2500, 10_000])
def test_lines_have_about_the_requested_size(size: int) -> None:
    lengths = [len(line) for line in generate_lines(3000, size=size)]
    assert sum(lengths) / len(lengths) == pytest.approx(size, rel=0.05)
    assert min(lengths) < 0.7 * size
    assert max(lengths) > 1.3 * size


def test_tiny_size_makes_whole_runs() -> None:
    assert all("privacy" in value for value in payloads(generate_lines(50, size=1)))


def test_tasks_without_skew_have_similar_sizes() -> None:
    counts = Counter(value["taskId"] for value in payloads(generate_lines(5000, 10)))
    assert len(counts) == 10
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_skew_makes_a_hot_task() -> None:
    counts = Counter(value["taskId"] for value in payloads(generate_lines(2000, 50, skew=3)))
    assert counts.most_common(1)[0][0] == "task-00001"
    assert counts["task-00001"] > 1500


def test_only_invalid_lines_are_rejected(tmp_path: Path) -> None:
    lines = generate_lines(2000, invalid=0.2)
    found = scan(tmp_path / "spool", put(tmp_path / "a.jsonl", b"".join(lines)))
    assert len(found.rows) + len(found.rejects) == 2000
    assert 300 < len(found.rejects) < 500
    assert len({reject.failure.message for reject in found.rejects}) >= 6
    all_valid, all_invalid = b"".join(generate_lines(500)), b"".join(generate_lines(500, invalid=1.0))
    assert scan(tmp_path / "spool", put(tmp_path / "b.jsonl", all_valid)).rejects == []
    assert scan(tmp_path / "spool", put(tmp_path / "c.jsonl", all_invalid)).rows == []


def test_reader_may_stop_early() -> None:
    command = f"set -o pipefail; {sys.executable} -m batchpersist generate --runs 500 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_no_runs_make_no_lines() -> None:
    assert generate_lines(0) == []


def test_samples_have_the_requested_length() -> None:
    for size in (1200, 3000, 8000):
        assert len(sample_members(Random(1), size)) == pytest.approx(size, abs=100)
