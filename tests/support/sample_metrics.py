"""Metrics of a batch: a test gives the fields that matter to it, all others have defaults."""

from __future__ import annotations

from typing import Any

from batchpersist.metrics.schema import Bytes, Counts, Metrics, PassedOver, Percentiles, Timing, WorkerPhases

NO_TIMES = Percentiles(p50=None, p90=None, p99=None, max=None)


def counts(**figures: int) -> Counts:
    """Counts with these figures; all others are 0, so they need not add up."""
    return Counts(**dict.fromkeys(Counts.__struct_fields__, 0) | figures)


def timing(**figures: Any) -> Timing:
    sides = dict.fromkeys(("snapshot", "manifest", "pair"), NO_TIMES)
    phases = WorkerPhases(**dict.fromkeys(WorkerPhases.__struct_fields__, 0.0))
    return Timing(**{**dict.fromkeys(Timing.__struct_fields__, 0), **sides, "phases": phases, **figures})


def metrics(**fields: Any) -> Metrics:
    defaults: dict[str, Any] = {
        "schema_version": 1,
        "batch_id": "20260131T040506789Z-3f9a1c",
        "parts": 1,
        "started_at": "2026-01-31T04:05:06.789Z",
        "finished_at": "2026-01-31T04:05:11.789Z",
        "version": "1.2.3",
        "state": "finished",
        "interrupted": False,
        "config": {},
        "counts": counts(),
        "passed_over": PassedOver(**dict.fromkeys(PassedOver.__struct_fields__, 0)),
        "unknown_suffixes": {},
        "bytes": Bytes(read=0, snapshots=0, manifests=0),
        "timing": timing(),
        "errors": [],
        "errors_omitted": 0,
        "tasks": [],
        "tasks_omitted": 0,
    }
    return Metrics(**{**defaults, **fields})
