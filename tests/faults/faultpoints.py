"""The harness of faultpoints.c: builds it, and chooses the call below a folder that fails or kills."""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

CHANGES, READS, CLOSES = 1, 2, 4
COUNT, KILL_GROUP, KILL_PROCESS, FAIL, FAIL_FROM = range(5)

_PAGE = struct.Struct("qqiiii1024s1024s1024si")


@dataclass(frozen=True)
class Answer:
    """How one command ended."""

    code: int
    """Negative: by which signal."""
    stdout: str
    stderr: str
    calls: int
    fired: int
    """How many calls the fault hit."""
    what: str
    """The call that it hit first, and its path."""
    orphans: list[str]
    """Processes that had not ended long after their parent."""
    killed: bool

    @property
    def events(self) -> list[dict[str, Any]]:
        """What ``--json`` printed."""
        return [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]


def build(folder: Path, compiler: str) -> Path:
    """Compile the shim; returns its path."""
    library = folder / "faultpoints.so"
    source = HERE / "faultpoints.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Page:
    """The page that faultpoints.c shares with all processes of a batch."""

    def __init__(self, path: Path, root: Path) -> None:
        """``root``: calls count below it only."""
        self._root = os.fsencode(root)
        with open(path, "w+b") as file:
            file.truncate(4096)
            self._page = mmap.mmap(file.fileno(), 4096)

    def set(self, at: int, action: int, error: int, classes: int) -> None:
        """Reset the count; ``action`` hits the call number ``at``, counted from 1."""
        page = (0, at, action, error, classes, 0, self._root, b"", b"", 0)
        self._page[: _PAGE.size] = _PAGE.pack(*page)

    def get(self) -> tuple[int, int, str]:
        """Calls so far, how many the fault hit, and the first of these."""
        count, _, _, _, _, fired, _, what, _, _ = _PAGE.unpack(self._page[: _PAGE.size])
        text = os.fsdecode(what.rstrip(b"\0"))
        return count, fired, text.replace(os.fsdecode(self._root) + "/", "")

    def remove_semaphores(self) -> None:
        """Remove the semaphores of killed pools."""
        names = _PAGE.unpack(self._page[: _PAGE.size])[-2].rstrip(b"\0")
        for name in os.fsdecode(names).split("/")[1:]:
            Path(f"/dev/shm/sem.{name}").unlink(missing_ok=True)


class Command:
    """``batchpersist``, warm (warm.py) and under faults. A context manager."""

    def __init__(self, library: Path, folder: Path, root: Path, variant: str | None = None) -> None:
        """``root``: calls count below it only. ``variant``: one of broken.py's instead of the real one."""
        name = folder / f"page-{variant or 'real'}"
        self._page = Page(name, root)
        environment = os.environ | {
            "FAULTPOINTS": str(name),
            "LD_PRELOAD": str(library),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py"), *([variant] if variant else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            cwd=folder,
        )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=300)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(
        self,
        *words: object,
        at: int = 0,
        action: int = COUNT,
        error: int = 0,
        classes: int = CHANGES,
        kill: dict[str, Any] | None = None,
        command: str = "run",
    ) -> Answer:
        """Run the command to its end. ``at``: the number of the call, from 1, that ``action`` hits."""
        self._page.set(at, action, error, classes)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": [command, *map(str, words)], "kill": kill}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the warm process has ended"
        answer = json.loads(line)
        self._page.remove_semaphores()
        calls, fired, what = self._page.get()
        return Answer(calls=calls, fired=fired, what=what, **answer)
