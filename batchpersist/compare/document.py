"""compare.json: what a comparison measured, proved and recommends (docs/compare.md).

Declared once: ``compare`` writes it, ``report`` reads it, and its JSON Schema is made from it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..metrics.schema import Counts

SCHEMA_VERSION: Literal[2] = 2

PHASES = ("read", "parse", "lock_wait", "snapshot", "manifest", "sync", "pool", "other")
"""Where the time goes: what workers did, what they waited for, and the rest."""


class _Part(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the document. Times are seconds, sizes bytes."""


class Host(_Part):
    """Where the comparison was measured."""

    cpus: int
    """That this process may use."""
    python: str
    platform: str
    file_system: str
    """Of the scratch folder, for example ``ext4``."""


class History(_Part):
    """What existed in the real roots for the runs that were measured."""

    copied: bool
    tasks: int
    """Tasks that have a snapshot."""
    bytes: int


class Sample(_Part):
    """The runs that each batch persisted."""

    runs: int
    tasks: int
    bytes: int
    reason: str | None
    """Why these are not all of the runs; None: they are."""


class Rounds(_Part):
    """How often each variant was measured."""

    measured: int
    warmup: int
    reason: str | None
    """Why these are fewer than was asked for; None: they are not."""


class Speedup(_Part):
    """How many times as fast as the first variant, with the 95% interval; no interval below three rounds."""

    estimate: float
    low: float | None
    high: float | None


class Variant(_Part):
    """The figures of one way to do the job."""

    name: str
    mode: str
    workers: int
    walls: list[float]
    """Of each round, in order."""
    median: float
    min: float
    max: float
    runs_per_second: float
    speedup: Speedup
    cpu_seconds: float
    """This and the following are those of one round: that of the lower median."""
    bytes_written: int
    syncs: int
    phases: dict[str, float]
    pair_seconds: float
    sum_if_sequential: float
    counts: Counts


class Difference(_Part):
    """A file in which a variant's tree differs from the first tree."""

    path: str
    kind: Literal["missing", "extra", "content", "mode"]
    variant: str
    round: int
    """From 0, with the rounds to warm up."""
    diff: list[str]


class Proof(_Part):
    """Whether all variants wrote the same tree."""

    equal: bool
    digest: str
    files: int
    trees: int
    differences: list[Difference]
    differences_omitted: int


class Answer(_Part):
    """A question, what was measured for it, and the answer in a sentence."""

    question: Literal["mode", "workers"]
    sample: Sample
    rounds: Rounds
    variants: list[Variant]
    proof: Proof
    answer: str


class Unanswered(_Part):
    """A question for which nothing could be measured."""

    question: Literal["mode", "workers"]
    reason: str


class Recommendation(_Part):
    """The command to use, and what it takes for all of the runs."""

    command: str
    seconds: float | None
    """None where nothing was measured from which it follows."""
    one_by_one_seconds: float | None
    """By the growth that was measured of a commit for each run."""
    is_sure: bool
    """Whether the recommended variant is surely faster than the others."""


class Comparison(_Part):
    """The document of a comparison."""

    schema_version: Literal[2]
    kind: Literal["comparison"]
    version: str
    started_at: str
    finished_at: str
    config: dict[str, Any]
    host: Host
    runs: int
    """That match in the sources; those that a later one replaces are left out."""
    history: History
    questions: list[Answer]
    unanswered: list[Unanswered]
    recommendation: Recommendation

    @property
    def is_equal(self) -> bool:
        """Whether the trees of every question were equal."""
        return all(answer.proof.equal for answer in self.questions)

    @property
    def counts(self) -> list[Counts]:
        """Of all variants."""
        return [variant.counts for answer in self.questions for variant in answer.variants]
