"""The runs that a task's new snapshot consists of: from the old one, manifests and run summaries."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from ..audit import RunFiles
from ..contract.entry_order import is_sorted, repeated_runs
from ..contract.json_text import reading, unnest
from ..contract.run_parser import RunChecker, choose_entry, order_by_growth
from ..contract.snapshot_text import ENTRY_LEVELS
from ..errors import InvalidRunError, SnapshotError
from ..snapshots import Baseline, History
from .placement import MisplacedRuns
from .recovery import RecoveredRun, recover_runs


@dataclass
class SnapshotChanges:
    """What the new snapshot of a task has other than the old one."""

    missing: set[str] = field(default_factory=set)
    """Runs to be recorded from their manifests or summaries, unless they have an entry by then."""
    from_manifest: set[str] = field(default_factory=set)
    """Runs whose entries are replaced by their manifests."""
    from_summary: set[str] = field(default_factory=set)
    """Runs whose entries are replaced by their summaries."""
    completed: set[str] = field(default_factory=set)
    """Runs that get the text with most members of entry, manifest and summary."""
    misplaced: set[str] = field(default_factory=set)
    """Runs with an entry that names another task."""

    @property
    def replaced(self) -> set[str]:
        """Runs whose entries may be replaced."""
        return self.from_manifest | self.from_summary | self.completed


class _Origin(IntEnum):
    """Where a run's text comes from."""

    ENTRY = 0
    """The old snapshot, as it is; the number is that of the entry."""
    REPLACED = 1
    """The text chosen for a run that has this entry."""
    RECOVERED = 2
    """The damaged snapshot; the number is that of the recovered run."""
    FILES = 3
    """The run's manifest or summary."""


