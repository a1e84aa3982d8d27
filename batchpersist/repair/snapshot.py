"""A task's snapshot anew: what can be read of the one that stands, and runs from manifests, in order."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from ..audit.comparison import UNKNOWN, by_growth
from ..audit.run_files import Manifests
from ..audit.snapshots import repeated_runs
from ..audit.summaries import Summaries
from ..errors import InvalidRunError, SnapshotError
from ..files.atomic import StagedFile, make_dirs, stage
from ..files.durability import SyncGroup, open_group
from ..files.versions import version_of
from ..locking.locks import TaskLock
from ..runs.jsontext import reading, unnest
from ..runs.run_texts import RunCheck
from ..snapshots.baseline import Baseline
from ..snapshots.commit import ATTEMPTS
from ..snapshots.composition import Composition, RunsLeftOutError
from ..snapshots.entries import Entries
from ..snapshots.history import History
from ..snapshots.length import limited
from ..snapshots.merge import is_sorted
from ..snapshots.snapshottext import ENTRY_LEVELS
from .backup import Keeper
from .collecting import Collection
from .options import RepairOptions
from .placement import Strays, same_file
from .recovery import Salvaged, salvage


@dataclass
class Wanted:
    """What the new snapshot is to have that the old one has not."""

    missing: set[str] = field(default_factory=set)
    """Runs to be recorded from their manifests or summaries, unless they have an entry meanwhile."""
    from_manifest: set[str] = field(default_factory=set)
    """Runs whose manifests are to take the place of their entries."""
    from_summary: set[str] = field(default_factory=set)
    """Runs whose summaries are."""
    completed: set[str] = field(default_factory=set)
    """Runs that get of entry, manifest and summary the text with most members."""
    elsewhere: set[str] = field(default_factory=set)
    """Runs with an entry that says it is another task's."""


