"""The file for node_exporter's textfile collector: what it tells, what it goes on from, what stops it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.engine import run
from support.outcomes import Row
from support.reports import leave_batch

from batchpersist.cli.main import cli
from batchpersist.errors import UsageError
from batchpersist.metrics.prometheus import BUCKETS, OUTCOMES, Figures, check_textfile, expose, parse
from batchpersist.models import Side

FILE = Path("batch.prom")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(range(9))


def write(numbers: range, *more: str) -> None:
    lines = [json.dumps(run(f"task-{number % 3}", number)) for number in numbers]
    Path("runs.jsonl").write_text("\n".join([*lines, *more]))


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def persist(*words: str) -> int:
    return invoke("run", "runs.jsonl", "--no-resume", "--prometheus-textfile", str(FILE), *words).exit_code


def samples(text: str | None = None) -> dict[str, float]:
    """By name and labels, but for the runs-dir that all of them have."""
    found = {}
    for (name, labels), value in parse(FILE.read_text() if text is None else text).items():
        given = dict(labels)
        assert given.pop("runs_dir") == str(Path(".runs").resolve())
        assert given.pop("shard") == ""
        found[" ".join([name, *map(str, given.values())])] = value
    return found


def test_textfile_has_the_figures_of_the_metrics() -> None:
    assert persist() == 0
    told, metrics = samples(), json.loads(Path("out/metrics.json").read_bytes())
    for outcome in OUTCOMES:
        assert told[f"batchpersist_runs_total {outcome}"] == metrics["counts"][outcome]
        assert told[f"batchpersist_last_batch_runs {outcome}"] == metrics["counts"][outcome]
    assert told["batchpersist_written_bytes_total snapshot"] == metrics["bytes"]["snapshots"]
    assert told["batchpersist_pair_duration_seconds_count"] == 9
    assert told["batchpersist_last_batch_success"] == 1
    end = told["batchpersist_last_batch_end_timestamp_seconds"]
    assert told["batchpersist_last_success_timestamp_seconds"] == end
    assert told["batchpersist_last_batch_duration_seconds"] == metrics["timing"]["wall_seconds"]


def test_counters_continue_and_last_success_stays_after_a_failure() -> None:
    persist()
    first = samples()
    write(range(12), "no json")
    assert persist() == 3
    second = samples()
    assert second["batchpersist_runs_total persisted"] == 9 + 3
    assert second["batchpersist_runs_total unchanged"] == 9
    assert second["batchpersist_last_batch_runs persisted"] == 3
    assert second["batchpersist_manifest_duration_seconds_count"] == 9 + 12
    assert second["batchpersist_last_batch_success"] == 0
    last = "batchpersist_last_success_timestamp_seconds"
    assert second[last] == first[last]
    cumulative = [
        name for name in first if name.partition(" ")[0].endswith(("_total", "_count", "_sum", "_bucket"))
    ]
    assert [name for name in cumulative if second[name] < first[name]] == []


def test_last_success_is_missing_before_the_first() -> None:
    write(range(1), "no json")
    persist()
    assert not [name for name in samples() if "last_success" in name]


def test_stopped_batch_counts_its_runs_but_is_not_a_success() -> None:
    write(range(9), "no json")
    assert persist("--max-failures", "0") == 4
    told = samples()
    assert told["batchpersist_last_batch_success"] == 0
    assert told["batchpersist_runs_total invalid"] == 1
    assert told["batchpersist_runs_total not_attempted"] == 9


def figures(started: float, **counts: int) -> Figures:
    return Figures(
        {"runs_dir": str(Path(".runs").resolve()), "shard": ""}, started, started + 1, 1.0, False,
        {**dict.fromkeys(OUTCOMES, 0), **counts}, {"snapshots": 0, "manifests": 0},
    )  # fmt: skip


def test_runs_of_an_earlier_part_are_not_counted_twice() -> None:
    part = expose(figures(100.5, persisted=800, failed=5), {})
    whole = expose(figures(100.5, persisted=1000), parse(part))
    other = expose(figures(200.5, persisted=10), parse(whole))
    told = [samples(text) for text in (part, whole, other)]
    assert [each["batchpersist_runs_total persisted"] for each in told] == [800, 1000, 1010]
    assert [each["batchpersist_runs_total failed"] for each in told] == [5, 5, 5], "a counter never falls"


def test_another_root_s_figures_are_not_gone_on_from() -> None:
    persist()
    assert persist("--runs-dir", "other-runs", "--out-dir", "other-out") == 0
    told = parse(FILE.read_text())
    assert {dict(labels)["runs_dir"] for _, labels in told} == {str(Path("other-runs").resolve())}


def test_a_shard_has_a_file_and_a_label_of_its_own() -> None:
    assert persist("--shard", "1/2") in (0, 3)
    (path,) = Path().glob("batch*.prom")
    assert path != FILE
    (shard,) = {dict(labels)["shard"] for _, labels in parse(path.read_text())}
    assert shard in path.name


def test_buckets_hold_the_runs_that_took_at_most_so_long(tmp_path: Path) -> None:
    seconds = (0.001, 0.002, 0.7, 400.0)
    rows = [Row("t", str(place), manifest_seconds=value) for place, value in enumerate(seconds)]
    rows.append(Row("t", "no", snapshot=Side.NOT_ATTEMPTED, manifest=Side.NOT_ATTEMPTED))
    leave_batch(tmp_path / ".runs", rows)
    told = samples(invoke("report", "--format", "prometheus").stdout)
    name = "batchpersist_manifest_duration_seconds"
    for bound in BUCKETS:
        assert told[f"{name}_bucket {bound}"] == sum(value <= bound for value in seconds)
    assert told[f"{name}_bucket +Inf"] == told[f"{name}_count"] == 4
    assert told[f"{name}_sum"] == pytest.approx(sum(seconds))


def test_promtool_has_no_complaint() -> None:
    if not shutil.which("promtool"):
        pytest.skip("THERE IS NO promtool: what it says of the textfile is not known")
    persist()
    write(range(12), "no json")
    persist()
    words = ["promtool", "check", "metrics"]
    checked = subprocess.run(words, input=FILE.read_text(), text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("path", "code", "complaint"),
    [
        ("batch.txt", 2, "node_exporter reads *.prom only"),
        ("text.prom/batch.prom", 1, "[ENOTDIR]"),
        ("folder.prom", 1, "[EISDIR]"),
        ("text.prom", 2, "text.prom is not in Prometheus' format, and is left as it is"),
        ("node.prom", 2, "node.prom is another program's, and is left as it is: it has node_load1"),
        ("binary.prom", 2, "binary.prom is not in Prometheus' format"),
    ],
)
def test_unwritable_textfile_is_refused_before_the_work(path: str, code: int, complaint: str) -> None:
    Path("folder.prom").mkdir()
    contents = {"text.prom": b"Dear diary {", "node.prom": b"node_load1 0.5\n", "binary.prom": b"\xff\xfe"}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    result = invoke("run", "runs.jsonl", "--prometheus-textfile", path)
    assert result.exit_code == code
    assert complaint in result.stderr
    assert not Path("out").exists()
    assert {name: Path(name).read_bytes() for name in contents} == contents


def test_collector_folder_has_no_other_files() -> None:
    Path("textfiles").mkdir()
    invoke("run", "runs.jsonl", "--prometheus-textfile", "textfiles/b.prom")
    assert [path.name for path in Path("textfiles").iterdir()] == ["b.prom"]
    assert Path("textfiles/b.prom").stat().st_mode & 0o444 == 0o444, "the collector is another user"


def test_failure_to_write_the_textfile_after_the_work_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.batch.run.check_textfile", lambda _path: None)
    FILE.write_text("node_load1 0.5\n")
    result = invoke("run", "runs.jsonl", "--prometheus-textfile", str(FILE))
    assert result.exit_code == 1
    assert "the report could not be written: batch.prom is another program's" in result.stderr
    assert json.loads(Path("out/metrics.json").read_bytes())["counts"]["persisted"] == 9


def test_missing_package_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from importlib.util import find_spec as find\n"
        "import batchpersist.errors as e\n"
        "e.find_spec = lambda name: None if name == 'prometheus_client' else find(name)\n"
        "from batchpersist.cli.main import main; main()"
    )
    words = [sys.executable, "-c", program, "run", "runs.jsonl", "--prometheus-textfile", "b.prom"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "pip install 'batchpersist[prometheus]'" in result.stderr
    assert not Path("out").exists()


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("# TYPE a histogram\na_bucket{le=} 1")
@example('batchpersist_x{a="b} 1')
@example("# HELP")
def test_existing_textfile_is_read_or_refused(text: str) -> None:
    path = Path("any.prom")
    path.write_text(text, "utf-8", errors="replace")
    before = path.read_bytes()
    try:
        check_textfile(str(path))
    except UsageError as error:
        assert "is left as it is" in str(error)  # noqa: PT017
    assert path.read_bytes() == before
