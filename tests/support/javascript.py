"""A Node.js process that answers one question after the other, for tests with many questions."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from typing_extensions import Self

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="NODE IS MISSING: NOTHING IS COMPARED with JavaScript")

_LOOP = """
const answer = (%s);
const lines = require("node:readline").createInterface({ input: process.stdin });
(async () => {
  for await (const line of lines) {
    process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\\n");
  }
})();
"""


class Answers:
    """A program that answers each line of JSON with another; the context manager ends it."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, argument: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(argument).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class JavaScript(Answers):
    """A JavaScript function that takes and returns a JSON value."""

    def __init__(self, function: str) -> None:
        assert NODE is not None
        super().__init__(NODE, "-e", _LOOP % function)
