"""``batchpersist report``: what it finds, what it reports of each state of a batch, and where it writes."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import run
from support.outcomes import Row
from support.reports import BATCH_ID, HOSTILE, document_of, failing_rows, leave_batch, write_record

from batchpersist.arrow_tables import outcome_schema
from batchpersist.cli.main import cli
from batchpersist.events import Progress
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.models import Durability, Failure, Reject, Side, Work
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import BatchFolder, ProgressFile, batch_name
from batchpersist.records.journal import Journal, ShardEntry, encode_entry
from batchpersist.report import build
from batchpersist.report.document import BatchDocument
from batchpersist.report.formats import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "report.md"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "compare.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)


def report(*words: str | Path) -> str:
    result = invoke("report", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def persist(count: int = 9) -> dict[str, object]:
    lines = [json.dumps(run(f"task-{number % 3}", number)) for number in range(count)]
    Path("runs.jsonl").write_text("\n".join([*lines, "no json"]))
    assert invoke("run", "runs.jsonl").exit_code == 3
    metrics: dict[str, object] = json.loads(Path("out/metrics.json").read_bytes())
    return metrics


def test_report_of_the_latest_batch_repeats_its_last_sentences() -> None:
    metrics = persist()
    told = report()
    assert told.startswith(f"Batch {metrics['batch_id']}: finished, exit code 3\n")
    assert "Done: 9 persisted, 1 invalid. Invalid input was left out; everything else is persisted." in told
    assert "1 x input: not valid JSON (InvalidRunError)\n      runs.jsonl:10" in told
    assert "Note:" not in told


def test_batch_is_found_by_its_id_its_folder_or_any_of_its_files() -> None:
    batch_id = str(persist()["batch_id"])
    folder = Layout("", ".runs").batch(batch_id)
    told = report()
    ways = (
        batch_id,
        batch_id[:17],
        folder,
        f"{folder}/metrics.json",
        f"{folder}/outcomes.parquet",
        "out/metrics.json",
    )
    assert [what for what in ways if report(what) != told] == []


def test_the_document_has_the_figures_of_the_metrics() -> None:
    metrics = persist()
    document = json.loads(report("--format", "json"))
    for name in ("batch_id", "counts", "bytes", "errors", "passed_over", "unknown_suffixes", "config"):
        assert document[name] == metrics[name], name
    assert document["kind"] == "batch"
    assert document["latency"]["pair"][-1] == document["latency"]["runs"] == 9
    assert sum(document["throughput"]["runs"]) == pytest.approx(9)
    assert [len(document["slowest_tasks"]), document["tasks"]] == [3, 3]
    assert document["runs_dir"] == os.path.abspath(".runs")
    (invalid,) = document["failed_runs"]
    assert (invalid["source"], invalid["line"], invalid["task_id"]) == ("runs.jsonl", 10, None)


def test_metrics_without_their_folder_are_reported_with_a_note() -> None:
    persist()
    os.rename(".runs", "gone")
    told = report("out/metrics.json", "--runs-dir", "elsewhere")
    assert "Done: 9 persisted, 1 invalid." in told
    assert "Note: Only the metrics are there" in told
    places = f"{os.path.abspath('elsewhere')} or {os.path.abspath('.runs')}"
    assert f"The batch's folder is not below {places}; --runs-dir names its runs root." in told
    result = CliRunner().invoke(cli, ["report", "out/metrics.json", "-o", "report.json"])
    assert "Note: Only the metrics are there" in result.stderr


@pytest.mark.parametrize(
    ("metrics", "runs_dir"),
    [
        ("m.json", "other/runs"),
        ("out/../m.json", "other/runs"),
        ("m.json", "{}/other/runs"),
        ("{}/m.json", "{}/other/runs"),
    ],
)
def test_metrics_name_the_runs_root_of_their_batch(tmp_path: Path, metrics: str, runs_dir: str) -> None:
    """From any current folder."""
    metrics, runs_dir = metrics.format(tmp_path), runs_dir.format(tmp_path)
    Path("runs.jsonl").write_text(json.dumps(run("t", 1)))
    os.mkdir("out")
    assert invoke("run", "runs.jsonl", "--runs-dir", runs_dir, "--metrics", metrics).exit_code == 0
    whole = report("--runs-dir", "other/runs")
    assert report("m.json") == whole
    os.mkdir("below")
    os.chdir("below")
    assert report("../m.json") == whole
    assert "Note:" not in whole


def test_an_outcome_table_alone_is_counted_as_its_batch_counted_it(tmp_path: Path) -> None:
    rows = [
        Row("a", "1", superseded=True),
        Row("a", "1", snapshot=Side.LOCKED, snapshot_failure=Failure("L", "locked", "by me")),
        Row("b", "2", snapshot=Side.UNCHANGED, manifest=Side.UNCHANGED),
        Row("b", "3", manifest=Side.NOT_ATTEMPTED),
        Row("c", "4", snapshot_seconds=7.0),
    ]
    leave_batch(tmp_path / "runs", rows)
    whole = document_of(tmp_path / "runs")
    os.rename(BatchFolder(Layout("", str(tmp_path / "runs")).batch(BATCH_ID)).outcomes, "alone.parquet")
    alone = document_of(tmp_path / "runs", "alone.parquet")
    assert (alone.counts, alone.errors, alone.latency) == (whole.counts, whole.errors, whole.latency)
    assert alone.failed_runs == whole.failed_runs
    assert alone.slowest_tasks[0] == whole.slowest_tasks[0]
    assert len(alone.slowest_tasks) == len(whole.slowest_tasks) == 3
    assert alone.state == "unknown"


def damage_first_page(path: Path) -> None:
    """Write an outcome table whose data alone is damaged: Arrow raises an OSError without errno."""
    pq.write_table(pa.table({name: ["failed"] * 100 for name in outcome_schema().names}), path)
    data = bytearray(path.read_bytes())
    data[4:20] = b"\xff" * 16
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("what", "code", "complaint"),
    [
        ("latest", 10, "no batch has worked on"),
        ("2031", 10, "there is no batch named 2031"),
        ("gone.json", 10, "there is no gone.json"),
        ("empty", 2, "not the folder of a batch"),
        ("list.json", 2, "neither a batch's metrics nor a comparison: list.json: Expected `object`"),
        ("torn.json", 2, "torn.json: Expecting"),
        ("other.json", 2, "other.json: Object missing required field `schema_version`"),
        ("deep.json", 2, "neither a batch's metrics nor a comparison: deep.json"),
        ("no.parquet", 2, "not a Parquet file: no.parquet"),
        ("damaged.parquet", 2, "not a Parquet file: damaged.parquet"),
        ("other.parquet", 2, "not an outcome table, for it has no task_id, run_id"),
        ("odd.parquet", 2, "not an outcome table, for it has an unknown status: odd.parquet"),
    ],
)
def test_other_files_are_refused_with_the_reason(what: str, code: int, complaint: str) -> None:
    Path(".runs").mkdir()
    Path("empty").mkdir()
    Path("list.json").write_text("[]")
    Path("torn.json").write_text('{"kind": ')
    Path("other.json").write_text("{}")
    Path("deep.json").write_text("[" * 100_000)
    Path("no.parquet").write_text("no")
    damage_first_page(Path("damaged.parquet"))
    pq.write_table(pa.table({"a": [1]}), "other.parquet")
    odd = pa.table({name: ["fine"] if name == "status" else pa.nulls(1) for name in outcome_schema().names})
    pq.write_table(odd, "odd.parquet")
    result = invoke("report", what)
    assert result.exit_code == code
    assert complaint in result.stderr


def unended(state: str, **record: object) -> str:
    folder = BatchFolder(Layout("", os.path.abspath(".runs")).batch(BATCH_ID))
    Path(folder.path).mkdir(parents=True)
    write_record(folder, state=state, **record)  # type: ignore[arg-type]
    return folder.journal


def journal(path: str) -> None:
    with Journal(path, Durability.NONE) as entries:
        for number, work in enumerate((Work.PAIR, Work.SNAPSHOT, Work.MANIFEST)):
            entry = ShardEntry(number, work, 400, 0, number, 10.0 + number, 11.0 + number, 77, [])
            entries.append(encode_entry(entry))


def test_running_batch_is_reported_from_its_journal() -> None:
    journal(unended("running"))
    with BatchLock(Layout("out", os.path.abspath(".runs")), batch_name(BATCH_ID)):
        told, xml = report(), report("--format", "junit")
    assert f"Batch {BATCH_ID}: running\n" in told
    assert "Running: 800 runs settled (3 of them failed) so far." in told
    assert "  77  " in told
    assert xml.count("<skipped ") == 1


@pytest.mark.parametrize(
    ("news", "told"),
    [
        (Progress("scan", 1_234, None, 0), "Running: 1,234 runs found so far."),
        (
            Progress("settle", 800, 2_000, 3),
            "Running: of 2,000 runs, 800 runs settled (3 of them failed) so far.",
        ),
    ],
)
def test_report_of_a_running_batch_shows_its_latest_progress(news: Progress, told: str) -> None:
    journal(unended("running"))
    ProgressFile(BatchFolder(Layout("", os.path.abspath(".runs")).batch(BATCH_ID)).progress).write(news)
    with BatchLock(Layout("out", os.path.abspath(".runs")), batch_name(BATCH_ID)):
        assert told in report()


def test_unfinished_batch_without_a_lock_was_killed() -> None:
    unended("running")
    assert "Killed, or ended by a power cut: 0 runs settled before. The same command again does" in report()


def test_files_of_an_earlier_part_are_not_the_outcome_of_a_running_batch(tmp_path: Path) -> None:
    folder = leave_batch(tmp_path / ".runs", [Row("a", "1")], state="interrupted")
    write_record(folder, state="running", parts=2)
    assert "Killed" in report()


@pytest.mark.parametrize(
    ("state", "opening"),
    [
        ("failed", "Ended by an error of the batch as a whole"),
        ("interrupted", "Stopped at once"),
        ("finished", "Ended without metrics"),
        ("timed_out", "Ended without metrics"),
        ("stopped", "Ended without metrics"),
    ],
)
def test_batch_that_ended_without_metrics_is_reported_as_such(state: str, opening: str) -> None:
    unended(state)
    assert f"{opening}: 0 runs settled before." in report()
    result = invoke("report", "--format", "prometheus")
    assert (result.exit_code, "needs the metrics of a batch" in result.stderr) == (2, True)


def test_report_of_an_interrupted_batch_advises_to_continue_it(tmp_path: Path) -> None:
    rows = [Row("a", "1"), Row("a", "2", snapshot=Side.NOT_ATTEMPTED, manifest=Side.NOT_ATTEMPTED)]
    leave_batch(tmp_path / ".runs", rows, state="interrupted", exit_code=None)
    assert "Interrupted: 1 persisted, 1 not attempted. The same command again does what is left" in report()


def test_a_hot_task_is_named(tmp_path: Path) -> None:
    leave_batch(tmp_path / ".runs", failing_rows())
    assert "task is locked is hot: its manifests were spread over the workers" in report()


def test_only_the_first_of_many_failed_runs_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "LISTED", 4)
    rejects = [Reject("a.jsonl", 1, Failure("E", "m", "d"))] * 2
    leave_batch(tmp_path / "few", failing_rows(["x", "y", "z"]), rejects=rejects)
    leave_batch(tmp_path / "many", failing_rows(list("uvwxyz")), rejects=rejects)
    few, many = document_of(tmp_path / "few"), document_of(tmp_path / "many")
    assert [run.task_id for run in few.failed_runs] == ["x", "y", "z", None]
    assert [run.task_id for run in many.failed_runs] == list("uvwx")
    assert (few.failed_runs_omitted, many.failed_runs_omitted) == (1, 4)


@pytest.mark.parametrize("kind", ["text", "junit"])
def test_text_report_escapes_control_and_direction_characters(tmp_path: Path, kind: str) -> None:
    rejects = [Reject(text, 1, Failure("E", text, text)) for text in HOSTILE]
    leave_batch(tmp_path / ".runs", failing_rows(HOSTILE), rejects=rejects)
    told = report("--format", kind)
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & set(told)
    assert "\\u202egpj.exe" in told


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_report_has_no_control_characters_for_any_message(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    runs_dir = tmp_path_factory.mktemp("runs")
    leave_batch(runs_dir, failing_rows([text]), rejects=[Reject(text, 1, Failure(text, text, text))])
    told = report("--runs-dir", runs_dir)
    assert [
        letter for letter in told if not letter.isprintable() and ord(letter) < 0xA0 and letter != "\n"
    ] == []


@pytest.mark.parametrize("kind", FORMATS)
def test_file_names_that_are_not_utf_8_are_reported(kind: str) -> None:
    source, root = os.fsdecode(b"r\xffuns.jsonl"), os.fsdecode(b"ro\xffot")
    Path(source).write_text("no json\n" + json.dumps(run("t", 1)))
    options = ("--runs-dir", root, "--prometheus-textfile", "b.prom")
    assert invoke("run", source, *options, "-q").exit_code == 3
    report("--runs-dir", root, "--format", kind, "-o", "told")
    assert "\\xff" in Path("told").read_text("utf-8")


def test_report_is_written_in_the_format_of_the_file_name() -> None:
    persist()
    for name, beginning in (
        ("r.txt", "Batch "),
        ("r.json", "{"),
        ("r.xml", "<?xml"),
        ("new/r.prom", "# HELP"),
    ):
        assert report("-o", name) == ""
        assert Path(name).read_text().startswith(beginning)
    report("-o", "r.txt", "--format", "json")
    assert json.loads(Path("r.txt").read_text())["kind"] == "batch"
    assert sorted(path.name for path in Path("new").iterdir()) == ["r.prom"]


def test_output_that_is_not_a_regular_file_is_written_to_and_not_replaced() -> None:
    persist()
    os.mkfifo("pipe.json")
    reader = os.open("pipe.json", os.O_RDONLY | os.O_NONBLOCK)
    report("-o", "pipe.json")
    assert json.loads(os.read(reader, 1 << 20))["kind"] == "batch"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe.json").st_mode)
    result = invoke("report", "-o", "out", "--format", "text")
    assert (result.exit_code, "[EISDIR]" in result.stderr) == (1, True)


def test_unknown_extension_is_an_error_and_nothing_is_written() -> None:
    persist()
    result = invoke("report", "-o", "report.pdf")
    assert (result.exit_code, Path("report.pdf").exists()) == (2, False)
    assert "--format does" in result.stderr


def test_report_of_a_comparison_has_its_advice_and_its_proof() -> None:
    told = report(EXAMPLE)
    comparison = json.loads(EXAMPLE.read_text())
    assert f"Recommended: {comparison['recommendation']['command']}" in told
    assert "equal, byte for byte" in told
    for answer in comparison["questions"]:
        assert answer["answer"] in told
        assert all(f"  {variant['name']} " in told for variant in answer["variants"])
    document = json.loads(report(EXAMPLE, "--format", "json"))
    assert document == comparison


def test_a_comparison_whose_trees_differ_shows_how(tmp_path: Path) -> None:
    comparison = json.loads(EXAMPLE.read_text())
    difference = {
        "path": "out/t/runs.json",
        "kind": "content",
        "variant": "paired",
        "round": 1,
        "diff": ["-a", "+\x1b"],
    }
    comparison["questions"][0]["proof"] |= {
        "equal": False,
        "differences": [difference],
        "differences_omitted": 2,
    }
    Path("compare.json").write_text(json.dumps(comparison))
    told = report("compare.json")
    assert (
        "The outputs DIFFER in 3 places:\n"
        "  paired, round 1: content: out/t/runs.json\n      -a\n      +\\x1b\n  ... and 2 more\n" in told
    )


@pytest.mark.parametrize("kind", ["junit", "prometheus"])
def test_comparison_in_an_unsupported_format_is_refused(kind: str) -> None:
    result = invoke("report", EXAMPLE, "--format", kind)
    assert result.exit_code == 2
    assert f"not as {kind}" in result.stderr


@pytest.mark.parametrize("field", BatchDocument.__struct_fields__)
def test_each_field_of_the_document_is_explained(field: str) -> None:
    explained = re.findall(r"`(\w+)(?:\.\w+)*`", (PAGE.read_text()).partition("## The document")[2])
    assert field in explained


def test_report_names_the_host_of_the_batch(tmp_path: Path) -> None:
    leave_batch(tmp_path / ".runs", [])
    assert f" on {socket.gethostname()}" in report()
