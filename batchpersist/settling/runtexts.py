"""The texts of a shard's runs, as its two sides ask for them, and what tells each from any other text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..errors import ItemError, WorkerDiedError
from ..phaseclock import PARSE, current
from ..planning.job import ShardRows
from .journal import DIGEST_BYTES, digest_of
from .payloads import PayloadReader
from .sides import TextOf


class RunTexts:
    """Reads canonical texts by row, and remembers their digests; for one thread."""

    def __init__(
        self, reader: PayloadReader, rows: ShardRows, alive: Callable[[int], None] = lambda _row: None
    ) -> None:
        """``alive`` is told each row before it is read."""
        self._reader = reader
        self._rows = rows
        self.alive = alive
        self._quarantined = rows.quarantined()
        self.digests = bytearray(DIGEST_BYTES * len(rows))
        """Of each row, zeros where its text was not read."""

    def text(self, row: int) -> bytes:
        """Raises ItemError or OSError."""
        if row in self._quarantined:
            raise WorkerDiedError("worker died", "in this batch, before it was continued; not tried again")
        self.alive(row)
        clock = current()
        before = clock.turn(PARSE)
        try:
            alive = partial(self.alive, row)
            text = self._reader.text(self._rows.keys(row), *self._rows.place(row), alive)
            self.digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = digest_of(text)
        finally:
            clock.turn(before)
        return text

    def read_ahead(self, rows: Iterable[int]) -> TextOf:
        """Read texts now; they can be asked for from any thread, and raise then what reading them did."""
        texts: dict[int, bytes | Exception] = {}
        for row in rows:
            try:
                texts[row] = self.text(row)
            except (ItemError, OSError) as error:
                texts[row] = error

        def text_of(row: int) -> bytes:
            text = texts[row]
            if isinstance(text, Exception):
                raise text
            return text

        return text_of

    def without_outdated_stamps(self) -> ShardRows:
        """The rows; where stamps hold for another text than the run has now, without them."""
        outdated = {
            row for row, digest in enumerate(self._rows.digests()) if digest and digest != self._digest(row)
        }
        return self._rows.without_stamps(outdated) if outdated else self._rows

    def _digest(self, row: int) -> bytes | None:
        try:
            self.text(row)
            return bytes(self.digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])
        except (ItemError, OSError):  # told when it is asked for
            return None
