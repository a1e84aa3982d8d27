"""The calls of a command to the file system, in order: recorded by strace(1), parsed to plain data."""

from __future__ import annotations

import codecs
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TRACED = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,copy_file_range,"
    "sendfile,splice,ioctl,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,chmod,fchmod,fchmodat,fchmodat2,fsync,fdatasync,syncfs,sync,sync_file_range"
)

_LONGEST = 8 << 20
"""Bytes of a written string that are recorded; a longer write would be seen as cut short."""

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>", re.DOTALL)
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|<(?:[^<>\\]|\\.)*>|[^"<,]+|.')


@dataclass(frozen=True)
class Call:
    """One system call that succeeded."""

    begin: int
    """Its place in the order of all beginnings and ends: what ended before it, precedes it."""
    end: int
    name: str
    arguments: tuple[str, ...]
    """As strace words them: ``"text"``, ``5</path>``, ``O_RDONLY``."""
    result: int

    def path(self, number: int) -> str:
        """The path of an argument, be it quoted or a descriptor's; "" for other things (pipes)."""
        text = self.arguments[number]
        if text.startswith('"'):
            return _unquote(text).decode()
        _, bracket, path = text.partition("<")
        path = _unquote(f'"{path[:-1]}"').decode() if bracket else ""
        return path if path.startswith("/") else ""

    def data(self, number: int) -> bytes:
        """The argument as the bytes of a string; raises ValueError where strace has cut it short."""
        text = self.arguments[number]
        if not text.endswith('"'):
            raise ValueError(f"not recorded whole: {self.name} {text[-20:]}")
        return _unquote(text)

    def number(self, number: int) -> int:
        return int(self.arguments[number], 8 if self.arguments[number].startswith("0") else 10)


def record(strace: str, command: Sequence[str], trace: Path, **options: object) -> str:
    """Run a command to its end under strace; returns its standard output. Raises if it fails."""
    words = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-y",
        "-s",
        str(_LONGEST),
        "-e",
        "trace=?" + TRACED.replace(",", ",?"),
    ]  # ?: if known
    words += ["-e", "signal=none", "-o", str(trace), *command]
    run = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert run.returncode == 0, f"exit {run.returncode}: {run.stdout}{run.stderr}"
    return str(run.stdout)


def read_trace(trace: Path) -> list[Call]:
    """All calls that succeeded, in the order of their ends."""
    return [call for call in _calls(trace.read_text().splitlines()) if call.result >= 0]


def _calls(lines: Sequence[str]) -> Iterator[Call]:
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    for place, line in enumerate(lines):
        begin = place
        if found := _BEGUN.fullmatch(line):
            thread, name, text = found.groups()
            begun[thread, name] = place, text
            continue
        if found := _ENDED.fullmatch(line):
            thread, name, rest = found.groups()
            begin, text = begun.pop((thread, name))
            line = f"{thread} {name}({text}{rest}"  # noqa: PLW2901
        found = _WHOLE.fullmatch(line)
        if found is None:
            continue  # a process's end
        _, name, text, result, _ = found.groups()
        if result != "?":
            yield Call(begin, place, name, tuple(_arguments(text)), int(result))


def _arguments(text: str) -> Iterator[str]:
    """Split at the commas outside of strings, brackets and paths."""
    argument, depth = "", 0
    for token in _TOKEN.findall(text):
        if token == "," and not depth:
            yield argument.strip()
            argument = ""
            continue
        if token[0] not in '"<':
            depth += sum(map(token.count, "[{")) - sum(map(token.count, "]}"))
        argument += token
    yield argument.strip()


def _unquote(text: str) -> bytes:
    return codecs.escape_decode(text[1:-1].encode())[0]  # type: ignore[attr-defined,no-any-return]
