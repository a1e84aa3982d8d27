"""What a command does when it cannot print."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchpersist import __version__

FULL = "/dev/full"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_a_full_disk_is_no_traceback(words: list[str]) -> None:
    with open(FULL, "w") as full:
        command = [sys.executable, "-m", "batchpersist", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: [ENOSPC] No space left on device\n")


def test_nor_is_a_reader_that_has_gone() -> None:
    command = [sys.executable, "-m", "batchpersist", "--version"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert subprocess.check_output(command, text=True) == f"batchpersist, version {__version__}\n"
