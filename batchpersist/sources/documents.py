"""Reads the JSON documents of a file: one on each line, or one JSON value or list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from ..contract.json_text import BYTE_ORDER_MARK, REFUSALS, SPACE, with_enough_stack
from ..errors import InvalidRunError
from ..storage.file_reader import BLOCK, FileBytes, read_blocks
from . import formats

Document = tuple[int, int, bytes]
"""Line (or row) within the file or range, from 1; offset; text. A blank line has an empty text."""

_BLANK = b" \t\r"


def line_documents(path: str, start: int, stop: int) -> Iterator[Document]:
    """The lines that start in the bytes ``start:stop`` of a file, without the space around them.

    They are numbered from the first of them. A line starts at the file's start (after a byte order mark) and
    after each newline; the last line of the range is read to its end, however far that is. Ranges that
    cover a file thus share its lines without overlap. Memory: a block and the longest line.

    Raises SourceChangedError if the file ends before ``stop``, after yielding the lines that it still has;
    and SourceUnreadableError if it does not hold text: only for its first range, the others are empty.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    file = FileBytes(descriptor)
    try:
        head = file.read(formats.HEAD if start else BLOCK, 0)
        if start:
            if formats.is_text(head) and (first := _first_line(file, start, stop)) is not None:
                yield from _line_documents(read_blocks(file, first), first, stop)
            return
        formats.check_head(formats.TEXT, head)
        first = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
        if first and len(head) > first:
            stop = max(stop, first + 1)  # the first line starts before it
        yield from _line_documents(chain((head[first:],), read_blocks(file, len(head))), first, stop)
    finally:
        os.close(descriptor)


def _line_documents(blocks: Iterable[bytes], first: int, stop: int) -> Iterator[Document]:
    for number, (offset, line) in enumerate(_split_lines(blocks, first, stop), 1):
        text = line.strip(_BLANK)
        if len(text) != len(line):
            offset += len(line) - len(line.lstrip(_BLANK))  # noqa: PLW2901
        yield number, offset, text


def _split_lines(blocks: Iterable[bytes], offset: int, stop: int) -> Iterator[tuple[int, bytes]]:
    pending: list[bytes] = []
    """Blocks of the unfinished line; joined once, however many there are."""
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
    formats.check_size(offset + len(last), stop)


def _first_line(file: FileBytes, start: int, stop: int) -> int | None:
    """The offset of the first line that starts in the range; None if none does."""
    if start == 0:
        return 0
    at = start - 1  # a newline here makes a line start right at ``start``
    for block in read_blocks(file, at, stop - 1):
        found = block.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(block)
    formats.check_size(min(at + 1, file.size()), stop)
    return None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BETWEEN = re.compile(rb"[ \t\r\n,]*")
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def json_documents(path: str, size: int = 0) -> Iterator[Document]:
    """The file's documents, each with the line that it starts on; reads the file whole.

    Raises InvalidRunError if a list is not JSON: then none of its documents is read. Raises
    SourceUnreadableError if the file does not hold text, and SourceChangedError if it has fewer than ``size``
    bytes by now.
    """
    with open(path, "rb", buffering=0) as file:
        data = file.read()
    formats.check_head(formats.TEXT, data[: formats.HEAD])
    try:
        yield from _json_documents(data)
    except InvalidRunError:
        formats.check_size(len(data), size)
        raise
    formats.check_size(len(data), size)


def _json_documents(data: bytes) -> Iterator[Document]:
    text = data.removeprefix(BYTE_ORDER_MARK).lstrip(SPACE)
    if not text:
        raise InvalidRunError("the file is empty")
    start = len(data) - len(text)
    if text.startswith(b"["):
        yield from _elements(data, start)
    else:
        yield 1 + data.count(b"\n", 0, start), start, text.rstrip(SPACE)


def _elements(data: bytes, start: int) -> Iterator[Document]:
    # The decoder refuses lone surrogates, which are valid JSON; it is used only to find the elements.
    text = _SURROGATE.sub(rb"\\u0020", data) if b"\\u" in data else data
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        elements = with_enough_stack(_list_decoder.decode, text)
    except REFUSALS as error:
        raise InvalidRunError("the list is not valid JSON", str(error)) from None
    line, counted = 1, 0
    offset = start + 1
    for element in elements:
        offset = _BETWEEN.match(data, offset).end()  # type: ignore[union-attr]  # matches anywhere
        line += data.count(b"\n", counted, offset)
        counted = offset
        end = offset + memoryview(element).nbytes
        yield line, offset, data[offset:end]
        offset = end
