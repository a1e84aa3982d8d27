"""The schema of metrics.json, declared once: the writer, the readers and the JSON Schema come from it.

A batch and ``merge-metrics`` write it, and report, status, compare and ``merge-metrics`` read it, by these
structs; its JSON Schema and the reference page are made from them. A field that is added keeps the
``schema_version``: a reader ignores fields that it does not know.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..contract.json_text import encode
from ..errors import SourceMissingError, TotalsError, UsageError

SCHEMA_VERSION: Literal[1] = 1

MAX_TASKS = 10_000
MAX_ERRORS = 100
SAMPLES = 5
"""Of each group of errors, the first ones."""

EndState = Literal["finished", "stopped", "timed_out", "interrupted"]
Stage = Literal["input", "snapshot", "manifest"]

_Count = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(ge=0, title="seconds")]
_Text = Annotated[str, Meta(min_length=1)]
_Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", title="moment")]


class _Part(msgspec.Struct, kw_only=True, frozen=True):
    """A part of the document."""


class Counts(_Part, frozen=True):
    """What became of the runs that the sources hold."""

    discovered: _Count
    """Found in the sources, the invalid ones included."""
    invalid: _Count
    """Cannot be persisted: not JSON, not an object, a key is missing, an id is unsafe, with `--since` or
    `--until` a time that cannot be read ..."""
    filtered: _Count
    """Left out by `--task`, `--since`, `--until` or `--limit`."""
    other_shards: _Count
    """Of tasks of other shards (`--shard`), selected or not; those shards report them."""
    superseded: _Count
    """Come again later in the same batch; the later one counts, as if they had been recorded one after the
    other."""
    selected: _Count
    """The remaining ones: those to persist."""
    persisted: _Count
    """On disk, both sides, and this batch wrote at least one of them."""
    unchanged: _Count
    """Existed on disk with the same content, both sides; nothing was written."""
    failed: _Count
    """Failed on at least one side."""
    not_attempted: _Count
    """Not processed on both sides when the batch ended early, and failed on neither."""
    both_ok: _Count
    """Neither side failed."""
    snapshot_failed: _Count
    """Only the snapshot failed."""
    manifest_failed: _Count
    """Only the manifest failed."""
    both_failed: _Count
    """Both sides failed."""
    snapshot_locked: _Count
    """The snapshot failed because another process held the task's lock (part of `snapshot_failed` and
    `both_failed`)."""
    resumed: _Count
    """An earlier part of the batch settled both sides, and the last part found them as it left them (part of
    `both_ok`)."""

    @property
    def attempted(self) -> int:
        return self.persisted + self.unchanged + self.failed

    def check(self) -> None:
        """Raise TotalsError, naming the figures, if they do not add up."""
        wrong = [self._equation(total, parts) for total, parts in IDENTITIES if not self._holds(total, parts)]
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

    def _equation(self, total: str, parts: tuple[str, ...]) -> str:
        terms = " + ".join(f"{part} {getattr(self, part)}" for part in parts)
        return f"{total} {getattr(self, total)} is not {terms}"


IDENTITIES = (
    ("discovered", ("invalid", "filtered", "other_shards", "superseded", "selected")),
    ("selected", ("persisted", "unchanged", "failed", "not_attempted")),
    ("both_ok", ("persisted", "unchanged")),
    ("failed", ("snapshot_failed", "manifest_failed", "both_failed")),
)
"""Each count and those that it must be the sum of."""


class PassedOver(_Part, frozen=True):
    """What the scan met that is not a run."""

    other_events: _Count
    """Events of other types than `run:completed`."""
    other_manifests: _Count
    """Manifests of another kind (those below `<taskId>/cli/`)."""
    ignored_files: _Count
    """Files in a named folder whose format is not known; pipes, sockets and devices."""
    incomplete: _Count
    """Run folders of the orchestrator without a `run-summary.json`."""


class Bytes(_Part, frozen=True):
    """Bytes read and written."""

    read: _Count
    """Of the sources as stored (compressed, where they are), read by the scan or spared because they have not
    changed (`timing.cached_sources`); the workers read selected runs again, which is not included."""
    snapshots: _Count
    """Of the snapshots written; a snapshot is written whole, its earlier runs included."""
    manifests: _Count
    """Of the manifests written."""


class Percentiles(_Part, frozen=True):
    """Seconds of the attempted runs; null if there are none."""

    p50: _Seconds | None
    """At least half of the runs took at most so long."""
    p90: _Seconds | None
    """At least 90% of the runs."""
    p99: _Seconds | None
    """At least 99% of the runs."""
    max: _Seconds | None
    """All runs: the slowest one's time."""


