"""The manifests of a group of pairs: which are unchanged, and how the others are written."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from time import perf_counter

from ..contract.json_text import holds
from ..contract.run_parser import RunReader, Summary, read_summary
from ..errors import ItemError, failure_of
from ..models import DEFAULT_KEYS, Durability, Keys, ShardOutcome, Side
from ..options import PersistOptions
from ..paths import Layout
from ..plan import ShardRows
from ..profiling import MANIFEST
from ..storage.atomic_write import StagedFile, commit, make_dirs, refuse_link, stage
from ..storage.file_reader import FileBytes, NotRegularFileError, open_regular, read_blocks
from ..storage.fingerprint import (
    FINGERPRINT_BYTES,
    NO_FINGERPRINT,
    Fingerprint,
    file_clock,
    packed_at,
    what_changed,
)
from ..storage.fsync import SyncGroup, open_group
from .payloads import ShardTexts

_log = logging.getLogger(__name__)


class RunManifestWriter:
    """Writes the manifests below one runs-dir; nobody ever reads half of one.

    Usable from several threads and processes at once: of two that write the same run, the later rename wins.
    ``keys`` are the names of the run's key fields; ``durability`` is that of a manifest once ``write`` has
    returned; ``force`` writes even what is unchanged.
    """

    def __init__(
        self,
        runs_dir: str | os.PathLike[str],
        *,
        keys: Keys = DEFAULT_KEYS,
        durability: Durability = Durability.FILE,
        force: bool = False,
    ) -> None:
        self._layout = Layout(out_dir="", runs_dir=os.fspath(runs_dir))
        self._reader = RunReader(keys)
        self._durability = durability
        self._force = force

    def write(self, summary: Summary) -> Side:
        """Write a run's whole manifest; returns PERSISTED, or UNCHANGED where the existing one holds the run.

        On PERSISTED the manifest is as durable as was asked for; UNCHANGED says nothing about when the
        existing one reached the disk. Raises InvalidRunError for what is not a completed run, and OSError;
        until the rename an older manifest stays whole.
        """
        keys, text = read_summary(summary, self._reader)
        with open_group(self._durability, [self._layout.runs_dir], files=1) as group:
            staged = TaskManifests(self._layout, keys.task_id, self._force).stage(keys.run_id, text, group)
            if staged is None:
                return Side.UNCHANGED
            commit(staged, group)
        return Side.PERSISTED


class TaskManifests:
    """The manifests of one task, to be staged one by one."""

    def __init__(self, layout: Layout, task_id: str, force: bool) -> None:
        """``task_id`` must be checked already. Raises OSError where the task's folder is a symbolic link."""
        refuse_link(layout.task_runs_dir(task_id))
        self._layout = layout
        self._task_id = task_id
        self._force = force

    def stage(self, run_id: str, text: bytes, group: SyncGroup) -> StagedFile | None:
        """Write the canonical ``text`` to a file beside the manifest; None where that holds it already.

        ``run_id`` must be checked already. An older manifest's permission bits are kept. A symbolic link in
        its place will be replaced, never followed; one in the place of the run's folder is refused. Raises
        OSError, also for a manifest that cannot be read.
        """
        target = self._layout.manifest(self._task_id, run_id)
        mode = None
        if not make_dirs(self._layout.run_dir(self._task_id, run_id), group, follow=False):
            same, mode = _compare(target, text)
            if same and not self._force:
                return None
            if mode is not None:
                _log.debug("%s is written again: %s", target, "forced" if same else "it is not this run")
        return stage(target, (text,), group, mode=mode)


def _compare(path: str, text: bytes) -> tuple[bool, int | None]:
    """Whether the file holds ``text``, and its permission bits (None: there is no file)."""
    try:
        fd, status = open_regular(path)
    except (FileNotFoundError, NotRegularFileError):  # a folder is refused by the rename
        return False, None
    try:
        # The orchestrator may have rounded its numbers, which makes them hardly longer.
        same = status.st_size <= 2 * len(text) and holds(b"".join(read_blocks(FileBytes(fd))), text)
        return same, stat.S_IMODE(status.st_mode)
    finally:
        os.close(fd)


class ManifestSide:
    """The manifests of a group of rows. A superseded row has none: the later one writes it."""

    phase = MANIFEST

    def __init__(
        self,
        rows: range,
        refs: ShardRows,
        texts: ShardTexts,
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
        """The rows whose manifest is not the very file that the cache knows to hold the run's text."""
        refs, path, unchanged, pending = self._refs, self._layout.manifest, Side.UNCHANGED, []
        logs = _log.isEnabledFor(logging.DEBUG)
        for row, known in zip(rows, refs.manifest_fingerprints(rows), strict=True):
            if refs.is_superseded(row):
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
                    sync.add_existing(self._path(row), self._layout.runs_dir)
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
            if self._outcome.manifest[row] != Side.FAILED:  # the sync was for unchanged files as well
                self._fail(row, error)

    def close(self) -> None:
        if self._takes_fingerprints:
            for row, staged in self._published:
                if found := staged.fingerprint():
                    self._keep_fingerprint(row, found.packed())

    def _keep_fingerprint_of_unchanged(self, row: int, clock: int) -> None:
        """It is taken after the comparison: a change of the file in between is not older than ``clock``."""
        if self._takes_fingerprints:
            with suppress(OSError):  # the folder can no longer be read
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
    """Log why an existing manifest is not taken from the cache; of a first batch there is nothing to say."""
    if os.path.lexists(path):
        _log.debug("%s is compared, not taken from the cache: %s", path, what_changed(known, packed_at(path)))
