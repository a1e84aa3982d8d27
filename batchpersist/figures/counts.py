"""The counts of a batch, and the identities that make them trustworthy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import TotalsError
from ..models import Side
from .outcomes import Status

if TYPE_CHECKING:
    import pyarrow as pa

IDENTITIES = (
    ("discovered", ("invalid", "filtered", "other_shards", "superseded", "selected")),
    ("selected", ("persisted", "unchanged", "failed", "not_attempted")),
    ("both_ok", ("persisted", "unchanged")),
    ("failed", ("snapshot_failed", "manifest_failed", "both_failed")),
)
"""Each figure and those that it must be the sum of."""


@dataclass(frozen=True)
class Counts:
    """Where every run of a batch went (docs/metrics.md)."""

    discovered: int
    invalid: int
    filtered: int
    other_shards: int
    superseded: int
    selected: int
    persisted: int
    unchanged: int
    failed: int
    not_attempted: int
    both_ok: int
    snapshot_failed: int
    """Only the snapshot; where the manifest failed as well it is ``both_failed``."""
    manifest_failed: int
    both_failed: int
    snapshot_locked: int
    """Of ``snapshot_failed`` and ``both_failed``: those whose task's lock was not to be had."""
    resumed: int = 0
    """Of ``both_ok``: those that an earlier part of the batch settled, and that this one found so."""

    @property
    def attempted(self) -> int:
        return self.persisted + self.unchanged + self.failed

    def check(self) -> None:
        """Raise TotalsError, naming the figures, where they do not add up."""
        wrong = [self._wording(total, parts) for total, parts in IDENTITIES if not self._holds(total, parts)]
        if self.snapshot_locked > self.snapshot_failed + self.both_failed:
            wrong.append(
                f"snapshot_locked {self.snapshot_locked} is more than"
                f" snapshot_failed {self.snapshot_failed} + both_failed {self.both_failed}"
            )
        if self.resumed > self.both_ok:
            wrong.append(f"resumed {self.resumed} is more than both_ok {self.both_ok}")
        if wrong:
            raise TotalsError("the counts do not add up: " + "; ".join(wrong))

    def _holds(self, total: str, parts: tuple[str, ...]) -> bool:
        return bool(getattr(self, total) == sum(getattr(self, part) for part in parts))

    def _wording(self, total: str, parts: tuple[str, ...]) -> str:
        terms = " + ".join(f"{part} {getattr(self, part)}" for part in parts)
        return f"{total} {getattr(self, total)} is not {terms}"


def count(
    table: pa.Table,
    *,
    discovered: int,
    invalid: int,
    filtered: int,
    other_shards: int = 0,
    resumed: int = 0,
) -> Counts:
    """Count an outcome table; the keywords tell what came before it. Not checked yet."""
    pairs = table.select(["status", "snapshot", "manifest"])
    groups = pairs.group_by(pairs.column_names, use_threads=False)
    groups = groups.aggregate([([], "count_all")]).to_pylist()
    by_status = dict.fromkeys((name.lower() for name in Status.__members__), 0)
    by_failure = dict.fromkeys(((False, False), (True, False), (False, True), (True, True)), 0)
    locked = 0
    bad = {Side.FAILED.name.lower(), Side.LOCKED.name.lower()}
    for group in groups:
        runs = group["count_all"]
        by_status[group["status"]] += runs
        if group["status"] in ("superseded", "not_attempted"):
            continue
        by_failure[group["snapshot"] in bad, group["manifest"] in bad] += runs
        locked += runs if group["snapshot"] == "locked" else 0
    return Counts(
        discovered=discovered,
        invalid=invalid,
        filtered=filtered,
        other_shards=other_shards,
        superseded=by_status["superseded"],
        selected=table.num_rows - by_status["superseded"],
        persisted=by_status["persisted"],
        unchanged=by_status["unchanged"],
        failed=by_status["failed"],
        not_attempted=by_status["not_attempted"],
        both_ok=by_failure[False, False],
        snapshot_failed=by_failure[True, False],
        manifest_failed=by_failure[False, True],
        both_failed=by_failure[True, True],
        snapshot_locked=locked,
        resumed=resumed,
    )
