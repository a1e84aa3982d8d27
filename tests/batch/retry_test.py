"""What did not stand after a batch is settled again: that alone, and as the whole command would."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import run, tree

from batchpersist.batch.run import retry_batch, run_batch
from batchpersist.cli.main import cli
from batchpersist.errors import BatchMissingError, UsageError
from batchpersist.events import BatchResumed, Event
from batchpersist.locks.task_lock import TaskLock
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.models import Failure, RetryOf
from batchpersist.options import BatchOptions, FailurePolicy, LockPolicy, RetryPolicy
from batchpersist.partition import Partition
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import find_batch
from batchpersist.records.journal import QuarantineEntry, encode_entry

ROOT = Layout("out", ".runs")
ALL = ("failed", "locked", "invalid")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *lines: Any) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    Path(name).write_text("".join(text + "\n" for text in texts))


def break_task(task: str) -> Path:
    """A snapshot that nobody can read: the task's commits fail until it is removed."""
    path = Path("out", task, "runs.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("broken")
    return path


def retry(*only: Any, batch: str = "latest", **more: Any) -> BatchReport:
    report = retry_batch(batch, BatchOptions(**more), only=only)
    assert report is not None
    return report


def counts(report: BatchReport, *names: str) -> tuple[int, ...]:
    return tuple(getattr(report.metrics.counts, name) for name in names)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["retry", *words], catch_exceptions=False)


# What failed, and what was locked


def test_only_failed_runs_are_persisted_again(folder: Path) -> None:
    write("s/a.jsonl", *(run(f"task-{n % 3}", n) for n in range(9)), "no json")
    broken = break_task("task-1")
    first = run_batch(["s"], BatchOptions())
    assert counts(first, "persisted", "failed", "invalid") == (6, 3, 1)
    broken.unlink()
    Path("out/task-0/runs.json").unlink()  # not ours to heal
    report = retry()
    assert counts(report, "discovered", "persisted", "filtered", "invalid") == (10, 3, 7, 0)
    assert report.exit_code == 0
    assert len(json.loads(Path("out/task-1/runs.json").read_text())["runs"]) == 3
    assert not Path("out/task-0/runs.json").exists()
    record = find_batch(ROOT).read_record()
    assert record.retry_of == RetryOf(first.metrics.batch_id, ("failed", "locked"))
    assert report.metrics.config["retry_of"] == {
        "batch_id": first.metrics.batch_id,
        "only": ("failed", "locked"),
    }
    assert retry_batch() is None


def test_locked_runs_can_be_retried_alone() -> None:
    write("a.jsonl", *(run(f"task-{n % 3}", n) for n in range(9)))
    broken = break_task("task-0")
    hasty = {"lock_policy": LockPolicy(attempts=1), "retry_policy": RetryPolicy(rounds=0)}
    with TaskLock(ROOT, "task-1"):
        first = run_batch(["a.jsonl"], BatchOptions(**hasty)).metrics.batch_id
    broken.unlink()
    assert counts(retry("locked", batch=first), "persisted", "filtered") == (3, 6)
    assert Path("out/task-1/runs.json").exists()
    assert not Path("out/task-0/runs.json").exists()
    assert counts(retry("failed", batch=first), "persisted", "filtered") == (3, 6)
    assert counts(retry(batch=first), "unchanged", "persisted") == (6, 0)


def test_a_retry_is_retried_in_its_turn() -> None:
    write("a.jsonl", run("a", 1), run("b", 2), run("c", 3))
    broken = [break_task(task) for task in "ab"]
    run_batch(["a.jsonl"], BatchOptions())
    broken[0].unlink()
    assert counts(retry(), "persisted", "failed") == (1, 1)
    broken[1].unlink()
    assert counts(retry(), "selected", "persisted") == (1, 1)


