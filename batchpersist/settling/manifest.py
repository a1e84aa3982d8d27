"""Run manifests: ``<runs-dir>/<taskId>/<runId>/manifest.json`` (docs/formats.md)."""

from __future__ import annotations

import os
import stat

from ..files.atomic import StagedFile, commit, make_dirs, stage
from ..files.blocks import FileBytes, read_blocks
from ..files.durability import SyncGroup, open_group
from ..files.folders import refuse_link
from ..files.opening import NotRegularFileError, open_regular
from ..layout import Layout
from ..models import DEFAULT_KEYS, Durability, Keys, Side
from ..runs.jsontext import holds
from ..runs.runreader import RunReader
from ..runs.summaries import Summary, read_summary


class RunManifestWriter:
    """Writes the manifests below one runs-dir; nobody ever reads half of one.

    Usable from several threads and processes at once: of two that write the same run the
    later rename wins. ``keys`` are the names of the run's key fields, ``durability`` is that
    of ``write``, and ``force`` writes even what stands already.
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
        """Write a run's whole manifest; PERSISTED, or UNCHANGED where what stands holds it.

        When it returns PERSISTED, the manifest is as durable as was asked for; UNCHANGED
        says nothing about when the older one reached the disk. Raises InvalidRunError for
        what is no completed run, and OSError; until the rename an older manifest stays whole.
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
        """The id must have been checked. Raises OSError where the task's folder is a symbolic link."""
        refuse_link(layout.task_runs_dir(task_id))
        self._layout = layout
        self._task_id = task_id
        self._force = force

    def stage(self, run_id: str, text: bytes, group: SyncGroup) -> StagedFile | None:
        """Write ``text``, canonical already, beside the manifest; None where that holds it.

        The id must have been checked. An older manifest's permission bits are kept; a
        symbolic link in its place will be replaced, never followed; one in the place of the
        run's folder is refused. Raises OSError, also for a manifest that cannot be read.
        """
        target = self._layout.manifest(self._task_id, run_id)
        mode = None
        if not make_dirs(self._layout.run_dir(self._task_id, run_id), group, follow=False):
            same, mode = _compare(target, text)
            if same and not self._force:
                return None
        return stage(target, (text,), group, mode=mode)


def _compare(path: str, text: bytes) -> tuple[bool, int | None]:
    """Whether the file holds ``text``, and its permission bits (None: there is no file)."""
    try:
        fd, status = open_regular(path)
    except (FileNotFoundError, NotRegularFileError):  # a folder is refused by the rename
        return False, None
    try:
        # The orchestrator may have rounded its numbers, which makes them hardly longer.
        is_similar = status.st_size <= 2 * len(text)
        same = is_similar and holds(b"".join(read_blocks(FileBytes(fd))), text)
        return same, stat.S_IMODE(status.st_mode)
    finally:
        os.close(fd)