class Rebuild:
    """Replaces one task's snapshot, beside others who record runs in it."""

    def __init__(
        self, task_id: str, options: RepairOptions, keeper: Keeper, wanted: Wanted, strays: Strays
    ) -> None:
        self._task_id = task_id
        self._options = options
        self._layout = options.audit.layout
        self._keys = options.audit.keys
        self._target = self._layout.snapshot(task_id)
        self._keeper = keeper
        self._wanted = wanted
        self._strays = strays
        self._check = RunCheck(self._keys)
        self._manifests = Manifests(self._layout, task_id, self._check, lambda _finding: None)
        self._summaries = Summaries(self._layout, task_id, self._check, lambda _finding: None)

    def replace(self) -> None:
        """Do it: what stood is kept, and no update of others is lost, whatever is raised.

        Raises TaskStateLockError, SnapshotError (no file, or others keep changing it), InvalidRunError (a
        manifest is no run any more) and OSError; then the snapshot is as it was, or as others left it.
        """
        self._manifests.list_folders(lambda _finding: None)
        self._summaries.list_folders(lambda _finding: None)
        for _ in range(ATTEMPTS):
            with ExitStack() as opened:
                baselines = (
                    opened.enter_context(closing(Baseline())),
                    opened.enter_context(closing(Baseline())),
                )
                group = open_group(self._options.durability, [self._layout.out_dir], files=1)
                if self._attempt(*baselines, opened.enter_context(group)):
                    return
        raise SnapshotError("the snapshot is changed all the time", self._target)

    def _attempt(self, baseline: Baseline, legacy: Baseline, group: SyncGroup) -> bool:
        """False where somebody else was faster."""
        history = self._load(baseline)
        runs = self._runs(history, baseline, legacy)
        if not runs.run_ids and (history is not None or baseline.version is None):
            return True
        if history is not None and baseline.version is not None and _is_as_it_stands(history, runs):
            return True
        staged = self._staged(runs, history.further if history else b"", baseline, group)
        try:
            group.sync_data()
            if baseline.version is not None:
                self._keeper.keep(self._target, baseline.content(), whole=history is not None)
            with TaskLock(self._layout, self._task_id, self._options.lock_policy):
                done = baseline.is_current() and self._publish(staged, group)
        finally:
            if staged is not None:
                staged.discard()
        group.sync_names()
        return done

    def _load(self, baseline: Baseline) -> History | None:
        """What stands; None where it cannot be read as a snapshot of the task, but is a file."""
        try:
            return baseline.load(self._layout, self._task_id, self._keys, cache=False)
        except SnapshotError:
            if baseline.version is None:
                raise
            return None

    def _runs(self, history: History | None, baseline: Baseline, legacy: Baseline) -> Collection:
        """In the order in which they are to be recorded."""
        runs = Collection()
        missing = self._wanted.missing
        if history is None:
            # As if the snapshot were not there: then its task starts from the legacy state.
            self._add_entries(runs, legacy.load_legacy(self._layout, self._task_id, self._keys))
            self._add_salvaged(runs, baseline)
            missing = missing | self._manifests.folders | self._summaries.folders
        else:
            self._add_entries(runs, history)
        self._add_manifests(runs, sorted(missing - set(runs.run_ids)))
        return runs

    def _add_entries(self, runs: Collection, history: History) -> None:
        """A text that takes an entry's place is recorded in its place."""

        def text(entry: int) -> bytes:
            return unnest(history.text(entry), ENTRY_LEVELS)

        entries = runs.file(text)
        others = runs.file(lambda entry: self._chosen(history.entries.run_ids[entry], text(entry)))
        replaced = self._wanted.from_manifest | self._wanted.from_summary | self._wanted.completed
        for entry, (run_id, timestamp) in enumerate(history.keys):
            if run_id in self._wanted.elsewhere and self._is_elsewhere(history, entry):
                continue
            chosen = self._chosen(run_id, text(entry)) if run_id in replaced else None
            if chosen is None or chosen == text(entry):
                runs.add(run_id, timestamp, entries, entry)
            else:
                runs.add(run_id, self._check.read(chosen)[0].timestamp, others, entry)

    def _is_elsewhere(self, history: History, entry: int) -> bool:
        """Whether the entry is another task's, and stands there now."""
        try:
            keys, text = self._check.read(unnest(history.text(entry), ENTRY_LEVELS))
        except InvalidRunError:  # an id that has no place
            return False
        is_other = keys.task_id != self._task_id and not self._is_twin(keys.task_id)
        return is_other and self._strays.place(keys, text)

    def _is_twin(self, task_id: str) -> bool:
        """Whether the file system takes another task for this one."""
        return any(
            same_file(folder(task_id), folder(self._task_id))
            for folder in (self._layout.task_dir, self._layout.task_runs_dir)
        )

    def _add_salvaged(self, runs: Collection, baseline: Baseline) -> None:
        found: list[Salvaged] = []

        def text(salvaged: Salvaged) -> bytes:
            return self._check.read(baseline.read(salvaged.size, salvaged.offset))[1]

        file = runs.file(lambda number: text(found[number]))
        for salvaged in salvage(baseline, self._check):
            keys = salvaged.keys
            if keys.task_id != self._task_id:
                if self._is_twin(keys.task_id):
                    raise SnapshotError("the file system takes another task for this one", keys.task_id)
                if not self._strays.place(keys, text(salvaged)):
                    self._strays.left.add(keys)
            else:
                runs.add(keys.run_id, keys.timestamp, file, len(found))
                found.append(salvaged)

    def _add_manifests(self, runs: Collection, run_ids: list[str]) -> None:
        file = runs.file(lambda number: self._chosen(run_ids[number]))
        for number, run_id in enumerate(run_ids):
            try:
                timestamp = self._check.read(self._chosen(run_id))[0].timestamp
                runs.add(run_id, timestamp, file, number)
            except InvalidRunError:
                continue

    def _chosen(self, run_id: str, entry: bytes | None = None) -> bytes:
        """The text that a run is to have, which has this entry in the snapshot, or none.

        Raises InvalidRunError where there is none to choose.
        """
        manifest, summary = self._manifest(run_id), self._summary(run_id)
        texts = [entry, manifest, summary]
        if run_id in self._wanted.from_manifest:
            texts = [manifest]
        elif run_id in self._wanted.from_summary:
            texts = [summary]
        there = {text: reading(text) for text in texts if text is not None}
        if not there:
            raise InvalidRunError("no other text of the run can be read", run_id)
        grown = by_growth(list(there.values()))
        return next(iter(there)) if grown is None else max(there, key=lambda text: len(there[text]))

    def _manifest(self, run_id: str) -> bytes | None:
        try:
            data = self._manifests.raw(run_id)
            return data and self._check.canonical(data, self._task_id, run_id)
        except InvalidRunError:
            return None

    def _summary(self, run_id: str) -> bytes | None:
        text = self._summaries.text(run_id)
        return None if text == UNKNOWN else text

    def _staged(
        self, runs: Collection, further: bytes, baseline: Baseline, group: SyncGroup
    ) -> StagedFile | None:
        """The new snapshot beside the old one: as recording the runs one after the other would leave it."""
        chosen = runs.once_each(self._manifests.raw)
        failures: dict[int, Exception] = {}
        nothing = History(baseline, Entries(0), further)
        composition = Composition(nothing, self._task_id, chosen, failures)
        if not composition.compose(compare=False):
            return None
        make_dirs(self._layout.task_dir(self._task_id), group, follow=False)
        try:
            chunks = limited(composition.chunks(), self._options.audit.max_snapshot_units, self._target)
            return stage(self._target, chunks, group, mode=baseline.mode)
        except RunsLeftOutError:  # no entry may be left out, nor a manifest that was there a moment ago
            raise next(iter(failures.values())) from None

    def _publish(self, staged: StagedFile | None, group: SyncGroup) -> bool:
        if staged is None:  # nothing at all could be salvaged
            os.unlink(self._target)
            group.renamed(self._target)
            return True
        written = version_of(staged.temporary)
        staged.publish(group)
        found = version_of(self._target)
        return found is not None and written is not None and found.is_renamed(written)


def _is_as_it_stands(history: History, runs: Collection) -> bool:
    """Whether writing the runs would leave the very file of which this is the history."""
    is_in_order = history.is_canonical and is_sorted(history.entries.timestamps)
    is_whole = runs.come_from(0) and len(runs.run_ids) == len(history.entries)
    return is_in_order and is_whole and not repeated_runs(runs.run_ids)