class RunCollection:
    """The runs of one task in the order in which they are recorded.

    In columns, for there may be very many; a text is read each time that it is asked for.
    """

    def __init__(
        self,
        task_id: str,
        files: RunFiles,
        changes: SnapshotChanges,
        checker: RunChecker,
        misplaced: MisplacedRuns,
    ) -> None:
        self._task_id = task_id
        self._files = files
        self._changes = changes
        self._checker = checker
        self._misplaced = misplaced
        self._history: History | None = None
        self._damaged: Baseline | None = None
        self._recovered: list[RecoveredRun] = []
        self.run_ids: list[str] = []
        self.timestamps: list[str] = []
        self._origins = array("B")
        self._numbers = array("q")

    # -- Adding runs --------------------------------------------------------------------------------------

    def add_entries(self, history: History) -> None:
        """Add the entries of a history, which is read until the last text was; once only.

        A replaced entry keeps its place in the order. One that names another task is left out once it is
        in its own place.
        """
        self._history = history
        changes, replaced = self._changes, self._changes.replaced
        for entry, (run_id, timestamp) in enumerate(history.keys):
            if run_id in changes.misplaced and self._is_moved(entry):
                continue
            if run_id in replaced:
                old = self._entry(entry)
                new = self._choose(run_id, old)
                if new != old:
                    timestamp_of_new = self._checker.read(new)[0].timestamp
                    self._add(run_id, timestamp_of_new, _Origin.REPLACED, entry)
                    continue
            self._add(run_id, timestamp, _Origin.ENTRY, entry)

    def add_recovered(self, damaged: Baseline) -> None:
        """Add what can be read of a damaged snapshot, which stays open until the last text was read; once.

        Runs of other tasks go to their own places. Raises SnapshotError where the file system takes
        another task for this one.
        """
        self._damaged = damaged
        for run in recover_runs(damaged, self._checker):
            keys = run.keys
            if keys.task_id == self._task_id:
                self._add(keys.run_id, keys.timestamp, _Origin.RECOVERED, len(self._recovered))
                self._recovered.append(run)
            elif self._misplaced.is_same_task(keys.task_id, self._task_id):
                raise SnapshotError("the file system takes another task for this one", keys.task_id)
            elif not self._misplaced.place(keys, self._text_of_recovered(run)):
                self._misplaced.unplaced.add(keys)

    def add_from_files(self, run_ids: Iterable[str]) -> None:
        """Add runs from their manifests or summaries; those without a valid text are left out."""
        for run_id in run_ids:
            try:
                timestamp = self._checker.read(self._choose(run_id))[0].timestamp
                self._add(run_id, timestamp, _Origin.FILES, 0)
            except InvalidRunError:
                continue

    def _add(self, run_id: str, timestamp: str, origin: _Origin, number: int) -> None:
        self.run_ids.append(run_id)
        self.timestamps.append(timestamp)
        self._origins.append(origin)
        self._numbers.append(number)

    def _is_moved(self, entry: int) -> bool:
        """Whether an entry is another task's, and is in its own place now."""
        try:
            keys, text = self._checker.read(self._entry(entry))
        except InvalidRunError:  # an id without a place
            return False
        if keys.task_id == self._task_id or self._misplaced.is_same_task(keys.task_id, self._task_id):
            return False
        return self._misplaced.place(keys, text)

    # -- Their texts --------------------------------------------------------------------------------------

    def text(self, run: int) -> bytes:
        """The canonical text of a run, by its number. Raises InvalidRunError, SnapshotError and OSError."""
        origin, number = self._origins[run], self._numbers[run]
        if origin == _Origin.ENTRY:
            return self._entry(number)
        if origin == _Origin.REPLACED:
            return self._choose(self.run_ids[run], self._entry(number))
        if origin == _Origin.RECOVERED:
            return self._text_of_recovered(self._recovered[number])
        return self._choose(self.run_ids[run])

    def _entry(self, entry: int) -> bytes:
        assert self._history is not None
        return unnest(self._history.text(entry), ENTRY_LEVELS)

    def _text_of_recovered(self, run: RecoveredRun) -> bytes:
        assert self._damaged is not None
        return self._checker.read(self._damaged.read(run.size, run.offset))[1]

    def _choose(self, run_id: str, entry: bytes | None = None) -> bytes:
        """The text that a run gets, which has this entry in the snapshot, or none.

        Raises InvalidRunError where there is none to choose.
        """
        manifest = self._files.readable_manifest(run_id)
        summary = self._files.readable_summary(run_id)
        candidates = [entry, manifest, summary]
        if run_id in self._changes.from_manifest:
            candidates = [manifest]
        elif run_id in self._changes.from_summary:
            candidates = [summary]
        texts = {text: reading(text) for text in candidates if text is not None}
        if not texts:
            raise InvalidRunError("no other text of the run can be read", run_id)
        if order_by_growth(list(texts.values())) is None:
            return next(iter(texts))
        return max(texts, key=lambda text: len(texts[text]))

    # -- What is written ----------------------------------------------------------------------------------

    def drop_repeats(self) -> None:
        """Keep each run once: of several entries the one that counts in an audit."""
        entries: dict[str, list[int]] = {run_id: [] for run_id in repeated_runs(self.run_ids)}
        for run, run_id in enumerate(self.run_ids) if entries else ():
            if run_id in entries:
                entries[run_id].append(run)
        dropped = {run for runs in entries.values() for run in self._repeats(runs)}
        kept = [run for run in range(len(self.run_ids)) if run not in dropped]
        self.run_ids = [self.run_ids[run] for run in kept]
        self.timestamps = [self.timestamps[run] for run in kept]
        self._origins = array("B", (self._origins[run] for run in kept))
        self._numbers = array("q", (self._numbers[run] for run in kept))

    def _repeats(self, runs: Sequence[int]) -> list[int]:
        """Of the entries of one run those that do not count."""
        texts = [self.text(run) for run in runs]
        counts = choose_entry(texts, self._files.manifest_bytes(self.run_ids[runs[0]]))
        return [run for number, run in enumerate(runs) if number != counts]

    def is_same_as(self, history: History) -> bool:
        """Whether writing the runs would leave the very file of which this is the history."""
        is_in_order = history.is_canonical and is_sorted(history.entries.timestamps)
        is_whole = len(self.run_ids) == len(history.entries) and not any(self._origins)
        return is_in_order and is_whole and not repeated_runs(self.run_ids)
