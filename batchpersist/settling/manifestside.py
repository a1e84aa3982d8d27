"""One side of a group of pairs: its manifests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from time import perf_counter

from ..errors import ItemError, failure_of
from ..files.atomic import StagedFile
from ..files.durability import SyncGroup
from ..files.fingerprint import (
    FINGERPRINT_BYTES,
    NO_FINGERPRINT,
    Fingerprint,
    file_clock,
    packed_at,
    what_changed,
)
from ..models import ShardOutcome, Side
from ..options import PersistOptions
from ..phaseclock import MANIFEST
from ..planning.job import ShardRows
from .manifest import TaskManifests
from .payloads import RunTexts

_log = logging.getLogger(__name__)


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
        self._takes_fingerprints = bool(outcome.manifest_fingerprints)
        self._staged: list[tuple[int, StagedFile]] = []
        self._published: list[tuple[int, StagedFile]] = []
        self._tasks = {task: self._pending(task, span) for task, span in refs.tasks(rows)}

    def _pending(self, task_id: str, rows: range) -> list[int]:
        """The rows whose manifest is not the very file that is known to hold the run's text."""
        refs, path, unchanged, pending = self._refs, self._layout.manifest, Side.UNCHANGED, []
        logs = _log.isEnabledFor(logging.DEBUG)
        for row, known in zip(rows, refs.manifest_fingerprints(rows), strict=True):
            if refs.superseded(row):
                continue
            if known != NO_FINGERPRINT and packed_at(path(task_id, refs.run_ids[row])) == known:
                self._outcome.manifest[row] = unchanged
                self._keep_fingerprint(row, known)
            else:
                pending.append(row)
                if logs:
                    _log_change(self._path(row), known)
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
        clock, begun = file_clock(), perf_counter()
        for row in rows:
            try:
                staged = manifests.stage(run_ids[row], text_of(row), sync)
            except (ItemError, OSError) as error:
                self._fail(row, error)
            else:
                if staged is None:
                    self._outcome.manifest[row] = Side.UNCHANGED
                    self._keep_fingerprint_of_unchanged(row, clock)
                    sync.standing(self._path(row), self._layout.runs_dir)
                else:
                    self._staged.append((row, staged))
            ended = perf_counter()
            seconds[row], begun = ended - begun, ended

    def publish(self, sync: SyncGroup) -> None:
        outcome = self._outcome
        begun = perf_counter()
        for row, staged in self._staged:
            try:
                staged.publish(sync)
            except OSError as error:
                self._fail(row, error)
            else:
                outcome.manifest[row] = Side.PERSISTED
                outcome.manifest_bytes[row] = staged.size
                self._published.append((row, staged))
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
        if self._takes_fingerprints:
            for row, staged in self._published:
                if found := staged.fingerprint():
                    self._keep_fingerprint(row, found.packed())

    def _keep_fingerprint_of_unchanged(self, row: int, clock: int) -> None:
        """Taken after the comparison: whatever changed the file in between is not older than ``clock``."""
        if self._takes_fingerprints:
            with suppress(OSError):  # its folder cannot be read any more
                if found := Fingerprint.at(self._path(row)):
                    self._keep_fingerprint(row, found.packed_for_cache(clock))

    def _keep_fingerprint(self, row: int, packed: bytes) -> None:
        if self._takes_fingerprints:
            place = slice(FINGERPRINT_BYTES * row, FINGERPRINT_BYTES * (row + 1))
            self._outcome.manifest_fingerprints[place] = packed

    def _fail(self, row: int, error: Exception) -> None:
        self._outcome.manifest[row] = Side.FAILED
        self._outcome.manifest_bytes[row] = 0
        self._outcome.manifest_failures[row] = failure_of(error)
        self._keep_fingerprint(row, NO_FINGERPRINT)


def _log_change(path: str, known: bytes) -> None:
    """Say why a manifest is not taken from the cache."""
    _log.debug("%s is compared, not taken from the cache: %s", path, what_changed(known, packed_at(path)))
