"""The documentation's pages, cut into their examples: what is shown in a block, and how it is to be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)

_NOTE = re.compile(r"<!-- *(not run|needs|setup): *((?:(?!-->).)*?)\s*-->", re.DOTALL)
_BLOCK = re.compile(
    r"(?P<notes>(?:^ *<!--(?:(?!-->).)*-->\n)*)"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    """A fenced block, with what the comments right above it say."""

    page: str
    line: int
    language: str
    text: str
    not_run: str
    """Why the block cannot run; empty: it runs."""
    needs: tuple[str, ...]
    """Programs without which the block is skipped."""
    setup: str
    """Shell commands that prepare the block, unseen by readers."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def examples(page: str) -> Iterator[Example]:
    """All blocks of a page, in its order."""
    text = read(page)
    for block in _BLOCK.finditer(text):
        notes = dict(_NOTE.findall(block["notes"]))
        indent = len(block["indent"])
        yield Example(
            page,
            text.count("\n", 0, block.start("text")),
            block["language"],
            "".join(line[indent:] or "\n" for line in block["text"].splitlines(keepends=True)),
            notes.get("not run", ""),
            tuple(notes.get("needs", "").split()),
            notes.get("setup", ""),
        )


def prose(page: str) -> str:
    """The text outside of the blocks."""
    return _BLOCK.sub("", read(page))
