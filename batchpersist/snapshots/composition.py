"""The new text of a task's snapshot: what stands already, merged with the runs of one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import ItemError
from ..models import Side
from ..runs.jsontext import nest
from ..runs.spelling import are_alike
from .entries import Entries
from .history import History
from .merge import RunIdsAndTimes, is_regular, merge
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
        self,
        history: History,
        task_id: str,
        runs: RunIdsAndTimes,
        text_of: TextOf,
        failures: dict[int, Exception],
    ) -> None:
        self._history = history
        self._task_id = task_id
        self._run_ids, self._timestamps = runs
        self._text_of = text_of
        self._failures = failures
        self._order: list[int] = []
        """In the order of the new file: i >= 0 is entry i of the history, -1 - i is run i."""
        self.sides: list[Side] = []
        self.written = Entries(0)
        """What the new file consists of, once all its text was taken."""

    def compose(self, *, compare: bool) -> bool:
        """Settle the order and each run's side; False where the file is to stay as it is.

        ``compare``: find out whose entries JavaScript reads as it reads the run (UNCHANGED);
        otherwise all runs count as PERSISTED. A run that comes several times has the side of
        its last arrival. OSError and SnapshotError: the history cannot be read.
        """
        arrived: Sequence[int] = range(0)
        last: dict[str, int] = {}
        standing: dict[int, int] = {}
        failed = -1
        while failed != len(self._failures):
            failed = len(self._failures)
            arrived = range(len(self._run_ids))
            if failed:
                arrived = [run for run in arrived if run not in self._failures]
            last = {self._run_ids[run]: run for run in arrived}
            standing = self._standing(last) if compare else {}

        entries = self._history.entries
        arrivals = [self._run_ids[run] for run in arrived], [self._timestamps[run] for run in arrived]
        self._order = merge((entries.run_ids, entries.timestamps), arrivals)
        if failed or standing:
            runs = [standing.get(run, -1 - run) for run in arrived]
            self._order = [item if item >= 0 else runs[-1 - item] for item in self._order]
        self.sides = [self._side(run, last, standing) for run in range(len(self._run_ids))]
        unchanged = self._history.is_canonical and self._order == list(range(len(entries)))
        return bool(arrived) and not unchanged

    def is_regular(self) -> bool:
        """Whether recording again what stands in the new order would leave it as it is."""
        old, new = self._history.entries, (self._run_ids, self._timestamps)
        ids = [old.run_ids[item] if item >= 0 else new[0][-1 - item] for item in self._order]
        times = [old.timestamps[item] if item >= 0 else new[1][-1 - item] for item in self._order]
        return is_regular(ids, times)

    def head(self) -> bytes:
        """The text before the first entry."""
        end = self._order[-1]
        times = self._history.entries.timestamps if end >= 0 else self._timestamps
        return head(self._task_id, times[max(end, -1 - end)])

    def shared_with(self, earlier: Composition) -> int:
        """How many of its items an earlier one's text begins with too, and at the same place.

        The histories must share what this one's says (``History.shared``), the runs be the same.
        """
        if len(self.head()) != len(earlier.head()):
            return 0
        mine, other = self._order, earlier._order
        end = min(len(mine), len(other)) - 1  # behind the last one there is no separator yet
        shared = self._history.shared
        return next((at for at in range(end) if mine[at] != other[at] or mine[at] >= shared), max(end, 0))

    def chunks(self, earlier: Composition | None = None, keep: int = 0) -> Iterator[bytes]:
        """The text of the new file; behind the first ``keep`` items, where an earlier one has them.

        RunsLeftOutError: ``failures`` has become longer, compose again. SnapshotError: the
        history is no longer what it was.
        """
        self.written = Entries(len(self.head()))
        if earlier and keep:
            self.written.extend(earlier.written, 0, keep)
        else:
            yield self.head()
        for number, (first, last) in enumerate(_stretches(self._order[keep:])):
            if number:
                yield SEPARATOR
            if first >= 0:
                self.written.extend(self._history.entries, first, last + 1)
                yield from self._history.texts(first, last)
            else:
                yield self._entry(-1 - first)
        yield tail(self._history.further)

    def _entry(self, run: int) -> bytes:
        text = self._text(run)
        if text is None:
            self._ask_for_all()
            raise RunsLeftOutError
        nested = nest(text, ENTRY_LEVELS)
        self.written.add(self._run_ids[run], self._timestamps[run], len(nested))
        return nested

    def _standing(self, last: dict[str, int]) -> dict[int, int]:
        """Which of the runs have an entry that JavaScript reads alike, and which entry."""
        first: dict[str, int] = {}
        for entry, run_id in enumerate(self._history.entries.run_ids):
            if run_id in last:
                first.setdefault(run_id, entry)
        return {last[run_id]: entry for run_id, entry in first.items() if self._is_same(last[run_id], entry)}

    def _is_same(self, run: int, entry: int) -> bool:
        if self._timestamps[run] != self._history.entries.timestamps[entry]:
            return False
        text = self._text(run)
        return text is not None and are_alike(nest(text, ENTRY_LEVELS), self._history.text(entry))

    def _side(self, run: int, last: dict[str, int], standing: dict[int, int]) -> Side:
        if run in self._failures:
            return Side.FAILED
        return Side.UNCHANGED if last[self._run_ids[run]] in standing else Side.PERSISTED

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
