"""Fingerprints of the outputs of the last batch, so that unchanged ones need not be read.

A row has two: of its run's manifest, and of the regular snapshot that holds its entry. A file that still
has the fingerprint need not be compared.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..arrow_tables import adopt, adopt_pieces, as_array, dictionary_encode, memory, null_unless, with_columns
from ..models import ShardOutcome, Side, Work
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("manifest_fingerprint", "snapshot_fingerprint")

_ROWS = 1 << 16
"""Worked on at once."""


def with_fingerprints(rows: pa.Table, fingerprints: pa.Table) -> pa.Table:
    """A plan's rows with what is known of their outputs; ``rows.known`` numbers them in ``fingerprints``.

    The fingerprints themselves are not copied: they become the dictionaries of the columns.
    """
    import pyarrow as pa

    known = as_array(rows["known"])
    columns = {name: pa.DictionaryArray.from_arrays(known, as_array(fingerprints[name])) for name in _COLUMNS}
    return with_columns(rows, columns)


class OutputRecorder:
    """Collects the fingerprints of what a batch wrote or compared, by row of its plan; for one thread."""

    def __init__(self, rows: pa.Table) -> None:
        """``rows``: the plan's."""
        self._rows = rows.select(["row", "task_id"])
        self._manifests = bytearray()
        self._snapshots: dict[str, bytes] = {}

    def add(self, outcome: ShardOutcome) -> None:
        """Take in a shard; what comes again counts as it was found last."""
        for commit in outcome.commits:
            # The fingerprint of the last of several commits does not prove that the earlier runs are there.
            once = commit.task_id not in self._snapshots
            self._snapshots[commit.task_id] = commit.fingerprint if once else b""
        if outcome.manifest_fingerprints and outcome.shard.work is not Work.SNAPSHOT:
            self._manifests = self._manifests or bytearray(FINGERPRINT_BYTES * self._rows.num_rows)
            place = memoryview(self._manifests)[FINGERPRINT_BYTES * outcome.shard.start :]
            place[: len(outcome.manifest_fingerprints)] = outcome.manifest_fingerprints

    def batches(
        self, states: pa.Array, index_rows: int, known: pa.Array | None, cached: pa.Table | None
    ) -> Iterator[pa.RecordBatch]:
        """The fingerprints of all rows of the index, in its order.

        ``states``: the outcome of each row's entry in its snapshot (``Side``). ``known``: the number of each
        row of the index in ``cached``, what was known before. That stays where a row has nothing new: it is
        still true, though it may be of no use.
        """
        import pyarrow as pa

        place = array("i", [-1]) * index_rows
        for number, row in enumerate(memory(as_array(self._rows["row"]), "i")):
            place[row] = number
        for start in range(0, index_rows, _ROWS):
            places = _nullable(place[start : start + _ROWS])
            columns = [self._of_manifests(places), self._of_snapshots(places, states.take(places))]
            if known is not None and cached is not None:
                before = known.slice(start, _ROWS)
                columns = [
                    _first_known(column, _at(before, as_array(cached[name])))
                    for name, column in zip(_COLUMNS, columns, strict=True)
                ]
            yield pa.record_batch(columns, names=list(_COLUMNS))

    def _of_manifests(self, places: pa.Array) -> pa.Array:
        import pyarrow as pa

        if not self._manifests:
            return pa.repeat(pa.scalar(NO_FINGERPRINT, pa.binary(FINGERPRINT_BYTES)), len(places))
        return _at(places, adopt_pieces(self._manifests, FINGERPRINT_BYTES))

    def _of_snapshots(self, places: pa.Array, states: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = pa.binary(FINGERPRINT_BYTES)
        tasks = dictionary_encode(self._rows["task_id"].take(places))
        found = [self._snapshots.get(task) or NO_FINGERPRINT for task in tasks.dictionary.to_pylist()]
        exists = pc.is_in(states, value_set=pa.array([Side.PERSISTED, Side.UNCHANGED], pa.int8()))
        of_task = pa.array(found, kind).take(tasks.indices)
        return pc.if_else(exists, of_task, pa.scalar(NO_FINGERPRINT, kind))


def _at(numbers: pa.Array, fingerprints: pa.Array) -> pa.Array:
    """``fingerprints`` by their numbers; NO_FINGERPRINT where there is none."""
    import pyarrow as pa

    return fingerprints.take(numbers).fill_null(pa.scalar(NO_FINGERPRINT, fingerprints.type))


def _first_known(first: pa.Array, second: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(first, pa.scalar(NO_FINGERPRINT, first.type)), second, first)


def _nullable(numbers: array[int]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = adopt(numbers, pa.int32())
    return null_unless(pc.greater_equal(column, 0), column)
