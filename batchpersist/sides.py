"""The two sides of a group of pairs: its snapshots, and its manifests.

Both are written in the same two steps, so that one sync of the file system serves a whole
group: *stage* writes every temporary file, *publish* renames them. A side settles each of
its rows by itself; what fails is data in the outcome and stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from time import perf_counter

from .atomic import StagedFile
from .durability import SyncGroup
from .errors import ItemError, TaskStateLockError, failure_of
from .manifest import RunManifestWriter
from .models import Commit, RunKeys, RunRef, ShardOutcome, Side
from .snapshot import StagedSnapshot, TaskStateStore

TextOf = Callable[[int], bytes]
"""Canonical text of a row of the shard; raises ItemError or OSError."""


class ManifestSide:
    """The manifests of a group of rows. A superseded row has none: the later one writes it."""

    def __init__(
        self,
        rows: range,
        refs: Sequence[RunRef],
        text_of: TextOf,
        writer: RunManifestWriter,
        outcome: ShardOutcome,
    ) -> None:
        self._rows = [row for row in rows if not refs[row].superseded]
        self._refs = refs
        self._text_of = text_of
        self._writer = writer
        self._outcome = outcome
        self._staged: list[tuple[int, StagedFile]] = []

    @property
    def files(self) -> int:
        """How many it will write at most."""
        return len(self._rows)

    def stage(self, sync: SyncGroup) -> None:
        for row in self._rows:
            begun = perf_counter()
            ref = self._refs[row]
            try:
                staged = self._writer.stage(ref.task_id, ref.run_id, self._text_of(row), sync)
            except (ItemError, OSError) as error:
                self._fail(row, error)
            else:
                if staged is None:
                    self._outcome.manifest[row] = Side.UNCHANGED
                else:
                    self._staged.append((row, staged))
            self._outcome.manifest_seconds[row] = perf_counter() - begun

    def publish(self, sync: SyncGroup) -> None:
        for row, staged in self._staged:
            begun = perf_counter()
            try:
                staged.publish(sync)
            except OSError as error:
                staged.discard()
                self._fail(row, error)
            else:
                self._outcome.manifest[row] = Side.PERSISTED
                self._outcome.manifest_bytes[row] = staged.size
            self._outcome.manifest_seconds[row] += perf_counter() - begun

    def abandon(self, error: Exception) -> None:
        """Fail every row that is not unchanged: its group was not synced, or its step broke off."""
        for _, staged in self._staged:
            staged.discard()
        self._staged.clear()
        for row in self._rows:
            if self._outcome.manifest[row] in (Side.NOT_ATTEMPTED, Side.PERSISTED):
                self._fail(row, error)

    def close(self) -> None:
        """Nothing to add: every row has settled by itself."""

    def _fail(self, row: int, error: Exception) -> None:
        self._outcome.manifest[row] = Side.FAILED
        self._outcome.manifest_bytes[row] = 0
        self._outcome.manifest_failures[row] = failure_of(error)


class SnapshotSide:
    """The snapshots of a group of rows: one commit for each task among them."""

    def __init__(
        self,
        rows: range,
        refs: Sequence[RunRef],
        text_of: TextOf,
        store: TaskStateStore,
        outcome: ShardOutcome,
    ) -> None:
        self._tasks = [list(group) for _, group in groupby(rows, key=lambda row: refs[row].task_id)]
        self._refs = refs
        self._text_of = text_of
        self._store = store
        self._outcome = outcome
        self._staged: list[tuple[list[int], StagedSnapshot, float]] = []
        self._commits: dict[str, Commit] = {}

    @property
    def files(self) -> int:
        """How many it will write at most."""
        return len(self._tasks)

    def stage(self, sync: SyncGroup) -> None:
        for rows in self._tasks:
            begun = perf_counter()
            refs = [self._refs[row] for row in rows]
            keys = [RunKeys(*ref[:3]) for ref in refs]
            try:
                staged = self._store.stage(keys[0].task_id, keys, self._text_in(rows), sync)
            except (ItemError, OSError) as error:
                self._fail(rows, error, perf_counter() - begun)
            else:
                self._staged.append((rows, staged, perf_counter() - begun))

    def publish(self, _sync: SyncGroup) -> None:
        for rows, staged, seconds in self._staged:
            begun = perf_counter()
            try:
                staged.publish()
            except (ItemError, OSError) as error:
                staged.discard()
                self._fail(rows, error, seconds + perf_counter() - begun)
            else:
                self._settle(rows, staged, seconds + perf_counter() - begun)

    def abandon(self, error: Exception) -> None:
        """Fail every row that is not unchanged: its group was not synced, or its step broke off."""
        for _, staged, _ in self._staged:
            staged.discard()
        self._staged.clear()
        for rows in self._tasks:
            pending = [
                row for row in rows if self._outcome.snapshot[row] in (Side.NOT_ATTEMPTED, Side.PERSISTED)
            ]
            if pending:
                self._fail(pending, error, 0.0)

    def _text_in(self, rows: Sequence[int]) -> TextOf:
        return lambda number: self._text_of(rows[number])

    def close(self) -> None:
        self._outcome.commits += self._commits.values()

    def _settle(self, rows: list[int], staged: StagedSnapshot, seconds: float) -> None:
        for index, row in enumerate(rows):
            self._outcome.snapshot[row] = staged.sides[index]
            self._outcome.snapshot_seconds[row] = seconds
        for index, error in staged.failures.items():
            self._outcome.snapshot_failures[rows[index]] = failure_of(error)
        self._commit(rows, Side.PERSISTED if staged.size else Side.UNCHANGED, seconds, staged.size)

    def _fail(self, rows: list[int], error: Exception, seconds: float) -> None:
        side = Side.LOCKED if isinstance(error, TaskStateLockError) else Side.FAILED
        failure = failure_of(error)
        for row in rows:
            self._outcome.snapshot[row] = side
            self._outcome.snapshot_seconds[row] = seconds
            self._outcome.snapshot_failures[row] = failure
        self._commit(rows, side, seconds, 0)

    def _commit(self, rows: list[int], side: Side, seconds: float, size: int) -> None:
        task_id = self._refs[rows[0]].task_id
        self._commits[task_id] = Commit(task_id, len(rows), side, seconds, size)