def test_roots_keys_selection_and_places_are_the_batch_s_wherever_it_is_retried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"t": f"task-{n % 3}", "r": f"r{n}", "at": f"2026-01-0{n}"} for n in range(1, 9)]
    write("a.jsonl", *documents)
    arguments = ["--task-key", "t", "--run-key", "r", "--time-key", "at", "--task", "task-[12]"]
    arguments += ["--out-dir", "o", "--runs-dir", "m", "--metrics", "told.json", "--since", "2026-01-03"]
    path = Path("o/task-1/runs.json")
    path.parent.mkdir(parents=True)
    path.write_text("broken")
    assert CliRunner().invoke(cli, ["run", "a.jsonl", *arguments]).exit_code == 3
    path.unlink()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    result = invoke("--runs-dir", "../m")
    assert result.exit_code == 0, result.output
    assert [entry["r"] for entry in json.loads((folder / path).read_text())["runs"]] == ["r4", "r7"]
    told = json.loads((folder / "told.json").read_text())
    assert (told["counts"]["persisted"], told["config"]["since"]) == (2, "2026-01-03T00:00:00.000Z")
    assert os.listdir() == []


def test_runs_gone_from_the_sources_are_reported() -> None:
    write("s/a.jsonl", run("task", 1), run("task", 2))
    write("s/b.jsonl", run("task", 3))
    write("c.jsonl", run("task", 4))
    broken = break_task("task")
    run_batch(["s", "c.jsonl"], BatchOptions())
    broken.unlink()
    write("s/a.jsonl", run("other", 1), run("task", 2))
    os.unlink("c.jsonl")
    report = retry()
    assert counts(report, "persisted", "invalid", "filtered") == (2, 2, 1)
    assert report.exit_code == 3
    (error,) = report.metrics.errors
    assert (error.stage, error.message) == ("input", "the run is no longer in the sources")
    assert [(sample.source, sample.line, sample.detail) for sample in error.samples] == [
        ("s/a.jsonl", 1, "task/run-1"),
        ("c.jsonl", 1, "task/run-4"),
    ]
    assert retry_batch() is None


def test_runs_of_standard_input_are_gone_unless_a_file_has_them() -> None:
    broken = break_task("task")
    write("a.jsonl", run("task", 1))
    piped = "\n".join(json.dumps(run("task", number)) for number in (1, 2))
    CliRunner().invoke(cli, ["run", "a.jsonl", "-"], input=piped)
    broken.unlink()
    result = invoke()
    assert result.exit_code == 3
    assert "1 no longer in the sources" in result.stderr
    assert "input: the run is no longer in the sources, e.g. <stdin>:2: task/run-2" in result.stdout
    assert [entry["runId"] for entry in json.loads(Path("out/task/runs.json").read_text())["runs"]] == [
        "run-1"
    ]


def test_last_version_of_a_run_is_retried_wherever_it_is() -> None:
    versions = [run("task", 1, version=number) for number in range(3)]
    write("a.jsonl", versions[0], run("other", 9))
    write("b.jsonl", versions[1])
    broken = break_task("task")
    run_batch(["a.jsonl", "b.jsonl"], BatchOptions())
    broken.unlink()
    write("b.jsonl", versions[1], versions[2])
    assert counts(retry(), "persisted", "superseded", "filtered") == (1, 2, 1)
    assert json.loads(Path(".runs/task/run-1/manifest.json").read_text())["version"] == 2


def test_a_shard_s_runs_are_retried_as_that_shard_s() -> None:
    write("a.jsonl", *(run(f"task-{n}", n) for n in range(8)), "no json")
    broken = [break_task(f"task-{n}") for n in range(8)]
    shard = BatchOptions(partition=Partition(1, 2))
    first = run_batch(["a.jsonl"], shard)
    assert 0 < first.metrics.counts.failed < 8
    for path in broken:
        path.unlink()
    report = retry()
    assert counts(report, "persisted") == counts(first, "failed")
    assert report.metrics.config["shard"] == "1/2"
    assert sorted(path.name for path in Path("out").glob("*.json")) == ["metrics-1-of-2.json"]
    assert counts(retry("invalid", batch=first.metrics.batch_id), "persisted", "failed") == (0, 0)


