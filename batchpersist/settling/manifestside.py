"""One side of a group of pairs: its manifests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from time import perf_counter

from ..errors import ItemError, failure_of
from ..files.atomic import StagedFile
from ..files.durability import SyncGroup
from ..models import ShardOutcome, Side
from ..options import PersistOptions
from ..phaseclock import MANIFEST
from ..planning.job import ShardRows
from ..stamps import (
    NO_STAMP,
    STAMP_BYTES,
    await_tick_after,
    lasting_stamp,
    moment,
    stamp_at,
    stamp_of_renamed,
    state,
)
from .manifest import TaskManifests
from .payloads import RunTexts


class ManifestSide:
    """The manifests of a group of rows. A superseded row has none: the later one writes it."""

    phase = MANIFEST

    def __init__(
        self,
        rows: range,
        refs: ShardRows,
        texts: RunTexts,
        options: PersistOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._refs = refs
        self._texts = texts
        self._layout = options.layout
        self._force = options.force
        self._outcome = outcome
        self._records = bool(outcome.manifest_stamps)
        self._staged: list[tuple[int, StagedFile]] = []
        self._published: list[tuple[int, StagedFile, int]] = []
        """With a moment before it was published."""
        self._tasks = {task: self._pending(task, span) for task, span in refs.tasks(rows)}

    def _pending(self, task_id: str, rows: range) -> list[int]:
        """The rows whose manifest is not the very file that is known to hold the run's text."""
        refs, path, unchanged, pending = self._refs, self._layout.manifest, Side.UNCHANGED, []
        for row, known in zip(rows, refs.manifest_stamps(rows), strict=True):
            if refs.superseded(row):
                continue
            if known != NO_STAMP and stamp_at(path(task_id, refs.run_ids[row])) == known:
                self._outcome.manifest[row] = unchanged
                self._keep_stamp(row, known)
            else:
                pending.append(row)
        return pending

    def _path(self, row: int) -> str:
        keys = self._refs.keys(row)
        return self._layout.manifest(keys.task_id, keys.run_id)

    @property
    def pending(self) -> Sequence[int]:
        return list(chain.from_iterable(self._tasks.values()))

    @property
    def files(self) -> int:
        return sum(map(len, self._tasks.values()))

    def stage(self, sync: SyncGroup) -> None:
        for task_id, rows in self._tasks.items():
            try:
                manifests = TaskManifests(self._layout, task_id, self._force)
            except OSError as error:
                for row in rows:
                    self._fail(row, error)
            else:
                self._stage(manifests, rows, sync)

    def _stage(self, manifests: TaskManifests, rows: Sequence[int], sync: SyncGroup) -> None:
        run_ids, text_of, seconds = self._refs.run_ids, self._texts.text, self._outcome.manifest_seconds
        before, begun = moment(), perf_counter()
        for row in rows:
            try:
                staged = manifests.stage(run_ids[row], text_of(row), sync)
            except (ItemError, OSError) as error:
                self._fail(row, error)
            else:
                if staged is None:
                    self._outcome.manifest[row] = Side.UNCHANGED
                    self._keep_stamp_of_unchanged(row, before)
                    sync.standing(self._path(row), self._layout.runs_dir)
                else:
                    self._staged.append((row, staged))
            ended = perf_counter()
            seconds[row], begun = ended - begun, ended

    def publish(self, sync: SyncGroup) -> None:
        outcome = self._outcome
        begun = perf_counter()
        for row, staged in self._staged:
            if self._records:  # a file written in the tick of its rename gets no stamp
                await_tick_after(staged.status.st_mtime_ns)
            before = moment()
            try:
                staged.publish(sync)
            except OSError as error:
                self._fail(row, error)
            else:
                outcome.manifest[row] = Side.PERSISTED
                outcome.manifest_bytes[row] = staged.size
                self._published.append((row, staged, before))
            ended = perf_counter()
            outcome.manifest_seconds[row] += ended - begun
            begun = ended

    def abandon(self, error: Exception) -> None:
        for _, staged in self._staged:
            staged.discard()
        self._staged.clear()
        self._published.clear()
        for row in self.pending:
            if self._outcome.manifest[row] != Side.FAILED:  # what is unchanged was to be synced as well
                self._fail(row, error)

    def close(self) -> None:
        if self._records:
            for row, staged, before in self._published:
                self._keep_stamp(row, stamp_of_renamed(staged.target, state(staged.status), before))

    def _keep_stamp_of_unchanged(self, row: int, before: int) -> None:
        """By a look after it was compared: whatever changed it in between is not older than ``before``."""
        if self._records:
            with suppress(OSError):  # gone in the meantime
                self._keep_stamp(row, lasting_stamp(state(os.lstat(self._path(row))), before))

    def _keep_stamp(self, row: int, stamp: bytes) -> None:
        if self._records:
            self._outcome.manifest_stamps[STAMP_BYTES * row : STAMP_BYTES * (row + 1)] = stamp

    def _fail(self, row: int, error: Exception) -> None:
        self._outcome.manifest[row] = Side.FAILED
        self._outcome.manifest_bytes[row] = 0
        self._outcome.manifest_failures[row] = failure_of(error)
        self._keep_stamp(row, NO_STAMP)
