"""The runs of which a task's snapshot is to consist, wherever their texts are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from ..audit.check_task import one_of
from ..audit.snapshots import repeated_runs

TextOf = Callable[[int], bytes]
"""Number of a run within its file -> its canonical text."""


class Collection:
    """Runs in the order in which they are to be recorded. Columns: there may be very many."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []
        self.timestamps: list[str] = []
        self._files: list[TextOf] = []
        self._file = array("B")
        self._number = array("q")

    def file(self, text_of: TextOf) -> int:
        """A file to ``add`` runs from."""
        self._files.append(text_of)
        return len(self._files) - 1

    def add(self, run_id: str, timestamp: str, file: int, number: int) -> None:
        """Add a run, whose text is that of this number in a file."""
        self.run_ids.append(run_id)
        self.timestamps.append(timestamp)
        self._file.append(file)
        self._number.append(number)

    def come_from(self, file: int) -> bool:
        """Whether the texts of all runs are those of one file."""
        return self._file.count(file) == len(self._file)

    def text(self, run: int) -> bytes:
        """Its canonical text. Raises what reading the file raises."""
        return self._files[self._file[run]](self._number[run])

    def once_each(self, manifest_of: Callable[[str], bytes | None]) -> Collection:
        """The runs, each once: of several, the one that is as the manifest stays, else the last one."""
        several: dict[str, list[int]] = {run_id: [] for run_id in repeated_runs(self.run_ids)}
        if several:
            for run, run_id in enumerate(self.run_ids):
                if run_id in several:
                    several[run_id].append(run)
        left_out: set[int] = set()
        for run_id, runs in several.items():
            texts = [self.text(run) for run in runs]
            stays = runs[_last(texts, one_of(texts, manifest_of(run_id)))]
            left_out.update(run for run in runs if run != stays)
        chosen = Collection()
        chosen._files = self._files
        for run, columns in enumerate(
            zip(self.run_ids, self.timestamps, self._file, self._number, strict=True)
        ):
            if run not in left_out:
                chosen.add(*columns)
        return chosen


def _last(texts: Sequence[bytes], text: bytes) -> int:
    return max(number for number, other in enumerate(texts) if other == text)