def test_quarantine_ends_with_the_batch() -> None:
    runs = [run("task", n) for n in range(3)]
    write("a.jsonl", *runs)
    batch = run_batch(["a.jsonl"], BatchOptions(), should_stop=lambda: True).metrics.batch_id
    died = QuarantineEntry(
        "task", "run-1", runs[1]["timestamp"], Failure("WorkerDiedError", "worker died", "")
    )
    Path(find_batch(ROOT).journal).write_bytes(encode_entry(died) + b"\n")
    first = run_batch(["a.jsonl"], BatchOptions())
    assert (first.metrics.batch_id, *counts(first, "persisted", "failed")) == (batch, 2, 1)
    assert counts(retry(), "persisted", "filtered") == (1, 2)
    assert Path(".runs/task/run-1/manifest.json").exists()


# Batches that did not come to their end


def test_a_batch_without_an_end_is_for_the_same_command_to_continue() -> None:
    write("a.jsonl", run("task", 1))
    Path(".runs").mkdir()
    with pytest.raises(BatchMissingError, match="no batch has worked on"):
        retry_batch()
    run_batch(["a.jsonl"], BatchOptions())
    folder = find_batch(ROOT)
    for state in ("running", "failed"):
        record = folder.read_record()
        record.state = state  # type: ignore[assignment]
        folder.write_record(record)
        with pytest.raises(BatchMissingError, match="the same command continues it"):
            retry_batch()
    record.state = "finished"
    folder.write_record(record)
    whole = Path(folder.outcomes).read_bytes()
    os.unlink(folder.outcomes)
    assert invoke(folder.batch_id).exit_code == 10
    Path(folder.outcomes).write_bytes(b"torn")
    assert "a table of batch" in invoke(folder.batch_id).stderr
    damaged = bytearray(whole)
    damaged[4:20] = b"\xff" * 16  # Arrow raises an OSError without errno
    Path(folder.outcomes).write_bytes(damaged)
    assert "a table of batch" in invoke(folder.batch_id).stderr
    record.config = {"sources": ["a.jsonl"]}
    folder.write_record(record)
    result = invoke(folder.batch_id)
    assert (result.exit_code, "the record of batch" in result.stderr) == (10, True)
    with pytest.raises(UsageError, match="not everything"):
        retry_batch(only=["everything"])  # type: ignore[list-item]


def test_an_interrupted_retry_is_continued_by_a_retry() -> None:
    write("a.jsonl", *(run(f"task-{n:03d}", n) for n in range(400)))
    for n in range(400):
        break_task(f"task-{n:03d}")
    first = run_batch(["a.jsonl"], BatchOptions()).metrics.batch_id
    shutil.rmtree("out")
    watched = FailurePolicy(limit=100, percent=True)  # makes for many small shards
    calls = iter(range(10**9))
    cut = retry_batch(options=BatchOptions(failure_policy=watched), should_stop=lambda: next(calls) > 2)
    assert cut is not None
    assert cut.state == "interrupted"
    assert 0 < cut.metrics.counts.persisted < 400
    seen: list[Event] = []
    whole = retry_batch(on_event=seen.append)
    assert whole is not None
    assert (whole.state, whole.metrics.batch_id) == ("finished", cut.metrics.batch_id)
    assert any(isinstance(event, BatchResumed) for event in seen)
    assert counts(whole, "persisted", "resumed") == (400, cut.metrics.counts.persisted)
    record = find_batch(ROOT).read_record()
    assert (record.parts, record.retry_of) == (2, RetryOf(first, ("failed", "locked")))


# What was invalid


def test_batch_of_an_interrupted_retry_is_kept() -> None:
    write("s/a.jsonl", *(run("task", n) for n in range(4)))
    broken = break_task("task")
    first = run_batch(["s"], BatchOptions())
    broken.unlink()
    interrupted = retry_batch("latest", BatchOptions(keep_batches=1), should_stop=lambda: True)
    assert interrupted is not None
    assert interrupted.state == "interrupted"
    continued = retry(keep_batches=1)
    assert counts(continued, "both_ok", "failed") == (4, 0)
    with pytest.raises(BatchMissingError):
        find_batch(ROOT, first.metrics.batch_id)


