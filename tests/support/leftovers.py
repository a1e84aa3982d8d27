"""Temporary files of other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEAVE = """
import sys
from batchpersist.storage.temp_files import temporary_beside
path = temporary_beside(sys.argv[1])
open(path, "w").close()
print(path, flush=True)
sys.stdin.read()
"""


def make_temporary(target: Path, *, alive: bool) -> tuple[Path, subprocess.Popen[str]]:
    """Have another process, which stays alive or ends, make a temporary file beside ``target``."""
    words = [sys.executable, "-c", LEAVE, str(target)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    if not alive:
        process.kill()
        process.communicate()
    return path, process
