"""The task snapshots ``<out-dir>/<taskId>/runs.json`` (docs/formats.md, "Task snapshot")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..contract.run_parser import RunReader, Summary, read_summary
from ..errors import CommitErrors, ItemError
from ..models import DEFAULT_KEYS, Durability, Keys, RunKeys, Side
from ..options import NODE_LIMIT, CommitOptions, LockPolicy
from ..storage.fsync import open_group
from .commit import StagedSnapshot


class TaskStateStore:
    """Records completed runs in the snapshots of their tasks.

    Safe beside other processes and threads that take the task lock, the orchestrator among
    them: a snapshot is replaced as a whole, and no update of others is lost. All failures
    leave the snapshot as it was, but for an OSError of the very last sync: then the new one
    is there, and may not survive a power cut.
    """

    def __init__(
        self,
        out_dir: str,
        runs_dir: str,
        *,
        keys: Keys = DEFAULT_KEYS,
        lock_policy: LockPolicy = LockPolicy(),
        durability: Durability = Durability.FILE,
        force: bool = False,
        cache: bool = True,
        max_snapshot_units: int | None = NODE_LIMIT,
    ) -> None:
        """``force``: write a run's entry even where it has the same text already. ``cache``: note down
        below the runs-dir what is known of long snapshots, so that the next run added to one need not read
        it again. ``max_snapshot_units``: SnapshotError for a snapshot that would have more UTF-16 units, by
        default what Node.js can read; None: no limit."""
        self._options = CommitOptions(
            out_dir=out_dir,
            runs_dir=runs_dir,
            keys=keys,
            lock_policy=lock_policy,
            durability=durability,
            force=force,
            cache=cache,
            max_snapshot_units=max_snapshot_units,
        )
        self._reader = RunReader(keys)

    def record_run(self, summary: Summary) -> Side:
        """Record one completed run: PERSISTED, or UNCHANGED where it exists already.

        Durable, as far as the store is, when it returns. Raises InvalidRunError for what is no
        completed run, TaskStateLockError where the task's lock was not to be had, SnapshotError
        where the task's file cannot be read as its snapshot, and OSError.
        """
        return self.record_runs([summary])[0]

    def record_runs(self, summaries: Iterable[Summary]) -> list[Side]:
        """Record runs of any tasks, as if one after the other, with one commit for each task.

        All are read before anything is written: InvalidRunError means that nothing was. After
        that every task is attempted. Where one fails its error is raised, as ``record_run``
        does; where several fail, CommitErrors with all of them. The other tasks are recorded.
        """
        runs = [read_summary(summary, self._reader) for summary in summaries]
        tasks: dict[str, list[int]] = {}
        for number, (keys, _) in enumerate(runs):
            tasks.setdefault(keys.task_id, []).append(number)

        sides = [Side.NOT_ATTEMPTED] * len(runs)
        errors: dict[str, Exception] = {}
        for task_id, numbers in tasks.items():
            try:
                found = self._commit(task_id, [runs[number] for number in numbers])
            except (ItemError, OSError) as error:
                errors[task_id] = error
            else:
                for number, side in zip(numbers, found, strict=True):
                    sides[number] = side
        if len(errors) > 1:
            raise CommitErrors(errors)
        for only_error in errors.values():
            raise only_error
        return sides

    def _commit(self, task_id: str, runs: Sequence[tuple[RunKeys, bytes]]) -> list[Side]:
        options = self._options
        with open_group(options.durability, [options.out_dir], files=1) as group:
            staged = StagedSnapshot(options, task_id, _ReadRuns(runs), group)
            try:
                group.sync_data()
                staged.publish()
            finally:
                staged.discard()
            group.sync_names()
        return staged.sides


class _ReadRuns:
    """Runs of one task whose texts are in memory."""

    def __init__(self, runs: Sequence[tuple[RunKeys, bytes]]) -> None:
        self.run_ids = [keys.run_id for keys, _ in runs]
        self.timestamps = [keys.timestamp for keys, _ in runs]
        self._runs = runs

    def text(self, number: int) -> bytes:
        return self._runs[number][1]
