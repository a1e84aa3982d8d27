"""``batchpersist run`` as a user meets it: exit codes, what it prints and where, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run, tree

from batchpersist.cli.main import cli
from batchpersist.exit_codes import ExitCode
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import find_batch
from batchpersist.workers import shard_call


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    return tmp_path


def invoke(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["run", *words], input=stdin, catch_exceptions=False)


def add_line(text: str) -> None:
    with open("runs.jsonl", "a") as file:
        file.write("\n" + text)


def break_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.metrics.schema.IDENTITIES", (("selected", ("failed",)),))


def break_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(shard_call, "persist_shard", defect)


def test_exit_0_when_all_is_persisted_or_was_already() -> None:
    first, second = invoke("runs.jsonl"), invoke("runs.jsonl")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.splitlines()[-1] == "Done: 9 persisted. Nothing failed."
    assert second.stdout.splitlines()[-1] == "Done: 0 persisted, 9 unchanged. Nothing failed."
    assert set(tree(Path("out"))) == {"metrics.json", *(f"task-{n}/runs.json" for n in range(3))}


def test_exit_1_when_the_totals_do_not_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    break_totals(monkeypatch)
    result = invoke("runs.jsonl")
    assert result.exit_code == 1
    assert "the counts do not add up: selected 9 is not failed 0" in result.stderr
    assert not Path("out/metrics.json").exists()


def test_exit_1_on_a_defect_with_the_metrics_written(monkeypatch: pytest.MonkeyPatch) -> None:
    break_engine(monkeypatch)
    result = invoke("runs.jsonl", "-j", "1")
    assert result.exit_code == 1
    assert "a defect" in result.stdout
    assert json.loads(Path("out/metrics.json").read_bytes())["counts"]["failed"] == 9


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "Missing argument 'SOURCES...'"),
        (("runs.jsonl", "--workers", "0"), "0 is not in the range x>=1"),
        (("runs.jsonl", "--since", "tomorrow"), "'tomorrow' is not an ISO date or time"),
        (("runs.jsonl", "--max-failures", "x%"), "expected a number of runs or a percentage"),
        (("README.txt",), "cannot tell the format of README.txt"),
    ],
)
def test_exit_2_on_wrong_usage_and_nothing_is_done(words: tuple[str, ...], complaint: str) -> None:
    Path("README.txt").touch()
    result = invoke(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not Path("out").exists()


def test_exit_3_when_some_failed_or_were_invalid() -> None:
    add_line("no json")
    result = invoke("runs.jsonl")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith("1 x input: ")
    assert "runs.jsonl:10" in lines[0]
    assert (
        lines[-1] == "Done: 9 persisted, 1 invalid. Invalid input was left out; everything else is persisted."
    )


@pytest.mark.parametrize("policy", [("--fail-fast",), ("--max-failures", "0"), ("--max-failures", "5%")])
def test_exit_4_when_the_failure_policy_stops_it(policy: tuple[str, ...]) -> None:
    add_line("no json")
    result = invoke("runs.jsonl", *policy)
    assert result.exit_code == 4
    assert result.stdout.splitlines()[-1].startswith(
        "Stopped by the failure policy: 0 persisted, 9 not attempted, 1 invalid."
    )


def test_exit_10_when_a_source_is_missing_and_nothing_is_done() -> None:
    result = invoke("runs.jsonl", "absent.jsonl")
    assert result.exit_code == 10
    assert result.stderr == "Error: source not found: absent.jsonl\n"
    assert not Path("out").exists()
    assert not Path(".runs").exists()


def test_exit_11_while_another_batch_holds_the_root() -> None:
    with BatchLock(Layout("out", ".runs"), "batch of last night"):
        result = invoke("runs.jsonl")
    assert result.exit_code == 11
    assert "batch of last night" in result.stderr
    assert str(os.getpid()) in result.stderr


def test_exit_12_when_it_is_out_of_time_and_the_same_command_continues() -> None:
    result = invoke("runs.jsonl", "--max-duration", "0.000001s")
    assert result.exit_code == 12
    assert result.stdout.splitlines()[-1].startswith("Out of time: ")
    metrics = json.loads(Path("out/metrics.json").read_bytes())
    assert (metrics["state"], metrics["interrupted"], metrics["parts"]) == ("timed_out", False, 1)
    result = invoke("runs.jsonl", "--max-duration", "1h")
    assert result.exit_code == 0
    assert f"Continuing batch {metrics['batch_id']}: " in result.stderr
    assert json.loads(Path("out/metrics.json").read_bytes())["parts"] == 2


@pytest.fixture
def slow_batch(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a batch that takes many seconds: one commit a run, into one task, synced one by one."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        lines = (json.dumps(run("task", 0) | {"runId": f"r{n}", "notes": "x" * 2000}) for n in range(6_000))
        (folder / "many.jsonl").write_text("\n".join(lines))
        command = [sys.executable, "-m", "batchpersist", "run", "many.jsonl", "--progress", "none", *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        deadline = time.monotonic() + 300
        while not list(folder.glob(".runs/task*/*/manifest.json")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_exit_130_and_143_when_interrupted_with_what_had_begun_settled(
    slow_batch: Callable[..., subprocess.Popen[str]], number: int, code: int
) -> None:
    process = slow_batch("-j", "2", "--durability", "file")
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    assert f"{signal.Signals(number).name}: settling what has begun" in stderr
    assert stdout.splitlines()[-1].startswith("Interrupted: ")
    assert "The same command again does what is left" in stdout
    metrics = json.loads(Path("out/metrics.json").read_bytes())
    assert metrics["interrupted"] is True
    assert not list(Path(".runs").glob("*.lock*"))
    assert not list(Path().rglob("*.tmp-*"))


def test_a_signal_that_was_ignored_before_stays_ignored(
    slow_batch: Callable[..., subprocess.Popen[str]],
) -> None:
    """As by nohup: the batch goes on when its terminal is closed."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = slow_batch("-j", "2", "--durability", "file")
    finally:
        signal.signal(signal.SIGHUP, previous)
    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "SIGHUP" not in stderr
    assert "SIGTERM: settling what has begun" in stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_stops_at_once_without_leaving_a_lock(
    slow_batch: Callable[..., subprocess.Popen[str]], workers: str
) -> None:
    process = slow_batch("-j", workers, "--commit", "run")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "once more to stop at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert process.stderr.readlines()[-1] == "Stopped at once. The same command again does what is left.\n"
    for path in Path(".runs").rglob("manifest.json"):
        json.loads(path.read_bytes())
    assert not list(Path(".runs").glob("*.lock*"))


