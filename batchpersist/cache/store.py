"""The cache of a root: what the last batch knew of unchanged sources and outputs.

It holds a header, three tables as Arrow streams (sources, rows of the index, fingerprints of outputs), and
a checksum over all of it. Each entry says "a file of this fingerprint has this content". That stays true
whatever happens to the files, so nothing has to be invalidated (docs/decisions/0005-cache.md). Nothing
depends on the cache: it is not synced but has a checksum, and no part of a damaged one is used.
"""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import __version__
from ..arrow_tables import as_array, compact, run_schema
from ..batch_job import BatchJob
from ..models import Durability, Keys
from ..paths import Layout
from ..plan import Plan
from ..storage.file_reader import FileBytes, read_blocks
from ..storage.fingerprint import boot_id
from .outputs import OutputRecorder, with_fingerprints
from .sources import CachedSources, SourceRecorder

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 4

_ROW_BYTES = 150
"""Of a row with its fingerprints, about."""

_END = struct.Struct("<QI")
"""The bytes before it, and their checksum."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cache:
    """A cache that was read."""

    sources: CachedSources
    rows: pa.Table
    """Of the index."""
    fingerprints: pa.Table
    """Of the outputs of the same rows."""
    synced: bool
    """Whether these outputs are known to be on the disk."""


def likely_rows(layout: Layout) -> int:
    """Of the cache of these roots, about, without reading it."""
    try:
        return os.path.getsize(layout.cache) // _ROW_BYTES
    except OSError:
        return 0


def load_cache(layout: Layout, keys: Keys) -> Cache | None:
    """The cache of these roots; None where there is none, or it cannot be used."""
    try:
        return _load(layout, keys)
    except FileNotFoundError:
        _log.debug("there is no cache %s", layout.cache)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        _log.debug("the cache %s is not used: %s", layout.cache, error)
    return None


def _load(layout: Layout, keys: Keys) -> Cache:
    header, (sources, rows, fingerprints) = _read_file(layout.cache)
    found, scope = json.loads(header), _scope(layout, keys)
    boot = found.pop("boot")
    if found != scope:
        changed = [name for name in scope if found.get(name) != scope[name]]
        raise ValueError(f"cache {', '.join(changed)} changed")
    if boot is not None and not boot == boot_id() != "":
        raise ValueError("its outputs were not synced, and the machine has restarted")
    cached = CachedSources(sources)
    return Cache(cached, rows.combine_chunks(), fingerprints.combine_chunks(), synced=boot is None)


def _header(layout: Layout, keys: Keys, *, synced: bool) -> bytes:
    """``synced``: whether all outputs of which there are fingerprints will have been. One that was not may
    be torn after a power cut and keep its times: then the cache ends with this boot."""
    return json.dumps({**_scope(layout, keys), "boot": None if synced else boot_id()}).encode()


def _scope(layout: Layout, keys: Keys) -> dict[str, Any]:
    """What a cache holds good for. Other versions may word the rows of a table otherwise.

    Names of files are kept as text, which another encoding would take for others.
    """
    import msgspec
    import pyarrow as pa

    roots = {"out_dir": os.fsencode(layout.out_dir).hex(), "runs_dir": os.fsencode(layout.runs_dir).hex()}
    makers = {"batchpersist": __version__, "pyarrow": pa.__version__, "msgspec": msgspec.__version__}
    makers["encoding"] = sys.getfilesystemencoding()
    return {"format": FORMAT, **makers, **roots, **asdict(keys)}


class CacheSession:
    """What one batch does with the cache, from its scan to its end. To be closed.

    Does nothing where the options do without. What the scan finds is written while it runs, to a file in
    the batch's folder; it replaces the last cache only when the batch has persisted what it could.
    """

    def __init__(self, job: BatchJob, spool: str) -> None:
        """``spool``: a folder of the batch."""
        self._job = job
        self._cache = load_cache(job.layout, job.options.keys) if job.reads_cache else None
        self._durable = job.options.durability is not Durability.NONE
        self._fingerprints = self._trusted_fingerprints(self._cache)
        self._known: pa.Array | None = None
        self._rows = 0
        self.scanned = SourceRecorder(lambda batch: self._write([batch]))
        self._writer: _Writer | None = None
        if job.writes_cache:
            with self._abandoned_on_error():
                begin = _header(job.layout, job.options.keys, synced=self._durable)
                self._writer = _Writer(os.path.join(spool, "cache"), begin)

    def _trusted_fingerprints(self, cache: Cache | None) -> pa.Table | None:
        """None where the outputs were not synced and this batch is to sync: it compares, and syncs, them."""
        if cache is None or (self._durable and not cache.synced):
            return None
        return cache.fingerprints

    def take_cache(self) -> Cache | None:
        """For the scan alone: its rows are not kept any longer."""
        cache, self._cache = self._cache, None
        return cache

    def add_index(self, index: pa.Table) -> None:
        """Write the rows of the scan, which has ended: they must not take memory while the plan is made."""
        self._rows = index.num_rows
        if not self._rows or not self.scanned:
            self.close()
        self.scanned.flush()
        self._end_table()
        if self._writer is not None:
            self._known = as_array(index["known"])
            self._write(_pruned(index.select(run_schema().names)).to_batches())
            self._end_table()

    def add_fingerprints(self, plan: Plan) -> Plan:
        """Add the cached fingerprints to a plan: workers do not read outputs that still have them."""
        if self._fingerprints is None or self._job.options.force:
            return plan
        return replace(plan, rows=with_fingerprints(plan.rows, self._fingerprints))

    def save(self, outputs: OutputRecorder, states: pa.Array) -> None:
        """Replace the cache; all pairs have settled, or were not attempted.

        ``states``: as for ``OutputRecorder.batches``. Of a run that was not attempted, the entry of an
        earlier batch stays.
        """
        if self._writer is not None:
            self._write(outputs.batches(states, self._rows, self._known, self._fingerprints))
            self._end_table()
        if self._writer is not None:
            with self._abandoned_on_error():
                self._writer.publish(self._job.layout.cache)
        self._fingerprints = self._known = None

    def close(self) -> None:
        """Discard what has not been saved by now."""
        if self._writer is not None:
            self._writer.discard()
        self._writer = None

    def _write(self, batches: Iterable[pa.RecordBatch]) -> None:
        if self._writer is not None:
            with self._abandoned_on_error():
                for batch in batches:
                    self._writer.write(batch)

    def _end_table(self) -> None:
        if self._writer is not None:
            with self._abandoned_on_error():
                self._writer.end_table()

    @contextmanager
    def _abandoned_on_error(self) -> Iterator[None]:
        """A batch does not fail because its cache cannot be written: it does without."""
        try:
            yield
        except OSError as error:
            self.close()
            _log.warning("the cache cannot be written: %s", error)


def _pruned(index: pa.Table) -> pa.Table:
    """Without the dictionaries' values that no row has: they would add up from night to night."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for number, field in enumerate(index.schema):
        if pa.types.is_dictionary(field.type) and index.num_rows:
            column = as_array(index[number])
            if pc.count_distinct(column.indices).as_py() < len(column.dictionary):
                index = index.set_column(number, field, compact(column))
    return index


