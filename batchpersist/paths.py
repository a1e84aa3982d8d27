"""Every path that batchpersist reads or writes below its two roots (docs/formats.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from .errors import RootMissingError, UsageError

OWN_FOLDER = ".batchpersist"
"""What is batchpersist's alone, below the runs-dir: its lock, spool and batches."""

LOCK_SUFFIX = ".lock"

TEMPORARY_MARK = ".tmp-"
"""Every temporary file is named ``<target's name>.tmp-<hex>`` (``storage.temp_files``)."""


def check_roots(out_dir: str, runs_dir: str) -> None:
    """Raise UsageError unless these are two folders of which neither lies in the other.

    What one of them holds would be taken for a task, or a run, of the other.
    """
    out, runs = map(os.path.realpath, (out_dir, runs_dir))
    if out == runs:
        raise UsageError(f"out-dir and runs-dir must be two folders: {out_dir}")
    if os.path.commonpath([out, runs]) in (out, runs):
        inner, outer = ("out-dir", "runs-dir") if out.startswith(runs) else ("runs-dir", "out-dir")
        raise UsageError(f"the {inner} must not lie in the {outer}: {out_dir}, {runs_dir}")


@dataclass(frozen=True)
class Layout:
    """The two roots of a store; ids given to its methods must have been checked already."""

    out_dir: str
    runs_dir: str
    shard: str = ""
    """Which share of the tasks is worked on (``partition.Partition.name``); empty: all of them."""

    def check_runs_dir(self) -> None:
        """Raise RootMissingError where it does not exist: it would look like a root without any trouble."""
        if not os.path.exists(self.runs_dir):
            raise RootMissingError(self.runs_dir, "--runs-dir")

    def check_roots(self) -> None:
        """The same for both."""
        if not os.path.exists(self.out_dir):
            raise RootMissingError(self.out_dir, "--out-dir")
        self.check_runs_dir()

    def task_dir(self, task_id: str) -> str:
        return os.path.join(self.out_dir, task_id)

    def snapshot(self, task_id: str) -> str:
        return os.path.join(self.out_dir, task_id, "runs.json")

    def legacy_state(self, task_id: str) -> str:
        return os.path.join(self.out_dir, task_id, "state.json")

    def task_runs_dir(self, task_id: str) -> str:
        return f"{self._runs_prefix}{task_id}"

    def run_dir(self, task_id: str, run_id: str) -> str:
        return f"{self._runs_prefix}{task_id}/{run_id}"

    def manifest(self, task_id: str, run_id: str) -> str:
        return f"{self._runs_prefix}{task_id}/{run_id}/manifest.json"

    @cached_property
    def _runs_prefix(self) -> str:
        """Joined once: the path of a manifest is asked for as often as there are runs."""
        return os.path.join(self.runs_dir, "")

    def task_lock(self, task_id: str) -> str:
        return os.path.join(self.runs_dir, task_id + ".lock")

    def task_lock_gate(self, task_id: str) -> str:
        return os.path.join(self.runs_dir, task_id + ".lock.acquire")

    @property
    def own_dir(self) -> str:
        return os.path.join(self.runs_dir, OWN_FOLDER)

    @property
    def batch_lock(self) -> str:
        """The whole batch's, or that of the shard."""
        return self.shard_lock(self.shard) if self.shard else self.whole_batch_lock

    @property
    def whole_batch_lock(self) -> str:
        return os.path.join(self.own_dir, "batch.lock")

    def shard_lock(self, shard: str) -> str:
        return os.path.join(self.shard_locks, shard + LOCK_SUFFIX)

    @property
    def shard_locks(self) -> str:
        return os.path.join(self.own_dir, "shards")

    @property
    def batch_gate(self) -> str:
        """Held for the moment in which a batch looks whether it may begin."""
        return os.path.join(self.own_dir, "batch.gate")

    @property
    def root_record(self) -> str:
        """What the root remembers of how it was written (``records.root_record``)."""
        return os.path.join(self.own_dir, "root.json")

    @property
    def repairs(self) -> str:
        """Folder of the copies of what repairs have replaced."""
        return os.path.join(self.runs_dir, OWN_FOLDER, "repair")

    @property
    def lock_mutexes(self) -> str:
        """Folder of the flock'd files that serialise the breaking of stale task locks."""
        return os.path.join(self.runs_dir, OWN_FOLDER, "locks")

    @property
    def break_mutex(self) -> str:
        """Whose holder alone may remove another one's task lock or gate."""
        return os.path.join(self.lock_mutexes, "break.lock")

    def history_cache(self, task_id: str) -> str:
        """What is known of the task's snapshot; hashed, since a task id may leave no room for a suffix."""
        name = blake2b(task_id.encode(), digest_size=16).hexdigest()
        return os.path.join(self.runs_dir, OWN_FOLDER, "histories", name)

    @property
    def cache(self) -> str:
        """What is known of unchanged sources and outputs. Each shard has one of its own."""
        name = f"cache-{self.shard}.arrows" if self.shard else "cache.arrows"
        return os.path.join(self.runs_dir, OWN_FOLDER, "cache", name)

    @property
    def batches(self) -> str:
        return os.path.join(self.runs_dir, OWN_FOLDER, "batches")

    def batch(self, batch_id: str) -> str:
        return os.path.join(self.batches, batch_id)