def test_each_exit_code_has_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("*_test.py"))
    tested = {int(code) for code in re.findall(r"^def test_exit_(\d+)", tests, re.MULTILINE)}
    assert tested | {ExitCode.TERMINATED} == set(ExitCode)


def test_dry_run_writes_nothing_and_says_what_would_be_done(folder: Path) -> None:
    before = tree(folder)
    result = invoke("runs.jsonl", "--dry-run", "--limit", "4")
    assert result.exit_code == 0
    size = sum(map(len, Path("runs.jsonl").read_bytes().splitlines()[:4]))
    assert result.stdout.splitlines() == [
        f"4 runs of 3 tasks ({size} B) in 1 shard; "
        "of 9 found, 0 invalid, 5 filtered out, 0 superseded by a later line",
        "Dry run: 4 new, 0 changed, 0 unchanged. Nothing was written.",
    ]
    assert tree(folder) == before


def test_json_events_stand_alone_on_standard_output() -> None:
    add_line("no json")
    result = invoke("runs.jsonl", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["message_type"] for event in events} == {"started", "status", "error", "summary"}
    assert next(event for event in events if event["message_type"] == "error")["line"] == 10
    summary = events[-1]
    assert (summary["message_type"], summary["exit_code"], summary["state"]) == ("summary", 3, "finished")
    assert summary["counts"]["persisted"] == 9
    dry = json.loads(invoke("runs.jsonl", "--json", "-n").stdout.splitlines()[-1])
    assert (dry["message_type"], dry["unchanged"]) == ("summary", 9)


