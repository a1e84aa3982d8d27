"""Reads the canonical text of the runs of a shard back from their sources."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from ..contract.run_parser import RunReader
from ..errors import ItemError, SourceChangedError, WorkerDiedError
from ..models import Keys, RunKeys
from ..plan import ShardRows
from ..profiling import PARSE, READ, current
from ..sources import SourceFile, SourceReader
from .liveness import SILENT, Heartbeat

_log = logging.getLogger(__name__)

OPEN_FILES = 32
"""Descriptors kept open: a task's runs often lie in many nightly files, visited in turn."""


class PayloadReader:
    """Reads payloads by their place; for one thread. A context manager that closes its files."""

    def __init__(self, keys: Keys, spool_dir: str, heartbeat: Heartbeat = SILENT) -> None:
        """``spool_dir``: the folder for copies of files that cannot be read by position. ``heartbeat`` beats
        again and again while such a copy is made."""
        self._source_reader = SourceReader(keys, spool_dir, heartbeat)
        self._spool_dir = spool_dir
        self._read_run = RunReader(keys).read_canonical
        self._open: OrderedDict[str, int] = OrderedDict()
        """Descriptors by the path of the source, also where the copy is what is open."""
        self._uncopied: dict[str, Exception] = {}
        """Why no copy could be made, by path: what fails for one run is not tried for each of the others."""

    def text(self, keys: RunKeys, file: SourceFile, offset: int, length: int) -> bytes:
        """The canonical text (docs/formats.md) of the run with these keys, whose bytes are at this place.

        A copy of the file that is missing is made first. Raises SourceChangedError where the bytes are no
        longer the run that was scanned, InvalidRunError where they are not a run at all, OSError and
        SourceUnreadableError where they cannot be read.
        """
        clock = current()
        before = clock.turn(READ)
        try:
            data = self._bytes(self._descriptor(file), file.path, offset, length)
        finally:
            clock.turn(before)
        found = self._read_run(data)
        if found is None or found[0] != keys:
            raise SourceChangedError("the source changed after it was scanned", file.path)
        return found[1]

    @staticmethod
    def _bytes(descriptor: int, path: str, offset: int, length: int) -> bytes:
        try:
            data = os.pread(descriptor, length, offset)
            while len(data) < length:  # one read returns 2 GiB at most
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    raise SourceChangedError("the source became shorter after it was scanned", path)
                data += more
        except OSError as error:
            error.filename = path  # the system names no file for a descriptor
            raise
        return data

    def _descriptor(self, file: SourceFile) -> int:
        descriptor = self._open.get(file.path)
        if descriptor is None:
            path = file.data_path(self._spool_dir)
            if path != file.path and not os.path.exists(path):
                _log.debug("a copy of %s is made: it cannot be read by position", file.path)
                self._copy(file)
            if len(self._open) >= OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            descriptor = self._open[file.path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor

    def _copy(self, file: SourceFile) -> None:
        if file.path not in self._uncopied:
            try:
                return self._source_reader.ensure_copy(file)
            except (OSError, ItemError) as error:
                self._uncopied[file.path] = error
        raise self._uncopied[file.path].with_traceback(None)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> PayloadReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ShardTexts:
    """The canonical texts of a shard's runs by row."""

    def __init__(self, reader: PayloadReader, rows: ShardRows, heartbeat: Heartbeat, start: int) -> None:
        """``heartbeat`` beats before each row is read; ``start``: the first row's number in the plan."""
        self._reader = reader
        self._rows = rows
        self._heartbeat = heartbeat
        self._start = start
        self._quarantined = rows.quarantined
        self._ahead: dict[int, bytes | Exception] = {}

    def beat(self, row: int) -> None:
        """Say that work on this row begins."""
        self._heartbeat.beat(self._start + row)

    def text(self, row: int) -> bytes:
        """The text of a row. Raises ItemError, OSError. Several threads may ask for rows read ahead."""
        ahead = self._ahead.get(row)
        if ahead is None:
            return self._read(row)
        if isinstance(ahead, Exception):
            raise ahead
        return ahead

    @contextmanager
    def read_ahead(self, rows: Iterable[int]) -> Iterator[None]:
        """Keep the texts of these rows in memory, or the errors of reading them, until the context ends."""
        try:
            for row in rows:
                try:
                    self._ahead[row] = self._read(row)
                except (ItemError, OSError) as error:
                    self._ahead[row] = error
            yield
        finally:
            self._ahead.clear()

    def _read(self, row: int) -> bytes:
        if row in self._quarantined:
            raise WorkerDiedError("worker died", "in this batch, before it was continued; not tried again")
        self.beat(row)
        clock = current()
        before = clock.turn(PARSE)
        try:
            return self._reader.text(self._rows.keys(row), *self._rows.location(row))
        finally:
            clock.turn(before)
