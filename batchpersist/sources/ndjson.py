"""Lines of JSON in a range of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain

from ..files.blocks import BLOCK, FileBytes, read_blocks
from . import content
from .pieces import Document

_BLANK = b" \t\r"


def documents(path: str, start: int, stop: int) -> Iterator[Document]:
    """The lines that start in the bytes ``start:stop`` of a file, without the space around them.

    They are numbered from the first of them. A line starts at the file's start (behind a byte order mark) and
    after each newline; the last line of the range is read to its end, however far that is. Ranges that
    cover a file thus share out its lines. Memory: a block and the longest line.

    Raises SourceChangedError where the file ends before ``stop``, behind the lines that it still has; and
    SourceUnreadableError where it holds no text: its first range does so, the others are empty.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    file = FileBytes(descriptor)
    try:
        head = file.read(content.HEAD if start else BLOCK, 0)
        if start:
            if content.is_text(head) and (first := _first_line(file, start, stop)) is not None:
                yield from _documents(read_blocks(file, first), first, stop)
            return
        content.check(content.TEXT, head)
        first = len(content.BYTE_ORDER_MARK) if head.startswith(content.BYTE_ORDER_MARK) else 0
        if first and len(head) > first:
            stop = max(stop, first + 1)  # the first line starts before it
        yield from _documents(chain((head[first:],), read_blocks(file, len(head))), first, stop)
    finally:
        os.close(descriptor)


def _documents(blocks: Iterable[bytes], first: int, stop: int) -> Iterator[Document]:
    for number, (offset, line) in enumerate(_split_lines(blocks, first, stop), 1):
        text = line.strip(_BLANK)
        if len(text) != len(line):
            offset += len(line) - len(line.lstrip(_BLANK))  # noqa: PLW2901
        yield number, offset, text


def _split_lines(blocks: Iterable[bytes], offset: int, stop: int) -> Iterator[tuple[int, bytes]]:
    pending: list[bytes] = []
    """Of the line that is not ended yet; joined once, however many blocks it spans."""
    for block in blocks:
        lines = block.split(b"\n")
        pending.append(lines[0])
        if len(lines) == 1:
            continue
        lines[0] = b"".join(pending)
        pending = [lines.pop()]
        for line in lines:
            if offset >= stop:
                return
            yield offset, line
            offset += len(line) + 1
    last = b"".join(pending)
    if last and offset < stop:
        yield offset, last
    content.check_size(offset + len(last), stop)


def _first_line(file: FileBytes, start: int, stop: int) -> int | None:
    """Where the first line of the range starts; None where none does."""
    if start == 0:
        return 0
    at = start - 1  # a newline here makes a line start right at ``start``
    for block in read_blocks(file, at, stop - 1):
        found = block.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(block)
    content.check_size(min(at + 1, file.size()), stop)
    return None
