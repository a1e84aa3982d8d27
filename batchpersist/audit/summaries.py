"""A task's run summaries, where the runs root is the orchestrator's own (docs/formats.md)."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import InvalidRunError, UnsafeIdentifierError
from ..layout import Layout
from ..runs.identifiers import check_run_id
from ..runs.orchestrator_root import CLI, linked_run_folders, summary_of
from ..runs.run_texts import OtherEventError, RunCheck
from .comparison import UNKNOWN
from .files import WrongFileTypeError, list_folder, read_file
from .models import Finding, Kind


class Summaries:
    """The run summaries of one task: of a run's folder nothing else is opened or listed.

    Nothing is raised for what cannot be read: that is a finding.
    """

    def __init__(
        self, layout: Layout, task_id: str, check: RunCheck, found: Callable[[Finding], None]
    ) -> None:
        self._folder = layout.task_runs_dir(task_id)
        self._task_id = task_id
        self._check = check
        self._found = found
        self.folders: set[str] = set()
        """Ids of the runs that have a folder; not each has completed."""

    def list_folders(self, of_the_task: Callable[[Finding], None]) -> None:
        """Find the runs' folders; ``of_the_task`` hears of what cannot be listed."""
        path = os.path.join(self._folder, CLI)
        try:
            for link in linked_run_folders(self._folder):
                at = os.path.join(self._folder, link)
                words = "a symbolic link stands in the place of a folder"
                of_the_task(Finding(Kind.WRONG_FILE_TYPE, self._task_id, "", at, words))
            names = [entry.name for entry in list_folder(path) if entry.is_dir(follow_symlinks=False)]
        except WrongFileTypeError:
            return  # where a link leads is not the orchestrator's root
        except OSError as error:
            of_the_task(Finding(Kind.UNREADABLE, self._task_id, "", path, error.strerror or ""))
            return
        for name in names:
            try:
                check_run_id(name)
                self.folders.add(name)
            except UnsafeIdentifierError:
                continue  # its name is the orchestrator's affair

    def path(self, run_id: str) -> str:
        """Where a run's summary is."""
        return os.path.join(self._folder, summary_of(run_id))

    def text(self, run_id: str, expected: bytes | None = None) -> bytes | None:
        """A run's canonical text; None where it has no summary, UNKNOWN where it is not to be had.

        A summary of a command that was executed is none; one of another task or run is not to be had, for
        nobody else would tell that this run is nowhere. ``expected``: the text of this very run, elsewhere.
        """
        if run_id not in self.folders:
            return None
        path = self.path(run_id)
        try:
            data = read_file(path)
            if data is None or data.removesuffix(b"\n") == expected:
                return data and expected
            return self._check.canonical(data, self._task_id, run_id)
        except OtherEventError:
            return None
        except WrongFileTypeError as error:
            self._found(Finding(Kind.WRONG_FILE_TYPE, self._task_id, run_id, path, error.message))
        except OSError as error:
            self._found(Finding(Kind.UNREADABLE, self._task_id, run_id, path, error.strerror or ""))
        except InvalidRunError as error:
            self._found(Finding(Kind.INVALID_SOURCE, self._task_id, run_id, path, str(error)))
        return UNKNOWN
