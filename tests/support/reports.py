"""Folders of finished batches, made from plain rows with any ids and messages."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from support.outcomes import Row, make_outcome, plan_rows

from batchpersist.batch_job import BatchJob
from batchpersist.metrics.batch_report import write_folder
from batchpersist.metrics.build import BatchInfo, Phases, build_metrics
from batchpersist.metrics.outcome_table import OutcomeBuilder
from batchpersist.metrics.schema import metrics_text
from batchpersist.models import Failure, Reject, ScanTotals, Shard, Side, Work
from batchpersist.options import BatchOptions
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import BatchFolder, BatchRecord, State
from batchpersist.report.build import build_document
from batchpersist.report.document import BatchDocument
from batchpersist.report.inputs import BatchInputs, find_inputs

BEGIN = datetime(2026, 1, 31, 4, 5, 6, 789_000, timezone.utc)
BATCH_ID = "20260131T040506789Z-3f9a1c"

HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "\u202egpj.exe",
    "\x1b[2J\x07 and \x00 and ]]>",
    "$\\frac{1}{0}$ & &amp; 'quoted'",
    "größer 検証 🚀",
)


def shards_of(rows: Sequence[Row], size: int = 3) -> list[Shard]:
    """The rows in shards of pairs; the last one is split, as that of a hot task."""
    starts = range(0, len(rows), size)
    shards = [
        Shard(number, Work.PAIR, start, min(start + size, len(rows)), 1)
        for number, start in enumerate(starts)
    ]
    last = shards.pop()
    return [
        *shards,
        last._replace(work=Work.SNAPSHOT),
        last._replace(number=last.number + 1, work=Work.MANIFEST),
    ]


def leave_batch(
    runs_dir: Path,
    rows: Sequence[Row],
    *,
    rejects: Sequence[Reject] = (),
    state: State = "finished",
    exit_code: int | None = 0,
    batch_id: str = BATCH_ID,
) -> BatchFolder:
    """Write the folder of a batch with all of its files."""
    builder = OutcomeBuilder(plan_rows(rows))
    for shard in shards_of(rows) if rows else []:
        outcome = make_outcome(rows, shard)
        outcome.pid = 4000 + shard.number % 2
        outcome.started = BEGIN.timestamp() + shard.number // 2
        outcome.finished = outcome.started + 0.9
        builder.add(outcome)
    config = BatchJob(BatchOptions(runs_dir=str(runs_dir)), ["runs.jsonl"]).config
    info = BatchInfo(batch_id, BEGIN, BEGIN + timedelta(seconds=5), "1.2.3", config, state)  # type: ignore[arg-type]
    table = builder.table()
    metrics = build_metrics(
        info,
        Phases(4.5, 0.5, 0.25, 3.5),
        scan=ScanTotals(discovered=len(rows) + len(rejects)),
        rejects=rejects,
        filtered=0,
        table=table,
        totals=builder.totals,
    )
    folder = BatchFolder(Layout("out", str(runs_dir)).batch(batch_id))
    Path(folder.path).mkdir(parents=True)
    write_record(folder, state=state, exit_code=exit_code, runs_dir=str(runs_dir))
    write_folder(folder, metrics_text(metrics), table, rejects, builder.shards)
    return folder


def write_record(folder: BatchFolder, *, state: State, exit_code: int | None = None, **more: object) -> None:
    fields: dict[str, object] = {
        "pid": 1,
        "host": socket.gethostname(),
        "started_at": "2026-01-31T04:05:06.789Z",
        **more,
    }
    config = {"runs_dir": fields.pop("runs_dir", ".runs")}
    record = BatchRecord(
        batch_id=folder.batch_id,
        state=state,
        exit_code=exit_code,
        job="",
        version="1.2.3",
        cwd="/cwd",
        config=config,
        **fields,  # type: ignore[arg-type]
    )
    folder.write_record(record)


def failing_rows(texts: Sequence[str] = ("task is locked",)) -> list[Row]:
    """Six persisted runs of two tasks, and for each text one whose manifest failed with it."""
    fine = [Row(f"task-{number // 3}", f"run-{number}", line=number + 1) for number in range(6)]
    failed = [
        Row(
            text,
            text,
            manifest=Side.FAILED,
            manifest_failure=Failure("OSError", text, text),
            source=text,
            line=number + 1,
        )
        for number, text in enumerate(texts)
    ]
    return fine + failed


def inputs_of(runs_dir: Path, what: str = "latest") -> BatchInputs:
    found = find_inputs(what, Layout("", str(runs_dir)))
    assert isinstance(found, BatchInputs)
    return found


def document_of(runs_dir: Path, what: str = "latest") -> BatchDocument:
    return build_document(inputs_of(runs_dir, what))
