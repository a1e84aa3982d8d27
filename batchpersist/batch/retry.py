"""What a retry persists: the runs of an earlier batch that failed, found in the sources as they are now.

A run is found by its ids, not by its place: sources may have grown, and of several versions the last one
counts, as in any batch. Invalid input has no ids. Of a file that had some, the retry takes the lines that
were invalid, and all runs that the batch did not have: lines that were corrected may have moved.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from ..arrow_tables import as_array, dictionary_encode, read_parquet, run_keys
from ..context import OnEvent, RunContext, ShouldStop, never_stop
from ..errors import BatchMissingError, SourceChangedError, UsageError, failure_of
from ..events import RetryStarted
from ..foreign_text import encodable, to_file_name
from ..index.builder import IndexBuilder
from ..index.scan import reject_event
from ..metrics.outcome_table import read_outcomes
from ..models import Keys, Reject, RetryKind, RetryOf
from ..options import BatchOptions, Selection
from ..partition import Partition
from ..paths import Layout
from ..records.batch_folder import BatchFolder, BatchRecord, find_batch
from ..sources import STANDARD_INPUT, is_remote, source_exists, source_names
from ..storage.atomic_write import working_folder

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ["task_id", "run_id", "source", "line", "status", "snapshot", "manifest"]
_UNFINISHED = ("running", "failed")

DEFAULT_KINDS: tuple[RetryKind, ...] = ("failed", "locked")
_KINDS = (*DEFAULT_KINDS, "invalid")


class _Config(msgspec.Struct):
    """What a retry has in common with the batch, as ``batch.json`` has it."""

    sources: list[str]
    out_dir: str
    metrics: str
    task_key: str
    run_key: str
    time_key: str
    tasks: tuple[str, ...]
    since: str | None
    until: str | None
    shard: str | None


@dataclass(frozen=True)
class RetryPlan:
    """What to retry, for ``run_batch``."""

    retry: RetryOf
    sources: Sequence[str]
    options: BatchOptions
    items: int
    """Failed runs, and places of invalid input; 0: there is nothing to do."""
    invalid: int
    """Places of invalid input that are not asked for."""


def plan_retry(
    batch: str,
    options: BatchOptions,
    only: Sequence[RetryKind] = (),
    should_stop: ShouldStop = never_stop,
) -> RetryPlan:
    """What to retry of a batch of ``options.runs_dir``: the start of its id, or ``latest``. Only reads.

    Roots, keys, selection (but for its limit), partition and the path of the metrics are that batch's, all
    else is from ``options``. ``only``: which runs (by default failed and locked ones). A retry that did not
    finish is resumed. Raises BatchMissingError, also where the batch did not finish; UsageError;
    ScanStoppedError where ``should_stop`` ends the search for a source; OSError.
    """
    if not set(only) <= set(_KINDS):
        raise UsageError(f"what is retried is {', '.join(_KINDS)}, not {', '.join(only)}")
    layout = Layout("", os.path.abspath(options.runs_dir))
    folder = find_batch(layout, batch)
    record = folder.read_record()
    if record.retry_of is not None and record.state != "finished":
        only = only or record.retry_of.only
        folder = find_batch(layout, record.retry_of.batch_id)
        record = folder.read_record()
    chosen = tuple(kind for kind in _KINDS if kind in (only or DEFAULT_KINDS))
    retry = RetryOf(folder.batch_id, chosen)
    sources = [_path_of(record, name) for name in _config(record).sources if name != STANDARD_INPUT]
    return RetryPlan(
        retry,
        sources=[source for source in sources if source_exists(source, RunContext(should_stop=should_stop))],
        options=_options(record, options, retry),
        items=len(RunsToRetry(layout, retry)),
        invalid=0 if "invalid" in chosen else len(RunsToRetry(layout, replace(retry, only=("invalid",)))),
    )


def _options(record: BatchRecord, options: BatchOptions, retry: RetryOf) -> BatchOptions:
    config = _config(record)
    return replace(
        options,
        out_dir=_path_of(record, config.out_dir),
        metrics=options.metrics or _path_of(record, _without_partition(config.metrics, record.shard)),
        keys=Keys(config.task_key, config.run_key, config.time_key),
        selection=Selection(config.tasks, config.since, config.until),
        partition=Partition.parse(config.shard) if config.shard else None,
        retry_of=retry,
    )


def _config(record: BatchRecord) -> _Config:
    try:
        return msgspec.convert(record.config, _Config)
    except msgspec.MsgspecError as error:
        raise BatchMissingError(f"the record of batch {record.batch_id} is incomplete: {error}") from None


def _without_partition(path: str, shard: str) -> str:
    """A report's path as the option had it: the partition's name is added again."""
    stem, suffix = os.path.splitext(path)
    return stem.removesuffix(f"-{shard}") + suffix


def _path_of(record: BatchRecord, path: str) -> str:
    """A path of the batch, for this process: as it was named, where that means the same."""
    here = record.cwd == working_folder() or is_remote(path)
    return path if here else os.path.join(record.cwd, path)


class RunsToRetry:
    """The runs and the invalid input of a batch that are to be retried."""

    def __init__(self, layout: Layout, retry: RetryOf) -> None:
        """Raises BatchMissingError where the batch did not finish, or its tables are damaged; OSError where
        its folder is gone.
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
        self._failed = outcomes.filter(_is_to_retry(outcomes, retry))
        self._keys = run_keys(self._failed)
        self._had = run_keys(outcomes)
        self._rejects = rejects if "invalid" in retry.only else rejects.slice(0, 0)
        self._broken = {
            self._path(name): name for name in as_array(self._rejects["source"]).unique().to_pylist()
        }
        self._places = pa.array(
            [f"{self._path(row['source'])}\n{row['line']}" for row in self._rejects.to_pylist()], pa.string()
        )

    def __len__(self) -> int:
        """Failed runs, and places of invalid input."""
        return int(self._failed.num_rows + self._rejects.num_rows)

    def wants(self, reject: Reject) -> bool:
        """Whether input that is invalid now counts for the retry."""
        return self._is_broken(encodable(reject.source))

    def narrow(self, index: IndexBuilder, rows: pa.Table, on_event: OnEvent) -> pa.Array:
        """Of each row of an index, whether it is a run (in any version) to retry.

        Runs that are no longer in the sources are added to the index as invalid input, and reported.
        """
        import pyarrow.compute as pc

        wanted = self._mark(rows)
        gone = [] if index.cut_short else list(self._gone(rows))
        index.add_rejects(gone)
        on_event(
            RetryStarted(self._batch_id, pc.count_distinct(run_keys(rows.filter(wanted))).as_py(), len(gone))
        )
        for reject in gone:
            on_event(reject_event(reject))
        return wanted

    def _mark(self, index: pa.Table) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = run_keys(index)
        wanted = self._keys
        if self._broken:
            sources = dictionary_encode(source_names(index))
            names = sources.dictionary.to_pylist()
            broken = pa.array([self._is_broken(name) for name in names], pa.bool_()).take(sources.indices)
            paths = pa.array([self._path(name) for name in names], pa.string()).take(sources.indices)
            places = pc.binary_join_element_wise(paths, as_array(index["line"]).cast(pa.string()), "\n")
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
            if not any(map(os.path.lexists, (path, to_file_name(path)))):
                yield Reject(name, 0, failure_of(SourceChangedError("the source is no longer there")))

    def _path(self, name: str) -> str:
        """Absolute, for a name that the batch or this process gave to a source."""
        return os.path.normpath(os.path.join(self._cwd, name))

    def _is_broken(self, name: str) -> bool:
        """Whether a source had invalid input, or lies below a folder that could not be listed."""
        path = self._path(name)
        while path not in self._broken:
            above = os.path.dirname(path)
            if above == path:
                return False
            path = above
        return True


def _is_to_retry(outcomes: pa.Table, retry: RetryOf) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    failed = pc.equal(outcomes["status"].cast(pa.string()), "failed")
    sides = [outcomes[side].cast(pa.string()) for side in ("snapshot", "manifest")]
    kinds = [pc.equal(side, kind) for kind in retry.only if kind != "invalid" for side in sides]
    wanted = pa.repeat(False, outcomes.num_rows)
    for kind in kinds:
        wanted = pc.or_(wanted, kind)
    return pc.and_(failed, wanted)