def test_corrected_lines_are_persisted_and_invalid_ones_reported() -> None:
    write("a.jsonl", run("task", 1), "no json", run("task", 2), "[]", run("other", 3))
    write("b.jsonl", "none either", run("task", 9))
    first = run_batch(["a.jsonl", "b.jsonl"], BatchOptions())
    assert counts(first, "persisted", "invalid") == (4, 3)
    assert retry_batch() is None
    write("a.jsonl", run("task", 1), run("task", 5), run("task", 2), "[]", run("other", 3))
    write("b.jsonl", run("task", 9))  # the line is gone, for good
    report = retry("invalid")
    # b.jsonl's first line was invalid: what stands there now counts as well
    assert counts(report, "persisted", "unchanged", "invalid", "filtered") == (1, 1, 1, 3)
    assert Path(".runs/task/run-5/manifest.json").exists()
    assert report.metrics.errors[0].samples[0].line == 4


def test_mended_lines_may_have_moved() -> None:
    write("a.jsonl", "no json", *(run("task", n) for n in range(3)))
    run_batch(["a.jsonl"], BatchOptions())
    write("a.jsonl", *(run("task", n) for n in range(3)), run("task", 7))
    assert counts(retry("invalid"), "persisted", "unchanged", "filtered") == (1, 1, 2)


def test_a_mended_line_does_not_undo_a_later_one() -> None:
    write("a.jsonl", "no json")
    write("b.jsonl", run("task", 1, version=2))
    run_batch(["a.jsonl", "b.jsonl"], BatchOptions())
    write("a.jsonl", run("task", 1, version=1))
    assert counts(retry("invalid"), "unchanged", "persisted", "superseded") == (1, 0, 1)
    assert json.loads(Path(".runs/task/run-1/manifest.json").read_text())["version"] == 2


def test_a_file_that_could_not_be_read_is_read_again() -> None:
    text = "".join(json.dumps(run("task", n)) + "\n" for n in range(500)).encode()
    whole = gzip.compress(text)
    Path("s").mkdir()
    Path("s/a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    first = run_batch(["s"], BatchOptions())
    had = first.metrics.counts.persisted
    assert had < 500
    Path("s/a.jsonl.gz").write_bytes(whole)
    assert counts(retry("invalid"), "invalid", "persisted") == (0, 500 - had)


def test_a_folder_that_could_not_be_listed_is_walked_again(folder: Path) -> None:
    write("s/deep/er/a.jsonl", run("task", 1))
    write("s/b.jsonl", run("task", 2))
    first = run_batch(["s"], BatchOptions())
    table = find_batch(ROOT)
    import pyarrow as pa
    import pyarrow.parquet as pq

    # As root can list whatever it likes, the batch's notes are made to say that it could not.
    denied = {"source": "s/deep", "line": 0, "type": "PermissionError", "message": "[EACCES]", "detail": ""}
    schema = pq.read_schema(table.rejects)
    pq.write_table(pa.Table.from_pylist([denied], schema=schema), table.rejects)
    outcomes = pq.read_table(table.outcomes)
    kept = [name != "s/deep/er/a.jsonl" for name in outcomes["source"].to_pylist()]
    pq.write_table(outcomes.filter(pa.array(kept)), table.outcomes)
    shutil.rmtree(".runs/task")
    assert first.exit_code == 0
    assert counts(retry("invalid"), "persisted", "filtered") == (1, 1)
    assert os.listdir(".runs/task") == ["run-1"]


def test_a_source_that_is_gone_cannot_be_mended() -> None:
    write("a.jsonl", run("task", 1), "no json")
    write("b.jsonl", run("task", 2))
    run_batch(["a.jsonl", "b.jsonl"], BatchOptions())
    os.unlink("a.jsonl")
    report = retry("invalid")
    assert counts(report, "invalid", "filtered", "selected") == (1, 1, 0)
    assert report.metrics.errors[0].message == "the source is no longer there"


# As the whole command would

LINES = st.lists(
    st.one_of(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), st.just("broken")), max_size=8
)


