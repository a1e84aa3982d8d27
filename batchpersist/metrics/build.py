"""metrics.json: what a batch did, as one document (docs/metrics.md, metrics.schema.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..timestamps import utc_text
from .aggregate import by_cause, by_task, count
from .outcome_table import SettleTotals
from .schema import SCHEMA_VERSION, Bytes, Metrics, PassedOver, State
from .timing import Phases, build_timing

if TYPE_CHECKING:
    import pyarrow as pa

    from ..sources import Reject, ScanTotals


@dataclass(frozen=True)
class BatchInfo:
    """What is known of a batch apart from its runs."""

    batch_id: str
    started_at: datetime
    finished_at: datetime
    """Both with a time zone."""
    version: str
    config: Mapping[str, Any]
    """As JSON holds it; shown as it is."""
    state: State = "finished"
    parts: int = 1
    """One more for each time that it was continued."""


def build_metrics(
    info: BatchInfo,
    phases: Phases,
    *,
    scan: ScanTotals,
    rejects: Sequence[Reject],
    filtered: int,
    other_shards: int = 0,
    resumed: int = 0,
    table: pa.Table,
    totals: SettleTotals,
) -> Metrics:
    """The metrics of a batch; ``table`` and ``totals`` come from its OutcomeBuilder.

    ``rejects`` are the invalid runs in source order, ``filtered`` those that the selection
    left out, ``other_shards`` those that are other shards' work, ``resumed`` those that an earlier
    part of the batch settled. Raises TotalsError where the counts do not add up.
    """
    import pyarrow.compute as pc

    counts = count(
        table,
        discovered=scan.discovered,
        invalid=len(rejects),
        filtered=filtered,
        other_shards=other_shards,
        resumed=resumed,
    )
    counts.check()
    tasks, tasks_omitted = by_task(table, totals.commit_seconds)
    errors, errors_omitted = by_cause(table, rejects)
    return Metrics(
        schema_version=SCHEMA_VERSION,
        batch_id=info.batch_id,
        parts=info.parts,
        started_at=utc_text(info.started_at),
        finished_at=utc_text(info.finished_at),
        version=info.version,
        state=info.state,
        interrupted=info.state == "interrupted",
        config=dict(info.config),
        counts=counts,
        passed_over=PassedOver(
            other_events=scan.other_events,
            other_manifests=scan.other_manifests,
            ignored_files=scan.ignored_files,
            incomplete=scan.incomplete,
        ),
        unknown_suffixes=dict(sorted(scan.unknown_suffixes.items())),
        bytes=Bytes(
            read=scan.bytes_read,
            snapshots=totals.snapshot_bytes,
            manifests=pc.sum(table["manifest_bytes"]).as_py() or 0,
        ),
        timing=build_timing(table, totals, phases, resumed=resumed, cached_sources=scan.cached_sources),
        errors=errors,
        errors_omitted=errors_omitted,
        tasks=tasks,
        tasks_omitted=tasks_omitted,
    )


def stable(metrics: Any) -> Any:
    """A copy as plain data without what varies from run to run, at any depth.

    That is every ``timing``, ``batch_id`` and ``*_at``. Equal for two batches that did the same work with the
    same configuration. ``metrics``: ``Metrics``, or a part of them, or what JSON holds of them.
    """
    return _stable(msgspec.to_builtins(metrics))


def _stable(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _stable(value) for name, value in part.items() if not _varies(name)}
    return [_stable(value) for value in part] if isinstance(part, list) else part


def _varies(name: str) -> bool:
    return name in ("timing", "batch_id") or name.endswith("_at")
