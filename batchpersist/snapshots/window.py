"""A text that is read in blocks and taken from its front; only what is not yet taken is kept."""

from __future__ import annotations

from ..files.blocks import Readable, read_blocks


class NotCanonicalError(Exception):
    """The text is not laid out as JSON.stringify(snapshot, null, 2) does; it may be valid all the same."""


class Window:
    """What is left of a text."""

    def __init__(self, source: Readable, offset: int = 0) -> None:
        self._blocks = read_blocks(source, offset)
        self._data = bytearray()
        self.offset = offset
        """Of the first byte not yet taken."""

    def take_through(self, mark: bytes, *, within: int) -> bytes:
        """Everything up to and including ``mark``.

        NotCanonicalError where it does not come within about so many bytes.
        """
        searched = 0
        while (at := self._data.find(mark, searched)) < 0:
            searched = max(0, len(self._data) - len(mark) + 1)
            if searched > within or not self._more():
                raise NotCanonicalError
        return self._take(at + len(mark))

    def take_items(self, between: bytes, last: bytes) -> tuple[bytes, bool]:
        """As many items as there are in what was read, at least one, and whether ``last`` comes next.

        ``between`` precedes each further item; it is taken, but not returned. NotCanonicalError
        where neither comes.
        """
        searched = 0
        while True:
            if (at := self._data.find(last, searched)) >= 0:
                return self._take(at), True
            if (at := self._data.rfind(between, searched)) >= 0:
                items = self._take(at)
                self._take(len(between))
                return items, False
            searched = max(0, len(self._data) - max(len(between), len(last)) + 1)
            if not self._more():
                raise NotCanonicalError

    def take_rest(self) -> bytes:
        while self._more():
            pass
        return self._take(len(self._data))

    def _more(self) -> bool:
        block = next(self._blocks, b"")
        if b"\0" in block:  # in no JSON text, but a torn file may hold nothing else up to its end
            raise NotCanonicalError
        self._data += block
        return bool(block)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        self.offset += size
        return taken
