"""The files that a user names for a result: one rule, whatever the command and whatever stands there."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist.batch_job import BatchJob
from batchpersist.cli.main import cli
from batchpersist.options import BatchOptions
from batchpersist.partition import Partition
from batchpersist.storage.result_files import (
    ReaderMissingError,
    check_output,
    descriptor_of,
    is_stream,
    open_output,
    write_output,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"

WRITERS = {
    "metrics": ("o.json", ["run", "runs.jsonl", "--metrics"]),
    "outcomes": ("o.parquet", ["run", "runs.jsonl", "--outcomes"]),
    "textfile": ("o.prom", ["run", "runs.jsonl", "--prometheus-textfile"]),
    "log": ("o.log", ["run", "runs.jsonl", "--log-file"]),
    "signs": ("o.txt", ["audit", "--combined"]),
    "report": ("o.html", ["report", "-o"]),
    "text": ("o.txt", ["report", "--format", "text", "-o"]),
    "comparison": (
        "o.json",
        ["compare", "runs.jsonl", "--modes=paired,grouped", "-j1", "--rounds=1", "--warmup=0", "-o"],
    ),
    "generated": ("o.jsonl", ["generate", "--runs", "5", "-o"]),
    "merged": ("o.json", ["merge-metrics", "part-1-of-1.json", "-o"]),
}
"""A name that fits, and the command that writes to it."""

writers = pytest.mark.parametrize("writer", WRITERS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    done = invoke("run", "runs.jsonl", "--shard", "1/1", "--metrics", "part.json")
    assert done.exit_code == 0, done.output
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def write(writer: str, path: str) -> Result:
    return invoke(*WRITERS[writer][1], path)


@writers
def test_a_regular_file_is_replaced_whole_and_its_folder_is_made(writer: str) -> None:
    name = f"new/{WRITERS[writer][0]}"
    assert write(writer, name).exit_code == 0
    assert stat.S_ISREG(os.lstat(name).st_mode)
    assert os.path.getsize(name)
    assert os.listdir("new") == [os.path.basename(name)]


@writers
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_leads_to_its_target(writer: str, dangling: bool) -> None:
    name = WRITERS[writer][0]
    Path("elsewhere").mkdir()
    target = Path("elsewhere", f"target-{name}")
    if not dangling:
        target.touch()
    Path(name).symlink_to(target)
    assert write(writer, name).exit_code == 0
    assert Path(name).is_symlink()
    assert target.stat().st_size
    assert os.listdir("elsewhere") == [target.name]


@writers
def test_a_device_is_written_to_and_never_replaced(writer: str) -> None:
    Path("null").symlink_to("/dev/null")  # and not /dev/null itself, should the rule be broken
    result = write(writer, "null")
    assert result.exit_code == 0, result.output
    assert Path("null").is_symlink()
    assert stat.S_ISCHR(os.stat("null").st_mode)


@writers
def test_a_full_device_is_an_error_that_names_it(writer: str) -> None:
    Path("full").symlink_to("/dev/full")
    result = write(writer, "full")
    assert result.exit_code == 1
    assert "[ENOSPC] No space left on device: full" in result.stderr


@writers
def test_a_pipe_is_written_to(writer: str) -> None:
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    assert write(writer, "pipe").exit_code == 0
    reader.join()
    assert read[0]
    assert stat.S_ISFIFO(os.lstat("pipe").st_mode)


def test_a_pipe_whose_reader_sleeps_is_waited_for_until_it_is_to_stop() -> None:
    os.mkfifo("pipe")
    data = bytes(range(256)) * 4096
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ReaderMissingError, match="pipe"), open_output("pipe", lambda: True) as file:
        file.write(data)
    os.set_blocking(reader, True)
    read = b"".join(iter(lambda: os.read(reader, 1 << 16), b""))
    os.close(reader)
    assert 0 < len(read) < len(data)
    assert data.startswith(read)


@writers
def test_a_folder_is_refused(writer: str) -> None:
    name = f"folder{os.path.splitext(WRITERS[writer][0])[1]}"
    Path(name).mkdir()
    result = write(writer, name)
    assert result.exit_code == 1
    assert "[EISDIR] Is a directory" in result.stderr
    assert name in result.stderr
    assert os.listdir(name) == []


@writers
def test_a_dash_is_standard_output(writer: str, folder: Path) -> None:
    words = [*WRITERS[writer][1], "-"]
    command = [sys.executable, "-m", "batchpersist", *words, *quiet(writer)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=folder)
    assert done.stdout
    assert not os.path.lexists("-")
    if writer in ("metrics", "comparison"):
        assert "schema_version" in json.loads(done.stdout)


def quiet(writer: str) -> list[str]:
    return ["-q"] if WRITERS[writer][1][0] in ("run", "audit", "compare") else []


@writers
def test_an_open_descriptor_is_written_to_where_it_is(writer: str, folder: Path) -> None:
    """As a shell opens it for ``3>>file`` or ``> file``: what stands in the file before is kept."""
    with open(folder / "opened", "w+b") as opened:
        opened.write(b"before\n")
        opened.flush()
        words = [*WRITERS[writer][1], f"/dev/fd/{opened.fileno()}"]
        command = [sys.executable, "-m", "batchpersist", *words]
        subprocess.run(command, pass_fds=[opened.fileno()], capture_output=True, check=True, cwd=folder)
        opened.seek(0)
        content = opened.read()
    assert content.startswith(b"before\n")
    assert len(content) > len(b"before\n")
    assert (folder / "opened").read_bytes() == content


def test_standard_output_by_name_is_the_descriptor() -> None:
    Path("link").symlink_to("/dev/stdout")
    assert (descriptor_of("/dev/stdout"), descriptor_of("/dev/fd/7"), descriptor_of("link")) == (1, 7, 1)
    assert descriptor_of("runs.jsonl") is None
    Path("loop").symlink_to("loop")
    assert descriptor_of("loop") is None
    assert not is_stream("loop")
    with pytest.raises(OSError, match="symbolic links"), open_output("loop"):
        pass
    with pytest.raises(OSError, match="/dev/fd/999"):
        check_output("/dev/fd/999")


def test_an_exception_leaves_the_existing_file() -> None:
    Path("o").write_text("before")

    def half() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_output("o", half())
    assert Path("o").read_text() == "before"
    assert not list(Path().glob("o.tmp-*"))


def test_shards_share_a_device_but_no_file() -> None:
    def outputs(path: str) -> set[str | None]:
        own = {"metrics": path, "outcomes": path, "prometheus_textfile": path}
        job = BatchJob(BatchOptions(**own, partition=Partition(1, 2)))
        return {job.metrics_path, job.outcomes_path, job.textfile_path}

    assert outputs("/dev/null") == {"/dev/null"}
    assert outputs("m.csv") == {"m-1-of-2.csv"}


@pytest.mark.parametrize("hostile", ["loop/x", "runs.jsonl/x"])
@writers
def test_what_cannot_be_written_is_said_before_the_work(writer: str, hostile: str) -> None:
    Path("loop").symlink_to("loop")
    result = write(writer, f"{hostile}{os.path.splitext(WRITERS[writer][0])[1]}")
    assert result.exit_code == 1
    assert "Error: [E" in result.stderr
    if writer in ("metrics", "outcomes", "textfile", "log"):
        assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        *(f"run runs.jsonl {option} ./runs.jsonl" for option in ("--metrics", "--outcomes", "--log-file")),
        "run runs.jsonl --metrics same.prom --prometheus-textfile same.prom",
        "run runs.jsonl --metrics same.json --log-file link.json",
        "audit runs.jsonl --combined runs.jsonl",
        "compare runs.jsonl -o runs.jsonl",
        "report part-1-of-1.json -o part-1-of-1.json",
        "report latest -o .runs/.batchpersist/batches/new/metrics.json",
        "report part-1-of-1.json -o .runs/.BatchPersist/x.json",
        "merge-metrics part-1-of-1.json -o part-1-of-1.json",
        "merge-metrics part-1-of-1.json -o .runs/.batchpersist/same.json",
        *(f"run logs {option}" for option in ("--metrics=logs/b.json", "--outcomes=logs/a/b.parquet")),
        "run linked --log-file logs/a/b.jsonl.1",
        "compare logs -o logs/b.json",
        "run runs.jsonl --log-file out/task-0/runs.json",
        "audit --combined out/task-0/runs.json",
        "audit --combined .runs/task-0/run-0/manifest.json",
        "compare runs.jsonl -o .runs/task-0/run-0/manifest.json",
        "run runs.jsonl --metrics batchpersist.toml",
        "--config link.json run runs.jsonl --metrics same.json",
    ],
)
def test_an_output_replaces_no_source_and_no_other_output(words: str, folder: Path) -> None:
    (folder / "link.json").symlink_to("same.json")
    (folder / "linked").symlink_to("logs")
    (folder / "logs/a").mkdir(parents=True)
    (folder / "logs/a/b.jsonl.1").write_bytes((folder / "runs.jsonl").read_bytes())
    (folder / "batchpersist.toml").touch()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = invoke(*words.split())
    assert (result.exit_code, "Error: " in result.stderr) == (2, True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_retry_replaces_none_of_the_sources_that_its_batch_had() -> None:
    shutil.rmtree(".runs/task-0")
    Path(".runs/task-0").write_text("in the way of a folder")
    assert invoke("run", "runs.jsonl").exit_code == 3
    result = invoke("retry", "--metrics", "runs.jsonl")
    wanted = "Error: runs.jsonl would be read from the source runs.jsonl; name another file\n"
    assert (result.exit_code, result.stderr) == (2, wanted)


@pytest.mark.parametrize(
    "words",
    [
        "run logs --metrics logs/metrics.json --outcomes logs/outcomes.csv --log-file logs/batch.log",
        "run logs --metrics logs/.hidden/m.json --outcomes logs2/x.parquet",
        "audit logs --combined logs/signs.txt",
    ],
)
def test_an_output_may_lie_in_a_source_that_does_not_read_it(words: str) -> None:
    Path("logs").mkdir()
    Path("logs/a.jsonl").write_bytes(Path("runs.jsonl").read_bytes())
    for _ in range(2):
        assert invoke(*words.split()).exit_code == 0


def test_an_output_may_lie_in_a_root_of_the_orchestrator() -> None:
    shutil.copytree(FIXTURES / "orchestrator-root/source", "root")
    codes = {invoke("run", "root", "--outcomes", "root/x.parquet").exit_code for _ in range(2)}
    assert 2 not in codes
    result = invoke("run", "root", "--outcomes", "root/0101-alpha/cli/new/run-summary.json")
    assert result.exit_code == 2


def test_an_argument_that_an_output_would_replace_is_called_as_in_the_help() -> None:
    result = invoke("report", "part-1-of-1.json", "-o", "part-1-of-1.json")
    assert result.stderr == "Error: -o would replace what WHAT names: part-1-of-1.json\n"


def test_two_outputs_may_go_to_one_device() -> None:
    assert invoke("run", "runs.jsonl", "--metrics", "/dev/null", "--outcomes", "/dev/null").exit_code == 0