class WorkerPhases(_Part, frozen=True):
    """Where the workers' time went: seconds, summed over all of them."""

    read: _Seconds
    """Reading the bytes of the runs to persist from the sources."""
    parse: _Seconds
    """Checking that they are still the run that was scanned, laying out its text."""
    lock_wait: _Seconds
    """Getting the tasks' locks, waiting for others who hold them included."""
    snapshot: _Seconds
    """Reading, merging, writing and renaming the snapshots."""
    manifest: _Seconds
    """Comparing, writing and renaming the manifests."""
    sync: _Seconds
    """Waiting for the disk in fsync and syncfs."""
    other: _Seconds
    """Between these: setting up groups, starting threads, writing the journal entry."""
    pool: _Seconds
    """Workers had no shard in hand, from the first shard's start to the last one's end: handing over, waiting
    for the last one."""

    @property
    def total(self) -> float:
        return float(sum(msgspec.structs.astuple(self)))


class Timing(_Part, frozen=True):
    """How long the batch took."""

    wall_seconds: _Seconds
    """The whole batch, from its start until the last run was settled."""
    scan: _Seconds
    """Of the phase that finds the runs in the sources."""
    plan: _Seconds
    """Of the phase that plans the workers' shards."""
    settle: _Seconds
    """Of the phase in which workers persist the runs."""
    runs_per_second: Annotated[float, Meta(ge=0)]
    """Attempted runs, less `counts.resumed`, by `timing.wall_seconds`."""
    snapshot: Percentiles
    """Seconds of a run's snapshot side: those of the commit that carried it, which it shares with the other
    runs of its task."""
    manifest: Percentiles
    """Seconds of a run's manifest."""
    pair: Percentiles
    """What a run's pair took: its slower side, or both in turn with `--pair sequential`."""
    pair_seconds: _Seconds
    """Wall seconds in which groups of pairs were settled, reading and syncs included, summed over all
    workers."""
    sum_if_sequential: _Seconds
    """What that would have been with one side awaited after the other; never less than `pair_seconds`."""
    pool_start: _Seconds
    """Of `timing.scan` until the first worker process was ready; 0 if the scan used none."""
    phases: WorkerPhases
    """Where the workers' time went, summed over all of them."""
    syncs: _Count
    """Calls of fsync and syncfs by the workers."""
    retried_runs: _Count
    """Runs that were retried because their failure might pass, each time counted."""
    cached_sources: _Count
    """Source files that were not read, because they have not changed since the last batch read them."""


class Sample(_Part, frozen=True):
    """One of a group of equal failures."""

    source: str
    r"""The run's file; a byte of a name that is not UTF-8 is shown as `\xff`."""
    line: _Count
    """Line (or row) of the run from 1, or 0 if the failure has none."""
    task_id: str | None
    """Task of the run; null for `input`, which has no ids."""
    run_id: str | None
    """The run; null for `input`, which has no ids."""
    detail: str
    """What differs from case to case: a position, a path, the holder of a lock; or empty."""


class Cause(_Part, frozen=True):
    """A group of equal failures."""

    stage: Stage
    """`input` (an invalid run), `snapshot` or `manifest`."""
    type: str
    """The class of the error, e.g. `InvalidRunError`, `TaskStateLockError`, `OSError`."""
    message: str
    """What all of the group have in common; an error of the system begins with its name, e.g. `[ENOSPC]`."""
    count: Annotated[int, Meta(ge=1)]
    """Runs of this group."""
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=SAMPLES)]
    """The first 5 of them at most, in the order of the sources (`input`) or of the plan (tasks together, each
    in the order of the sources)."""


