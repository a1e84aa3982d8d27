"""compare.json, as far as a report needs it (docs/compare.md)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

PHASES = ("read", "parse", "lock_wait", "snapshot", "manifest", "sync", "pool", "other")
"""Where the time goes, in the order in which it is told: what workers did, waited for, and the rest."""


class Host(msgspec.Struct):
    """Where it was measured."""

    cpus: int
    python: str
    platform: str
    file_system: str


class Runs(msgspec.Struct):
    """What was persisted in each round."""

    runs: int
    tasks: int
    bytes: int
    available: int
    reduced: bool
    reason: str | None


class Speedup(msgspec.Struct):
    """Against the first variant, with the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float


class Variant(msgspec.Struct):
    """One way of doing the same work; seconds."""

    name: str
    mode: str
    workers: int
    walls: list[float]
    median: float
    min: float
    max: float
    runs_per_second: float
    speedup: Speedup
    cpu_seconds: float
    bytes_written: int
    syncs: int
    phases: dict[str, float]
    pair_seconds: float
    sum_if_sequential: float
    counts: dict[str, int]


class Difference(msgspec.Struct):
    """A file in which a variant's tree differs from the first one's."""

    path: str
    kind: str
    variant: str
    round: int
    diff: list[str]


class Proof(msgspec.Struct):
    """Whether all variants left the same trees."""

    equal: bool
    digest: str
    files: int
    trees: int
    differences: list[Difference]
    differences_omitted: int


class Rounds(msgspec.Struct):
    """How often each variant was measured."""

    measured: int
    reduced: bool
    reason: str | None


class Comparison(msgspec.Struct, kw_only=True):
    """The document of a comparison."""

    schema_version: Literal[1]
    kind: Literal["comparison"]
    version: str
    started_at: str
    finished_at: str
    config: dict[str, Any]
    host: Host
    sample: Runs
    rounds: Rounds
    variants: list[Variant]
    proof: Proof
    advice: str
