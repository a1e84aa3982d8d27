"""A task's snapshot as an audit sees it: its entries, and what is wrong with it as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..errors import EntryKeyError, SnapshotError
from ..runs.jsontext import string
from ..snapshots.baseline import Baseline
from ..snapshots.history import History
from ..snapshots.length import utf16_units
from ..snapshots.merge import is_sorted
from ..snapshots.otherforms import OtherTaskError
from .files import WrongFileTypeError, check_is_file
from .models import Finding, Kind
from .options import AuditOptions

_NEAR = 0.8
"""The part of the limit from which on an audit warns."""

_KINDS: dict[type, Kind] = {OtherTaskError: Kind.WRONG_ID, EntryKeyError: Kind.LACKS_KEYS}


class Snapshot:
    """A task's history, read from one open file: whatever others write meanwhile, it stays as it is."""

    def __init__(self, baseline: Baseline, options: AuditOptions, task_id: str) -> None:
        """``baseline``: fresh, and for the caller to close. Raises nothing: what fails is a finding."""
        layout = options.layout
        self.path = layout.snapshot(task_id)
        self.findings: list[Finding] = []
        self.history: History | None = None
        """None where there is something that could not be read."""
        self._task_id = task_id
        try:
            check_is_file(self.path)
            self.history = baseline.load(layout, task_id, options.keys, cache=False)
        except WrongFileTypeError as error:
            self._found(Kind.WRONG_FILE_TYPE, error.message)
        except SnapshotError as error:
            kind = _KINDS.get(type(error), Kind.INVALID_SNAPSHOT)
            self._found(kind, str(error).replace(f"{self.path}: ", ""))
        except OSError as error:
            self._found(Kind.UNREADABLE, error.strerror or str(error))
        if self.history is not None and baseline.version is None:
            self.path = layout.legacy_state(task_id)  # not ours to judge
        elif self.history is not None:
            self.findings += self._judge(self.history)
            self.findings += self._judge_length(baseline, options.max_snapshot_units)

    def _found(self, kind: Kind, detail: str = "") -> None:
        self.findings.append(Finding(kind, self._task_id, "", self.path, detail))

    def _judge(self, history: History) -> Iterator[Finding]:
        run_ids, timestamps = history.entries.run_ids, history.entries.timestamps
        whole = Finding(Kind.UNSORTED, self._task_id, "", self.path)
        if not is_sorted(timestamps):
            yield whole
        if timestamps and not history.is_canonical:
            if history.last_run_at != string(timestamps[-1]):
                yield whole._replace(
                    kind=Kind.WRONG_LAST_RUN_AT,
                    detail=history.last_run_at[:80].decode(errors="replace") or "none",
                )
            else:
                yield whole._replace(kind=Kind.OTHER_LAYOUT)
        for run_id, times in repeated_runs(run_ids).items():
            yield whole._replace(kind=Kind.DUPLICATE_RUN, run_id=run_id, detail=f"{times} entries")

    def _judge_length(self, baseline: Baseline, limit: int | None) -> Iterator[Finding]:
        """Of a snapshot with so few bytes that it cannot be near the limit, the units are not counted."""
        if limit is None or baseline.version is None or baseline.version.size < limit * _NEAR:
            return
        units = sum(map(utf16_units, baseline.content()))
        if units >= limit * _NEAR:
            kind = Kind.SNAPSHOT_TOO_LONG if units > limit else Kind.SNAPSHOT_NEAR_LIMIT
            detail = f"{units:,} UTF-16 units, {units / limit:.0%} of {limit:,}"
            yield Finding(kind, self._task_id, "", self.path, detail)


def repeated_runs(run_ids: Sequence[str]) -> dict[str, int]:
    """The runs that have several entries, and how many."""
    if len(set(run_ids)) == len(run_ids):
        return {}
    return {run_id: times for run_id, times in Counter(run_ids).items() if times > 1}
