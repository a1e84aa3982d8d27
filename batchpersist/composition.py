"""The new text of a task's snapshot: what stands already, merged with the runs of one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .errors import ItemError
from .history import History
from .jsontext import nest
from .merge import merge
from .models import RunKeys, Side
from .snapshottext import ENTRY_LEVELS, SEPARATOR, head, tail

TextOf = Callable[[int], bytes]
"""Number of a run -> its canonical text. ItemError, OSError: it cannot be had."""


class RunsLeftOutError(Exception):
    """Runs whose text could not be had were met while writing; compose again, without them."""


class Composition:
    """The outcome of recording ``runs`` one after the other, as a stream of text.

    No more than one run's text is held at a time. A run whose text cannot be had counts as
    one that never arrived, and stands in ``failures``.
    """

    def __init__(
        self, history: History, runs: Sequence[RunKeys], text_of: TextOf, failures: dict[int, Exception]
    ) -> None:
        self._history = history
        self._runs = runs
        self._text_of = text_of
        self._failures = failures
        self._order: list[int] = []
        """In the order of the new file: i >= 0 is entry i of the history, -1 - i is run i."""
        self.sides: list[Side] = []

    def compose(self, *, compare: bool) -> bool:
        """Settle the order and each run's side; False where the file is to stay as it is.

        ``compare``: find out whose entries stand already with the same text (UNCHANGED);
        otherwise all runs count as PERSISTED. A run that comes several times has the side of
        its last arrival. OSError and SnapshotError: the history cannot be read.
        """
        arrived: list[int] = []
        standing: dict[int, int] = {}
        failed = -1
        while failed != len(self._failures):
            failed = len(self._failures)
            arrived = [run for run in range(len(self._runs)) if run not in self._failures]
            last = {self._runs[run].run_id: run for run in arrived}
            standing = self._standing(last) if compare else {}

        def item_of(merged: int) -> int:
            if merged >= 0:
                return merged
            run = arrived[-1 - merged]
            return standing.get(run, -1 - run)

        self._order = [
            item_of(merged) for merged in merge(self._history.keys, [self._runs[run][1:] for run in arrived])
        ]
        self.sides = [self._side(run, last, standing) for run in range(len(self._runs))]
        unchanged = self._history.is_canonical and self._order == list(range(len(self._history.keys)))
        return bool(arrived) and not unchanged

    def chunks(self) -> Iterator[bytes]:
        """The text of the new file. RunsLeftOutError: ``failures`` has become longer, compose again.

        SnapshotError: the history is no longer what it was.
        """
        runs, keys = self._runs, self._history.keys
        end = self._order[-1]
        yield head(runs[0].task_id, keys[end][1] if end >= 0 else runs[-1 - end].timestamp)
        for number, (first, last) in enumerate(_stretches(self._order)):
            if number:
                yield SEPARATOR
            if first >= 0:
                yield from self._history.texts(first, last)
            elif (text := self._text(-1 - first)) is not None:
                yield nest(text, ENTRY_LEVELS)
            else:
                self._ask_for_all()
                raise RunsLeftOutError
        yield tail(self._history.further)

    def _standing(self, last: dict[str, int]) -> dict[int, int]:
        """Which of the runs have an entry with the same text, and which entry."""
        first: dict[str, int] = {}
        for entry, (run_id, _) in enumerate(self._history.keys):
            if run_id in last:
                first.setdefault(run_id, entry)
        return {last[run_id]: entry for run_id, entry in first.items() if self._is_same(last[run_id], entry)}

    def _is_same(self, run: int, entry: int) -> bool:
        if self._runs[run].timestamp != self._history.keys[entry][1]:
            return False
        text = self._text(run)
        return text is not None and nest(text, ENTRY_LEVELS) == self._history.text(entry)

    def _side(self, run: int, last: dict[str, int], standing: dict[int, int]) -> Side:
        if run in self._failures:
            return Side.FAILED
        return Side.UNCHANGED if last[self._runs[run].run_id] in standing else Side.PERSISTED

    def _text(self, run: int) -> bytes | None:
        try:
            return self._text_of(run)
        except (ItemError, OSError) as error:
            self._failures[run] = error
            return None

    def _ask_for_all(self) -> None:
        """Find all that fail at once: writing anew for each of them would be quadratic."""
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