def test_quiet_is_silent_unless_something_failed() -> None:
    assert invoke("runs.jsonl", "-q").output == ""
    add_line("no json")
    result = invoke("runs.jsonl", "-q")
    assert result.stdout == ""
    assert "1 invalid" in result.stderr


def test_verbose_prints_each_failure() -> None:
    add_line("no json")
    assert "runs.jsonl:10: input: " in invoke("runs.jsonl", "-v", "--progress", "none").stderr


def test_standard_input_is_a_source() -> None:
    result = invoke("-", stdin=json.dumps(run("piped", 1)) + "\n")
    assert result.exit_code == 0
    assert Path(".runs/piped/run-1/manifest.json").exists()


def test_file_names_that_are_not_utf_8_are_read(folder: Path) -> None:
    (folder / "runs.jsonl").rename(folder / os.fsdecode(b"runs-\xff.jsonl"))
    words = (os.fsdecode(b"runs-\xff.jsonl"), "--out-dir", os.fsdecode(b"out-\xfe"))
    first, again = invoke(*words), invoke(*words)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stdout.splitlines()[-1] == "Done: 0 persisted, 9 unchanged. Nothing failed."
    record = find_batch(Layout("", ".runs")).read_record()
    assert record.config["sources"] == [words[0]]


def test_key_options_name_the_keys() -> None:
    document = {"task_id": "t", "run_id": "r", "completed_at": "2026-01-01", "status": "ok"}
    Path("other.json").write_text(json.dumps(document))
    result = invoke(
        "other.json", "--task-key", "task_id", "--run-key", "run_id", "--time-key", "completed_at"
    )
    assert result.exit_code == 0
    assert json.loads(Path(".runs/t/r/manifest.json").read_bytes()) == document
    snapshot = json.loads(Path("out/t/runs.json").read_bytes())
    assert snapshot == {"taskId": "t", "lastRunAt": "2026-01-01", "runs": [document]}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--since", "2026-01-01T00:07:00Z"), 2),
        (("--since", "2026-01-01T02:07:00+02:00"), 2),
        (("--until", "2025-12-31"), 0),
        (("--until", "2026-01-01"), 9),
        (("--task", "task-[01]"), 6),
        (("--task", "task-0", "--task", "task-2"), 6),
        (("--limit", "5"), 5),
    ],
)
def test_selection_options_select_runs(words: tuple[str, ...], kept: int) -> None:
    invoke("runs.jsonl", *words)
    assert json.loads(Path("out/metrics.json").read_bytes())["counts"]["selected"] == kept


def test_help_and_version_start_without_the_heavy_parts() -> None:
    code = (
        "import sys; from batchpersist.cli.main import cli;"
        "cli(['--version'], standalone_mode=False); print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pyarrow", "msgspec", "tqdm", "filelock", "multiprocessing"} & set(result.stdout.split())
    assert CliRunner().invoke(cli, ["--help"]).stdout.count("\n  run ") == 1


def test_a_reader_that_stops_does_not_stop_the_batch(folder: Path) -> None:
    command = [sys.executable, "-m", "batchpersist", "run", "runs.jsonl", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    assert json.loads(Path("out/metrics.json").read_bytes())["counts"]["persisted"] == 9
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_error_of_the_batch_itself_is_one_line_and_an_event() -> None:
    Path("file").touch()
    result = invoke("runs.jsonl", "--runs-dir", "file/x", "--json")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: [ENOTDIR] Not a directory: ")
    assert result.stderr.count("\n") == 1
    event = json.loads(result.stdout.splitlines()[-1])
    assert (event["message_type"], event["stage"], event["exit_code"]) == ("error", "batch", 1)


def test_a_script_without_a_main_guard_gets_an_error(folder: Path) -> None:
    script = """
from batchpersist import BatchOptions, run_batch
run_batch(["runs.jsonl"], BatchOptions(workers=2, pool_runs=0))
"""
    (folder / "script.py").write_text(script)
    result = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 1
    assert 'below `if __name__ == "__main__":`' in result.stderr.splitlines()[-1]