class _Writer:
    """A cache under way, in a file of its own: tables one after the other, each batch by batch.

    Every call but ``discard`` may raise OSError.
    """

    def __init__(self, path: str, header: bytes) -> None:
        """``path``: of the new file. ``header``: one line, without its end."""
        import pyarrow as pa

        self._path = path
        self._file = _SummedFile(path)
        self._sink = pa.PythonFile(self._file, "w")
        self._table: pa.RecordBatchStreamWriter | None = None
        self._file.write(header + b"\n")

    def write(self, batch: pa.RecordBatch) -> None:
        """Add to the table; the first batch begins it."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.ipc.new_stream(self._sink, batch.schema)
        self._table.write_batch(batch)

    def end_table(self) -> None:
        """What is written next begins another one."""
        if self._table is not None:
            self._table.close()
            self._table = None

    def publish(self, target: str) -> None:
        """Replace what is at ``target``, on the same file system; its folder is made."""
        self._file.write(_END.pack(self._file.size, self._file.checksum))
        self._file.close()
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(self._path, target)

    def discard(self) -> None:
        """Remove the file, unless it has been published; never raises."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._path)


class _SummedFile(io.BufferedWriter):
    """A new file that only its owner can read; counts and sums up what is written."""

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)))
        self.size = self.checksum = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.size += len(view)
        self.checksum = zlib.crc32(view, self.checksum)
        return super().write(view)


def _read_file(path: str) -> tuple[bytes, list[pa.Table]]:
    """The header and the three tables. Raises ValueError for what is not a cache, OSError."""
    import pyarrow as pa

    with open(path, "rb") as file:
        _check(file)
        file.seek(0)
        header = file.readline()
        # Each table in memory of its own: the rows are let go of before the fingerprints are.
        try:
            with pa.PythonFile(file, "r") as source:
                return header, [pa.ipc.open_stream(source).read_all() for _ in range(3)]
        except pa.ArrowException as error:
            raise ValueError("not a cache") from error


def _check(file: BinaryIO) -> None:
    """ValueError where it is not, byte for byte, what was written."""
    size = os.fstat(file.fileno()).st_size - _END.size
    checksum, content = 0, FileBytes(file.fileno())
    for block in read_blocks(content, 0, size):
        checksum = zlib.crc32(block, checksum)
    if size < 0 or content.read(_END.size, size) != _END.pack(size, checksum):
        raise ValueError("cut or damaged")
