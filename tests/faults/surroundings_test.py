"""The environment of a process: closed streams, removed folders, low limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.engine import run

Tally = Callable[[str, int], None]
Tool = Callable[[str], str]
Answer = subprocess.CompletedProcess[str]

SERIAL = "-j 1"
POOL = "-j 2 --pool-threshold 0"
RUNS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps(run(f"task-{n % 2}", n)) for n in range(RUNS)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    return tmp_path


def begin(
    folder: Path, words: str, under: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Answer:
    command = [*under, sys.executable, "-m", "batchpersist", *words.split()]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def shell(script: str) -> list[str]:
    """A prefix that runs a command inside a shell script."""
    return ["bash", "-c", f"{script.replace('COMMAND', chr(34) + '$@' + chr(34))}", "bash"]


def assert_persisted(folder: Path) -> None:
    assert len(list((folder / ".runs").glob("*/*/manifest.json"))) == RUNS


def assert_one_line(answer: Answer) -> None:
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert answer.stderr.startswith("Error: ")


LOST = "Error: standard output could not be written: [EBADF] Bad file descriptor\n"


@pytest.mark.parametrize("workers", [SERIAL, POOL])
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_batch_works_with_closed_standard_streams(folder: Path, closed: str, workers: str) -> None:
    answer = begin(folder, f"run runs.jsonl {workers}", shell(f"exec COMMAND {closed}"))
    assert_persisted(folder)
    if " >&-" in f" {closed}":  # the summary cannot be printed
        assert answer.returncode == 1
        assert answer.stderr == ("" if "2>&-" in closed else LOST)
        return
    assert answer.returncode == 0
    if closed[:3] != ">&-" and len(closed) < 6:
        assert answer.stdout.endswith(f"Done: {RUNS} persisted. Nothing failed.\n")


def test_messages_for_closed_standard_error_are_not_written_to_files(folder: Path) -> None:
    (folder / "runs.jsonl").write_text("{}\n" * 3)
    answer = begin(folder, "run runs.jsonl --progress none -v", shell("exec COMMAND <&- 2>&-"))
    assert answer.returncode == 3
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if b"runs.jsonl:1: input" in text] == []


def test_error_keeps_its_exit_code_with_closed_standard_error(folder: Path) -> None:
    assert begin(folder, "run nowhere.jsonl", shell("exec COMMAND 2>&-")).returncode == 10


@pytest.mark.parametrize("length", [60, 80, 120, 200])
def test_temporary_folder_may_have_a_long_path(folder: Path, length: int) -> None:
    place = folder / ("x" * length)
    place.mkdir()
    answer = begin(folder, f"run runs.jsonl {POOL}", environment=os.environ | {"TMPDIR": str(place)})
    assert (answer.returncode, answer.stderr) == (0, "")
    assert_persisted(folder)


@pytest.mark.parametrize(
    "words", [f"run runs.jsonl {SERIAL}", f"run runs.jsonl {POOL}", "validate runs.jsonl"]
)
def test_read_only_temporary_folder_is_not_used(folder: Path, words: str) -> None:
    (folder / "file").touch()  # root may write to any folder
    answer = begin(folder, words, environment=os.environ | {"TMPDIR": str(folder / "file")})
    assert (answer.returncode, answer.stderr) == (0, "")


def test_report_needs_no_home(folder: Path) -> None:
    """matplotlib advises to set a variable where its cache cannot be written."""
    (folder / "file").touch()  # root may write to any folder
    assert begin(folder, "run runs.jsonl").returncode == 0
    home = {"PATH": os.environ["PATH"], "HOME": str(folder / "file")}
    answer = begin(folder, "report -o report.html", environment=home)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert "<svg" in (folder / "report.html").read_text()


@pytest.mark.parametrize("workers", [SERIAL, POOL])
def test_batch_works_in_an_empty_environment(folder: Path, workers: str) -> None:
    answer = begin(folder, f"run runs.jsonl {workers}", environment={})
    assert (answer.returncode, answer.stderr) == (0, "")
    assert_persisted(folder)


@pytest.mark.parametrize("workers", [SERIAL, POOL])
def test_absolute_paths_work_in_a_removed_working_folder(folder: Path, workers: str) -> None:
    words = f"run {folder}/runs.jsonl --out-dir {folder}/out --runs-dir {folder}/.runs {workers}"
    answer = begin(folder, words, in_removed_folder())
    assert (answer.returncode, answer.stderr) == (0, "")
    assert_persisted(folder)
    for words in ("status", "report", "retry", f"audit --out-dir {folder}/out"):
        answer = begin(folder, f"{words} --runs-dir {folder}/.runs", in_removed_folder())
        assert (answer.returncode, answer.stderr) == (0, ""), words


def in_removed_folder() -> list[str]:
    """A prefix that runs the command in a removed folder; it finds its modules without that folder."""
    return [sys.executable, "-c", _REMOVE_AND_EXECUTE]


_REMOVE_AND_EXECUTE = (
    "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
    " import batchpersist.cli.main as it; sys.argv = sys.argv[3:]; it.main()"
)


@pytest.mark.parametrize("words", ["run runs.jsonl", "run {}/runs.jsonl", "repair"])
def test_relative_paths_are_refused_in_a_removed_working_folder(folder: Path, words: str) -> None:
    answer = begin(folder, words.format(folder), in_removed_folder())
    assert "the working folder has been removed" in answer.stderr
    assert_one_line(answer)


def test_missing_semaphores_are_reported_in_one_line(tool: Tool, root_user: None, folder: Path) -> None:
    bare = [tool("unshare"), "-m", *shell("mount --bind /proc/sys/fs /dev/shm && exec COMMAND")]
    answer = begin(folder, f"run runs.jsonl {POOL}", bare)
    assert "no semaphore can be made (in /dev/shm)" in answer.stderr
    assert_one_line(answer)
    assert begin(folder, f"run runs.jsonl {SERIAL}", bare).returncode == 0
    assert_persisted(folder)


LEAST = {"as": 768, "data": 192}
"""MB of each limit that a batch needs."""


@pytest.mark.parametrize("workers", [SERIAL, POOL])
@pytest.mark.parametrize("limit", LEAST)
def test_batch_is_refused_with_too_little_memory(
    folder: Path, limit: str, workers: str, full: bool, tally: Tally
) -> None:
    """Below 40 MB Python may fail to load modules of its own."""
    least = LEAST[limit]
    for megabytes in range(40, least, 20) if full else (40, least // 2, least - 1):
        answer = begin(folder, f"run runs.jsonl {workers}", limited(f"--{limit}={megabytes << 20}"))
        tally("limits of memory", 1)
        assert_one_line(answer)
        assert f" is too low: {megabytes} MB, but at least {least} MB are needed; " in answer.stderr
        assert [path.name for path in folder.iterdir()] == ["runs.jsonl"]


@pytest.mark.parametrize("workers", [SERIAL, POOL])
@pytest.mark.parametrize("limit", LEAST)
def test_batch_works_with_enough_memory(
    folder: Path, limit: str, workers: str, full: bool, tally: Tally
) -> None:
    """From the least on, also where Arrow's default allocator can just reserve its gigabyte."""
    least = LEAST[limit]
    for megabytes in range(least, 1600, 40) if full else (least, 1300):
        words = f"run runs.jsonl {workers} --force --no-resume"
        answer = begin(folder, words, limited(f"--{limit}={megabytes << 20}"))
        tally("limits of memory", 1)
        assert (answer.returncode, answer.stderr) == (0, ""), megabytes
        assert_persisted(folder)


@pytest.mark.parametrize("workers", [SERIAL, POOL])
def test_batch_works_with_few_open_files_or_reports_emfile(folder: Path, workers: str, full: bool) -> None:
    codes = []
    for files in range(8, 33) if full else (8, 12, 16, 20, 32):
        answer = begin(folder, f"run runs.jsonl {workers} --force --no-resume", limited(f"--nofile={files}"))
        codes.append(answer.returncode)
        if answer.returncode == 3:
            assert "[EMFILE] Too many open files" in answer.stdout
        elif answer.returncode == 1:
            assert "[EMFILE] " in answer.stderr
            assert_one_line(answer)
        else:
            assert answer.returncode == 0
            assert_persisted(folder)
    assert codes[0] != 0, "the limit had no effect"
    assert codes[-1] == 0


def limited(option: str) -> list[str]:
    return ["prlimit", option]
