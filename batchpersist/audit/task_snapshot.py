"""A task's snapshot as an audit reads it: its entries, and what is wrong with it as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from ..contract.entry_order import is_sorted, repeated_runs
from ..contract.json_text import string
from ..contract.snapshot_text import utf16_units
from ..errors import EntryKeyError, SnapshotError
from ..snapshots import Baseline, History, OtherTaskError
from ..storage.file_reader import WrongFileTypeError, check_is_file
from .models import AuditOptions, Finding, FindingKind

_NEAR = 0.8
"""An audit warns from this share of the limit on."""

_KINDS: dict[type, FindingKind] = {
    OtherTaskError: FindingKind.WRONG_ID,
    EntryKeyError: FindingKind.LACKS_KEYS,
}


class Snapshot:
    """A task's history, read from one open file: whatever others write meanwhile, it stays the same."""

    def __init__(self, baseline: Baseline, options: AuditOptions, task_id: str) -> None:
        """``baseline``: a new one, which the caller closes. Raises nothing: a failure is a finding."""
        layout = options.layout
        self.path = layout.snapshot(task_id)
        self.findings: list[Finding] = []
        self.history: History | None = None
        """None where the snapshot could not be read."""
        self._task_id = task_id
        try:
            check_is_file(self.path)
            self.history = baseline.load(layout, task_id, options.keys, cache=False)
        except WrongFileTypeError as error:
            self._add(FindingKind.WRONG_FILE_TYPE, error.message)
        except SnapshotError as error:
            kind = _KINDS.get(type(error), FindingKind.INVALID_SNAPSHOT)
            self._add(kind, str(error).replace(f"{self.path}: ", ""))
        except OSError as error:
            self._add(FindingKind.UNREADABLE, error.strerror or str(error))
        if self.history is not None and baseline.fingerprint is None:
            self.path = layout.legacy_state(task_id)  # only the orchestrator writes it: nothing to check
        elif self.history is not None:
            self.findings += self._check_entries(self.history)
            self.findings += self._check_length(baseline, options.max_snapshot_units)

    def _add(self, kind: FindingKind, detail: str = "") -> None:
        self.findings.append(Finding(kind, self._task_id, "", self.path, detail))

    def _check_entries(self, history: History) -> Iterator[Finding]:
        run_ids, timestamps = history.entries.run_ids, history.entries.timestamps
        whole = Finding(FindingKind.UNSORTED, self._task_id, "", self.path)
        if not is_sorted(timestamps):
            yield whole
        if timestamps and not history.is_canonical:
            if history.last_run_at != string(timestamps[-1]):
                detail = history.last_run_at[:80].decode(errors="replace") or "none"
                yield whole._replace(kind=FindingKind.WRONG_LAST_RUN_AT, detail=detail)
            else:
                yield whole._replace(kind=FindingKind.OTHER_LAYOUT)
        for run_id, times in repeated_runs(run_ids).items():
            yield whole._replace(kind=FindingKind.DUPLICATE_RUN, run_id=run_id, detail=f"{times} entries")

    def _check_length(self, baseline: Baseline, limit: int | None) -> Iterator[Finding]:
        """The units of a snapshot are not counted if it has too few bytes to be near the limit."""
        if limit is None or baseline.fingerprint is None or baseline.fingerprint.size < limit * _NEAR:
            return
        units = sum(map(utf16_units, baseline.content()))
        if units >= limit * _NEAR:
            is_too_long = units > limit
            kind = FindingKind.SNAPSHOT_TOO_LONG if is_too_long else FindingKind.SNAPSHOT_NEAR_LIMIT
            detail = f"{units:,} UTF-16 units, {units / limit:.0%} of {limit:,}"
            yield Finding(kind, self._task_id, "", self.path, detail)
