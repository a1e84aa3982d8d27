"""The benchmarks run and print their tables; the figures mean nothing at this size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str, *words: object, where: Path) -> str:
    """Run a benchmark below ``where``; returns what it prints."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, words), "--where", str(where)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def test_throughput_is_a_multiple_of_the_group_commit(tmp_path: Path) -> None:
    printed = benchmark(
        "throughput.py", "--runs", 40, "--tasks", 4, "--baseline-runs", 10, "--repeat", 1, where=tmp_path
    )
    for shape in ("many tasks: 40 runs in 4 tasks", "one task: 40 runs in 1 task"):
        assert shape in printed
    ratios = re.findall(r"^group commit, 2 workers {2,}40 .* (\d+\.\d\d) ", printed, re.MULTILINE)
    assert ratios == ["1.00", "1.00"], "each row is a multiple of the group commit"
    assert printed.count("one commit a run, sequential") == printed.count("cp -r of the tree written") == 2
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_scan_benchmark_covers_each_format(tmp_path: Path) -> None:
    printed = benchmark("scan.py", "--runs", 40, "--tasks", 4, "--repeat", 1, where=tmp_path)
    rows = re.findall(r"^(\S.*?) {2,}\d+\.\d {2,}\d+\.\d\d {2,}\d+\.\d\d {2,}\d+%$", printed, re.MULTILINE)
    assert rows == [
        "one .jsonl",
        "one .jsonl.gz",
        "one .jsonl.zst",
        "one .parquet, JSON text",
        "a .json file a run",
        "a runs-dir of manifests",
    ]
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_append_benchmark_prints_a_row_for_each_size(tmp_path: Path) -> None:
    printed = benchmark("append.py", "--sizes", 1, "--repeat", 1, where=tmp_path)
    assert re.search(r"^1 MB {2,}[\d,]+ ms {2,}[\d,]+ ms {2,}\d+\.\d {2,}\d+$", printed, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_lock_hold_is_measured_alone_and_beside_a_writer(tmp_path: Path) -> None:
    printed = benchmark("lock_hold.py", "--sizes", 1, "--commits", 2, where=tmp_path)
    rows = re.findall(r"^1 MB {2,}(\S.*?) {2,}\d+\.\d ms {2,}\d\.\d {2,}\d+\.\d\d s$", printed, re.MULTILINE)
    assert rows == ["alone", "beside a writer"]
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_scale_benchmark_answers_each_question(tmp_path: Path) -> None:
    words = ("--runs", 400, "--small", 200, "--repeat", 1, "--shapes", "many", "--max-memory", "400M")
    printed = benchmark("scale.py", *words, where=tmp_path)
    for question in ("floor", "flat", "parallel", "memory", "incremental"):
        assert f"\n{question}, many: 400 runs\n" in printed
    ratio = r" {2,}\d+\.\d\d$"
    assert re.search(r"^cp -r of the tree written .* 1\.00" + ratio, printed, re.MULTILINE)
    assert re.search(r"^400 runs {2,}\d+\.\d" + ratio, printed, re.MULTILINE)
    assert re.search(r"^2 workers .*\d%$", printed, re.MULTILINE)
    assert re.search(r"^the same again {2,}\d+ {2,}\d+ {2,}400M {2,}\d+%$", printed, re.MULTILINE)
    assert re.search(r"^next night {2,}\d+ {2,}\d+ .*" + ratio, printed, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_scale_benchmark_knows_each_shape(tmp_path: Path) -> None:
    shapes = ("hot", "gz", "zst", "parquet", "files", "folder", "manifests")
    words = ("--runs", 40, "--repeat", 1, "--shapes", *shapes, "--questions", "incremental")
    printed = benchmark("scale.py", *words, where=tmp_path)
    for shape in shapes:
        assert f"\nincremental, {shape}: 40 runs\n" in printed
    assert len(re.findall(r"^next night .* \d+\.\d\d$", printed, re.MULTILINE)) == len(shapes)
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_spelling_benchmark_runs_on_plain_numbers(tmp_path: Path) -> None:
    printed = benchmark("spelling.py", "--runs", 20, "--tasks", 2, "--repeat", 1, where=tmp_path)
    assert "respelling: nothing to respell" in printed


def test_startup_benchmark_prints_a_row_for_each_command(tmp_path: Path) -> None:
    printed = benchmark("startup.py", "--repeat", 1, "--runs", 2, where=tmp_path)
    rows = re.findall(r"^(\S.*?) {2,}\d+ {2,}\d+ {2,}\d+\.\d\d$", printed, re.MULTILINE)
    assert rows == [
        "python -c 'import click'",
        "batchpersist --version",
        "batchpersist run --help",
        "batchpersist run -j 2, 2 runs",
    ]
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_audit_benchmark_prints_a_row_for_each_mode(tmp_path: Path) -> None:
    printed = benchmark("audit.py", "--runs", 40, "--tasks", 4, "--repeat", 1, where=tmp_path)
    rows = re.findall(r"^(\S.*?) {2,}\d+\.\d\d {2,}\d+\.\d\d {2,}\d+ {2,}\d+\.\d\d$", printed, re.MULTILINE)
    assert rows == ["cat", "audit -j 1", "audit -j 2", "audit -j 2, with the source"]
    assert re.search(r"^peak memory of one process: \d+ MB$", printed, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [], "temporary files remain"


def test_root_benchmark_prints_a_row_for_each_step(tmp_path: Path) -> None:
    printed = benchmark("root.py", "--runs", 40, "--tasks", 4, "--repeat", 1, where=tmp_path)
    assert "\n40 runs of 4 tasks, 856 files\n" in printed
    rows = re.findall(
        r"^(\S.*?) {2,}\d+\.\d\d {2,}\d+\.\d\d {2,}\d+\.\d\d {2,}\d+\.\d\d$", printed, re.MULTILINE
    )
    assert rows == [
        "find and cat of the summaries",
        "run, the first night",
        "run, the next night",
        "validate",
    ]
    assert list(tmp_path.iterdir()) == [], "temporary files remain"
