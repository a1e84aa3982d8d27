"""Which runs of an earlier batch failed, and where they are in today's sources.

A run is found by its ids, not by its place: sources may have grown, and of several versions the last
one counts, as ever. What was no run has no ids: of a file that had such input, the lines that were
invalid count, and all runs that the batch did not have (mended lines may have moved).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..arrow_tables import encoded, read_parquet, run_keys, whole
from ..context import OnEvent
from ..errors import BatchMissingError, SourceChangedError, UsageError, failure_of
from ..events import RetryStarted
from ..foreign_text import as_named, encodable
from ..index.builder import IndexBuilder
from ..index.scan import rejected
from ..metrics.outcome_table import read_outcomes
from ..models import RetryOf
from ..paths import Layout
from ..records.batch_folder import BatchFolder
from ..sources import Reject, source_names

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ["task_id", "run_id", "source", "line", "status", "snapshot", "manifest"]
_UNFINISHED = ("running", "failed")


class FailedRuns:
    """The runs and the invalid input of a batch that are to be tried again."""

    def __init__(self, layout: Layout, retry: RetryOf) -> None:
        """Raises BatchMissingError where the batch did not come to its end, or its tables are damaged;
        OSError where it is gone.
        """
        import pyarrow as pa

        folder = BatchFolder(layout.batch(retry.batch_id))
        record = folder.read_record()
        try:
            if record.state in _UNFINISHED:
                raise FileNotFoundError
            outcomes = read_outcomes(folder.outcomes, _COLUMNS)
            rejects = read_parquet(folder.rejects, ["source", "line"])
        except FileNotFoundError:
            raise BatchMissingError(
                f"batch {folder.batch_id} did not come to its end, the same command continues it"
            ) from None
        except UsageError as error:
            message = f"a table of batch {folder.batch_id} cannot be read: {error}"
            raise BatchMissingError(message) from error
        self._batch_id = folder.batch_id
        self._cwd = record.cwd
        self._failed = outcomes.filter(_did_not_stand(outcomes, retry))
        self._keys = run_keys(self._failed)
        self._had = run_keys(outcomes)
        self._rejects = rejects if "invalid" in retry.only else rejects.slice(0, 0)
        self._broken = {
            self._path(name): name for name in whole(self._rejects["source"]).unique().to_pylist()
        }
        self._places = pa.array(
            [f"{self._path(row['source'])}\n{row['line']}" for row in self._rejects.to_pylist()], pa.string()
        )

    def __len__(self) -> int:
        """Runs that did not stand, and places of invalid input."""
        return int(self._failed.num_rows + self._rejects.num_rows)

    def wants(self, reject: Reject) -> bool:
        """Whether what is invalid now counts for the retry."""
        return self._is_broken(encodable(reject.source))

    def narrow(self, index: IndexBuilder, rows: pa.Table, on_event: OnEvent) -> pa.Array:
        """Of each row of an index, whether it is a run (in whichever version) that is to be settled again.

        What is no longer in the sources is added to the index as invalid input, and reported.
        """
        import pyarrow.compute as pc

        wanted = self._mark(rows)
        gone = [] if index.cut_short else list(self._gone(rows))
        index.add_rejects(gone)
        on_event(
            RetryStarted(self._batch_id, pc.count_distinct(run_keys(rows.filter(wanted))).as_py(), len(gone))
        )
        for reject in gone:
            on_event(rejected(reject))
        return wanted

    def _mark(self, index: pa.Table) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = run_keys(index)
        wanted = self._keys
        if self._broken:
            sources = encoded(source_names(index))
            names = sources.dictionary.to_pylist()
            broken = pa.array([self._is_broken(name) for name in names], pa.bool_()).take(sources.indices)
            paths = pa.array([self._path(name) for name in names], pa.string()).take(sources.indices)
            places = pc.binary_join_element_wise(paths, whole(index["line"]).cast(pa.string()), "\n")
            new = pc.or_(pc.is_in(places, self._places), pc.invert(pc.is_in(keys, self._had)))
            wanted = pa.concat_arrays([wanted, keys.filter(pc.and_(broken, new))])
        return pc.is_in(keys, wanted)

    def _gone(self, index: pa.Table) -> Iterator[Reject]:
        import pyarrow.compute as pc

        there = pc.is_in(self._keys, run_keys(index))
        for run in self._failed.filter(pc.invert(there)).to_pylist():
            lost = SourceChangedError(
                "the run is no longer in the sources", f"{run['task_id']}/{run['run_id']}"
            )
            yield Reject(run["source"], run["line"], failure_of(lost))
        for path, name in self._broken.items():
            if not any(map(os.path.lexists, (path, as_named(path)))):
                yield Reject(name, 0, failure_of(SourceChangedError("the source is no longer there")))

    def _path(self, name: str) -> str:
        """Of a name that the batch gave a source, or that this process does: the same, or an absolute one."""
        return os.path.normpath(os.path.join(self._cwd, name))

    def _is_broken(self, name: str) -> bool:
        """A source that had invalid input, or lies below a folder that could not be listed."""
        path = self._path(name)
        while path not in self._broken:
            above = os.path.dirname(path)
            if above == path:
                return False
            path = above
        return True


def _did_not_stand(outcomes: pa.Table, retry: RetryOf) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    failed = pc.equal(outcomes["status"].cast(pa.string()), "failed")
    sides = [outcomes[side].cast(pa.string()) for side in ("snapshot", "manifest")]
    kinds = [pc.equal(side, kind) for kind in retry.only if kind != "invalid" for side in sides]
    wanted = pa.repeat(False, outcomes.num_rows)
    for kind in kinds:
        wanted = pc.or_(wanted, kind)
    return pc.and_(failed, wanted)