@settings(max_examples=12, deadline=None)
@given(st.tuples(LINES, LINES), st.sets(st.sampled_from("ab")), st.data())
def test_retry_of_all_kinds_equals_a_run_of_the_corrected_sources(
    sources: tuple[list[Any], list[Any]], failing: set[str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)

        def texts(lines: list[Any], first: int) -> list[Any]:
            made = []
            for number, line in enumerate(lines, first):
                mended = {"taskId": line[0], "runId": line[1], "timestamp": f"{number:03d}", "n": number}
                made.append(line if line == "broken" else json.dumps(mended))
            return made

        def save(*contents: list[Any]) -> list[str]:
            names = [str(root / f"{number}.jsonl") for number in range(len(contents))]
            for path, content in zip(names, contents, strict=True):
                Path(path).write_text("".join(f"{text}\n" for text in content))
            return names

        def options(where: str) -> BatchOptions:
            return BatchOptions(out_dir=str(root / where / "out"), runs_dir=str(root / where / "runs"))

        names = save(texts(sources[0], 0), texts(sources[1], 10))
        for task in failing:
            path = root / "one/out" / task / "runs.json"
            path.parent.mkdir(parents=True)
            path.write_text("broken")
        run_batch(names, options("one"))
        for task in failing:
            (root / "one/out" / task / "runs.json").unlink()
        mends = st.one_of(st.just("broken"), st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")))
        mended = [[data.draw(mends) if line == "broken" else line for line in lines] for lines in sources]
        save(texts(mended[0], 0), texts(mended[1], 10))
        retry_batch(options=options("one"), only=ALL)
        run_batch(names, options("other"))
        for place in ("one", "other"):
            (root / place / "out/metrics.json").unlink()
        assert tree(root / "one") == tree(root / "other")


# The command


def test_retry_prints_its_runs_and_their_outcome() -> None:
    write("a.jsonl", *(run(f"task-{n % 2}", n) for n in range(4)))
    broken = break_task("task-1")
    run_batch(["a.jsonl"], BatchOptions())
    batch = find_batch(ROOT).batch_id
    assert invoke("-v").exit_code == 3
    broken.unlink()
    result = invoke(batch, "-j", "1")
    assert result.exit_code == 0
    assert f"Retrying batch {batch}: runs that did not stand: 2" in result.stderr
    assert result.stdout.splitlines()[-1] == "Done: 2 persisted, 2 filtered out. Nothing failed."
    again = invoke("latest", "--only", "locked")
    assert again.exit_code == 0
    assert again.stdout == f"Nothing to retry: no run of batch {find_batch(ROOT).batch_id} is locked.\n"
    assert invoke("none").exit_code == 10
    assert invoke("--only", "other").exit_code == 2


def test_the_command_for_programs() -> None:
    write("a.jsonl", run("task", 1))
    broken = break_task("task")
    run_batch(["a.jsonl"], BatchOptions())
    broken.unlink()
    events = [json.loads(line) for line in invoke("--json").stdout.splitlines()]
    assert [event["message_type"] for event in events][:3] == ["started", "status", "retry"]
    assert (events[2]["runs"], events[2]["gone"]) == (1, 0)
    assert (events[-1]["message_type"], events[-1]["counts"]["persisted"]) == ("summary", 1)
    (event,) = [json.loads(line) for line in invoke("--json").stdout.splitlines()]
    assert (event["state"], event["exit_code"]) == ("nothing to retry", 0)


@pytest.mark.parametrize("source", ["s", os.fsdecode(b"s/\xff.jsonl")])
def test_a_source_whose_name_is_not_utf_8_can_be_mended(source: str) -> None:
    name = os.fsdecode(b"s/\xff.jsonl")
    write(name, run("task", 1), "no json")
    run_batch([source], BatchOptions())
    write(name, run("task", 1), run("task", 2))
    assert counts(retry("invalid"), "persisted", "invalid") == (1, 0)


def test_a_source_whose_name_is_not_utf_8_is_gone_where_it_is() -> None:
    name = os.fsdecode(b"s/\xff.jsonl")
    write(name, run("task", 1), "no json")
    run_batch(["s"], BatchOptions())
    os.unlink(name)
    assert counts(retry("invalid"), "persisted", "invalid") == (0, 1)


def test_invalid_input_left_out_of_a_retry_is_named_with_its_option() -> None:
    Path("in.jsonl").write_text("no run\n")
    CliRunner().invoke(cli, ["run", "in.jsonl"])
    result = CliRunner().invoke(cli, ["retry"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 invalid input: fix the sources, then `batchpersist retry --only invalid`." in result.stdout
