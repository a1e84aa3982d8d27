"""A batch that has left no metrics: it is running still, something ended it, or they could not be written."""

from __future__ import annotations

from ..operations.status import BatchStatus
from .document import BatchDocument, Verdict
from .sentences import DO_THE_REST, number
from .shardrows import Journaled, journaled
from .shardtimes import throughput, workers

_OPENINGS = {
    "killed": "Killed, or ended by a power cut",
    "failed": "Ended by an error of the batch as a whole",
    "interrupted": "Stopped at once",
}


def from_journal(status: BatchStatus) -> BatchDocument:
    """Raises OSError."""
    record, so_far = status.record, journaled(status.folder.journal)
    return BatchDocument(
        batch_id=record.batch_id,
        state=status.state,
        verdict=_verdict(status, so_far),
        parts=record.parts,
        started_at=record.started_at,
        finished_at=record.finished_at,
        version=record.version,
        config=record.config,
        throughput=throughput(so_far.shards),
        workers=workers(so_far.shards),
        notes=["The batch has left no metrics; what is shown is from its journal."],
    )


def _verdict(status: BatchStatus, so_far: Journaled) -> Verdict:
    failed = f" ({so_far.failed:,} of them failed)" if so_far.failed else ""
    settled = f"{number(so_far.settled, 'run')} settled{failed}"
    if status.state == "running":
        return Verdict("busy", f"Running: {_share(status, settled)} so far.")
    opening = _OPENINGS.get(status.state, "Ended without metrics")
    return Verdict("bad", f"{opening}: {settled} before.", DO_THE_REST)


def _share(status: BatchStatus, settled: str) -> str:
    progress = status.progress
    if progress is not None and progress.phase == "scan":
        return f"{number(progress.done, 'run')} found"
    total = progress.total if progress is not None else None
    return settled if total is None else f"of {number(total, 'run')}, {settled}"
