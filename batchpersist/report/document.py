"""The document of a report, as plain data: every format shows it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..metrics.schema import Bytes, Cause, Counts, PassedOver, Task, Timing

State = Literal["running", "killed", "finished", "stopped", "timed_out", "interrupted", "failed", "unknown"]
Level = Literal["good", "warning", "bad", "busy"]


class SideFailure(msgspec.Struct):
    """Why an input, or one side of a pair, failed."""

    stage: Literal["input", "snapshot", "manifest"]
    type: str
    message: str
    detail: str


class FailedRun(msgspec.Struct):
    """A run that failed; or a line that is not a run, then without ids."""

    task_id: str | None
    run_id: str | None
    source: str
    line: int
    failures: list[SideFailure]


class Latency(msgspec.Struct):
    """How many of the attempted runs took at most so long: a cumulative distribution."""

    runs: int
    seconds: list[float]
    """Upper bounds, ascending; the lists below have a number for each."""
    snapshot: list[int]
    manifest: list[int]
    pair: list[int]
    sum: list[int]
    """Of both sides' times together: what awaiting one after the other would take."""


class Throughput(msgspec.Struct):
    """How many runs were done when, from the start of the first shard."""

    bin_seconds: float
    runs: list[float]
    """In each bin; a shard's runs count as spread evenly over its time."""


class Span(msgspec.Struct):
    """A time in which a worker was busy: one shard, or several so close that no picture shows the gaps."""

    work: str
    started: float
    """Seconds since the first shard started, as ``finished``."""
    finished: float
    runs: int
    shards: int


class Worker(msgspec.Struct):
    """What one process did."""

    pid: int
    runs: int
    busy_seconds: float
    cpu_seconds: float | None
    """None while the batch runs."""
    spans: list[Span]


class Workers(msgspec.Struct):
    """Who did what, and when."""

    seconds: float
    """From the start of the first shard to the end of the last."""
    listed: list[Worker]
    """Those that were busy longest, by when they started."""
    omitted: int


class Verdict(msgspec.Struct):
    """The outcome."""

    level: Level
    text: str
    """In a sentence."""
    advice: str = ""
    """The command that helps, or why none is needed."""


class BatchDocument(msgspec.Struct, kw_only=True):
    """A report of a batch. What is None or empty could not be known; ``notes`` say why."""

    schema_version: Literal[2] = 2
    kind: Literal["batch"] = "batch"
    batch_id: str | None
    state: State
    verdict: Verdict
    parts: int = 1
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    host: str | None = None
    version: str | None = None
    runs_dir: str | None = None
    """Absolute, where that can be known."""
    config: dict[str, Any] = {}
    counts: Counts | None = None
    passed_over: PassedOver | None = None
    unknown_suffixes: dict[str, int] = {}
    bytes: Bytes | None = None
    timing: Timing | None = None
    throughput: Throughput | None = None
    latency: Latency | None = None
    workers: Workers | None = None
    split_tasks: list[str] = []
    """Tasks so hot that their manifests were spread over all workers."""
    slowest_tasks: list[Task] = []
    tasks: int = 0
    """How many there are; ``slowest_tasks`` are a few of them."""
    errors: list[Cause] = []
    errors_omitted: int = 0
    failed_runs: list[FailedRun] = []
    failed_runs_omitted: int = 0
    notes: list[str] = []
