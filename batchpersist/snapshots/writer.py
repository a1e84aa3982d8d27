"""Writes the new text of a task's snapshot: existing entries merged with the runs of one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..contract.entry_order import is_regular, merge
from ..contract.javascript_spelling import are_alike
from ..contract.json_text import nest
from ..contract.snapshot_text import ENTRY_LEVELS, SEPARATOR, head, tail
from ..errors import ItemError
from ..models import Side
from .entries import Entries
from .history import History


class Runs(Protocol):
    """Runs of one task, in the order in which they are to be recorded; numbered from 0."""

    @property
    def run_ids(self) -> Sequence[str]: ...

    @property
    def timestamps(self) -> Sequence[str]: ...

    def text(self, number: int, /) -> bytes:
        """A run's canonical text. ItemError, OSError: it cannot be read."""


class RunsLeftOutError(Exception):
    """Writing met runs whose text cannot be read; compose again, without them."""


class Composition:
    """The outcome of recording ``runs`` one after the other, as a stream of text.

    No more than one run's text is held at a time. A run whose text cannot be read counts as
    one that never arrived; the reason is added to ``failures``, by the run's number.
    """

    def __init__(self, history: History, task_id: str, runs: Runs, failures: dict[int, Exception]) -> None:
        self._history = history
        self._task_id = task_id
        self._runs = runs
        self._failures = failures
        self._order: list[int] = []
        """In the order of the new file: i >= 0 is entry i of the history, -1 - i is run i."""
        self.sides: list[Side] = []
        self.written = Entries(0)
        """What the new file consists of, once all its text was taken."""

    def compose(self, *, compare: bool) -> bool:
        """Find the order and each run's side; False where the file is to stay as it is.

        ``compare``: find out whose entries JavaScript reads as it reads the run (UNCHANGED);
        otherwise all runs count as PERSISTED. A run that comes several times has the side of
        its last arrival. OSError and SnapshotError: the history cannot be read.
        """
        run_ids, timestamps = self._runs.run_ids, self._runs.timestamps
        arrived: Sequence[int] = range(0)
        last: dict[str, int] = {}
        existing: dict[int, int] = {}
        failed = -1
        while failed != len(self._failures):
            failed = len(self._failures)
            arrived = range(len(run_ids))
            if failed:
                arrived = [run for run in arrived if run not in self._failures]
            last = {run_ids[run]: run for run in arrived}
            existing = self._existing_entries(last) if compare else {}

        entries = self._history.entries
        arrivals = [run_ids[run] for run in arrived], [timestamps[run] for run in arrived]
        self._order = merge((entries.run_ids, entries.timestamps), arrivals)
        if failed or existing:
            runs = [existing.get(run, -1 - run) for run in arrived]
            self._order = [item if item >= 0 else runs[-1 - item] for item in self._order]
        self.sides = [self._side(run, last, existing) for run in range(len(run_ids))]
        unchanged = self._history.is_canonical and self._order == list(range(len(entries)))
        return bool(arrived) and not unchanged

    def is_regular(self) -> bool:
        """Whether recording the entries of the new order again would leave it as it is."""
        old, new = self._history.entries, self._runs
        ids = [old.run_ids[item] if item >= 0 else new.run_ids[-1 - item] for item in self._order]
        times = [old.timestamps[item] if item >= 0 else new.timestamps[-1 - item] for item in self._order]
        return is_regular(ids, times)

    def chunks(self) -> Iterator[bytes]:
        """The text of the new file.

        RunsLeftOutError: ``failures`` has become longer, compose again. SnapshotError: the
        history is no longer what it was.
        """
        start = self._head()
        self.written = Entries(len(start))
        yield start
        for number, (first, last) in enumerate(_stretches(self._order)):
            if number:
                yield SEPARATOR
            if first >= 0:
                self.written.extend(self._history.entries, first, last + 1)
                yield from self._history.texts(first, last)
            else:
                yield self._entry(-1 - first)
        yield tail(self._history.further)

    def _head(self) -> bytes:
        end = self._order[-1]
        times = self._history.entries.timestamps if end >= 0 else self._runs.timestamps
        return head(self._task_id, times[max(end, -1 - end)])

    def _entry(self, run: int) -> bytes:
        text = self._text(run)
        if text is None:
            self._ask_for_all()
            raise RunsLeftOutError
        nested = nest(text, ENTRY_LEVELS)
        self.written.add(self._runs.run_ids[run], self._runs.timestamps[run], len(nested))
        return nested

    def _existing_entries(self, last: dict[str, int]) -> dict[int, int]:
        """Which of the runs have an entry that JavaScript reads alike, and which entry."""
        first: dict[str, int] = {}
        for entry, run_id in enumerate(self._history.entries.run_ids):
            if run_id in last:
                first.setdefault(run_id, entry)
        return {last[run_id]: entry for run_id, entry in first.items() if self._is_same(last[run_id], entry)}

    def _is_same(self, run: int, entry: int) -> bool:
        if self._runs.timestamps[run] != self._history.entries.timestamps[entry]:
            return False
        text = self._text(run)
        return text is not None and are_alike(nest(text, ENTRY_LEVELS), self._history.text(entry))

    def _side(self, run: int, last: dict[str, int], existing: dict[int, int]) -> Side:
        if run in self._failures:
            return Side.FAILED
        return Side.UNCHANGED if last[self._runs.run_ids[run]] in existing else Side.PERSISTED

    def _text(self, run: int) -> bytes | None:
        try:
            return self._runs.text(run)
        except (ItemError, OSError) as error:
            self._failures[run] = error
            return None

    def _ask_for_all(self) -> None:
        """Find all that fail at once: to write again for each of them would be quadratic."""
        for item in self._order:
            if item < 0:
                self._text(-1 - item)


def _stretches(order: list[int]) -> Iterator[tuple[int, int]]:
    """Cut the order into single runs and stretches of neighbours in the old file (first, last)."""
    first = last = order[0]
    for item in order[1:]:
        if item == last + 1 and last >= 0:
            last = item
        else:
            yield first, last
            first = last = item
    yield first, last