class TaskTiming(_Part, frozen=True):
    """What varies of a task."""

    commit_seconds: _Seconds | None
    """Of its snapshot's commit, or of all its commits with `--commit run`; null if none was made."""


class Task(_Part, frozen=True):
    """The runs of a task."""

    task_id: str
    """The task."""
    runs: _Count
    """Its selected runs: the sum of the next four."""
    persisted: _Count
    """As in `counts`."""
    unchanged: _Count
    """As in `counts`."""
    failed: _Count
    """As in `counts`."""
    not_attempted: _Count
    """As in `counts`."""
    superseded: _Count
    """As in `counts`; not in `tasks[].runs`."""
    timing: TaskTiming
    """What varies."""


class Metrics(_Part, frozen=True):
    """What one batch did."""

    schema_version: Literal[1]
    """Changes when a field changes its meaning or goes away."""
    batch_id: _Text
    """Name of this batch, unique."""
    parts: Annotated[int, Meta(ge=1)]
    """1, and one more for each time that the batch was interrupted and resumed."""
    started_at: _Moment
    """When the batch began."""
    finished_at: _Moment
    """When the last run was settled."""
    version: _Text
    """Of batchpersist."""
    state: EndState
    """How it ended: `finished`, `stopped` (by the failure policy), `timed_out` (`--max-duration`) or
    `interrupted`."""
    interrupted: bool
    """True if a signal stopped it; the runs that it had not begun are `counts.not_attempted`."""
    config: dict[str, Any]
    """The options it ran with."""
    counts: Counts
    """What became of the runs."""
    passed_over: PassedOver
    """What the scan met that is not a run."""
    unknown_suffixes: Annotated[dict[str, _Count], Meta(max_length=21)]
    """Of `ignored_files`: how many files have which suffix, e.g. `{".log": 2, ".txt": 1}`. `(none)` are those
    without a suffix, `(pipe)`, `(socket)` and `(device)` what is not a file, `(other)` those of further
    suffixes after the first 20."""
    bytes: Bytes
    """Bytes read and written."""
    timing: Timing
    """How long it took."""
    errors: Annotated[list[Cause], Meta(max_length=MAX_ERRORS)]
    """What failed, the most frequent group first."""
    errors_omitted: _Count
    """Groups left out: at most 100 are listed."""
    tasks: Annotated[list[Task], Meta(max_length=MAX_TASKS)]
    """An entry a task, sorted by `task_id`."""
    tasks_omitted: _Count
    """Tasks left out: at most 10,000 are listed."""

    @property
    def fails_as_empty(self) -> bool:
        """Whether no run was selected, for other shards neither, and that is a failure (--fail-if-empty)."""
        return bool(self.config.get("fail_if_empty")) and not (
            self.counts.selected or self.counts.other_shards
        )

    @property
    def has_failures(self) -> bool:
        """Whether the batch, though it came to its end, did not do all that was asked for."""
        return bool(self.counts.failed or self.counts.invalid or self.fails_as_empty)


def metrics_text(document: object) -> bytes:
    """Metrics, or another such document, as a JSON file holds them.

    By Python's encoder: a file name that is not UTF-8 leaves lone surrogates, which msgspec's refuses.
    """
    return encode(msgspec.to_builtins(document)) + b"\n"


def read_metrics(path: str) -> Metrics:
    """Raises SourceMissingError, OSError, and UsageError if the file is not the metrics of a batch."""
    try:
        with open(path, "rb") as file:
            # By Python's decoder, for the same reason.
            return msgspec.convert(json.load(file), Metrics)
    except FileNotFoundError:
        raise SourceMissingError(path) from None
    except (ValueError, RecursionError) as error:  # of which msgspec.ValidationError is one
        raise UsageError(f"{path}: not the metrics of a batch: {error}") from None
