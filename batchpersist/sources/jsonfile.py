"""A ``.json`` file: one document, or a list of documents."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ..errors import InvalidRunError
from ..runs.jsontext import REFUSALS, SPACE, with_enough_stack
from . import content
from .pieces import Document

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BETWEEN = re.compile(rb"[ \t\r\n,]*")
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def documents(path: str, size: int = 0) -> Iterator[Document]:
    """The file's documents, each with the line that it starts on; reads the file whole.

    A list stands or falls as one: raises InvalidRunError where it is not JSON. Raises SourceUnreadableError
    where the file does not hold text, and SourceChangedError where it has less than ``size`` bytes by now.
    """
    with open(path, "rb", buffering=0) as file:
        data = file.read()
    content.check(content.TEXT, data[: content.HEAD])
    try:
        yield from _documents(data)
    except InvalidRunError:
        content.check_size(len(data), size)
        raise
    content.check_size(len(data), size)


def _documents(data: bytes) -> Iterator[Document]:
    text = data.removeprefix(content.BYTE_ORDER_MARK).lstrip(SPACE)
    if not text:
        raise InvalidRunError("the file is empty")
    start = len(data) - len(text)
    if text.startswith(b"["):
        yield from _elements(data, start)
    else:
        yield 1 + data.count(b"\n", 0, start), start, text.rstrip(SPACE)


def _elements(data: bytes, start: int) -> Iterator[Document]:
    # The decoder refuses lone surrogates, which JSON has; here it is asked for places alone.
    text = _SURROGATE.sub(rb"\\u0020", data) if b"\\u" in data else data
    text = text.removeprefix(content.BYTE_ORDER_MARK)
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
