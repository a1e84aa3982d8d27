"""The options of a comparison, the questions that it answers, and the variants that it measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from ..batch_job import WORK, BatchJob
from ..errors import UsageError
from ..models import DEFAULT_KEYS, Durability, Keys
from ..option_checks import Options
from ..options import BatchOptions, LockPolicy, Selection

Mode = Literal["sequential", "paired", "parallel", "grouped"]
"""From the oldest to the newest; docs/compare.md says what each one does."""

MODES: tuple[Mode, ...] = get_args(Mode)

_POOLED: frozenset[Mode] = frozenset({"parallel", "grouped"})


class Variant(NamedTuple):
    """One way to do the job."""

    mode: Mode
    workers: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.workers}" if self.mode in _POOLED else self.mode

    @property
    def commit(self) -> Literal["task", "run"]:
        return "task" if self.mode == "grouped" else "run"

    @property
    def pair(self) -> Literal["concurrent", "sequential"]:
        return "sequential" if self.mode == "sequential" else "concurrent"


class Question(NamedTuple):
    """What a comparison asks, and the variants whose figures answer it, the baseline first."""

    name: Literal["mode", "workers"]
    variants: list[Variant]


def plan_rounds(variants: Sequence[Variant], rounds: int) -> Iterator[Sequence[Variant]]:
    """The variants of each round.

    Every round has all of them, so that a machine which slows down slows them all alike. Each round
    begins with the next one, so that none always follows the same one.
    """
    for number in range(rounds):
        first = number % len(variants)
        yield [*variants[first:], *variants[:first]]


_SHARED = (*WORK, "durability", "lock_attempts", "lock_stale", "force")
"""Names of the configuration that a comparison and a batch share."""


class Roots(NamedTuple):
    """Where a measured batch writes."""

    out_dir: str
    runs_dir: str
    metrics: str | None = None


@dataclass(frozen=True, repr=False)
class CompareOptions(Options):
    """The command's options and defaults, except for ``workers``. Relative paths are the caller's."""

    out_dir: str = "out"
    """The real out root. Its histories are copied; nothing is written there."""
    runs_dir: str = ".runs"
    scratch: str | None = None
    """The folder in which the scratch folder is made; None: beside the runs root."""
    keep_scratch: bool = False
    with_history: bool = True
    """Measure on copies of the snapshots and manifests that exist already, not on empty roots."""
    modes: Sequence[Mode] = MODES
    workers: Sequence[int] = (1, 2)
    """The numbers of worker processes to compare."""
    rounds: int = 5
    """Each round measures each variant once."""
    warmup: int = 1
    """Rounds before these, which are not counted."""
    max_time_seconds: float = 600.0
    """For the whole comparison. It decides how many runs are measured."""
    seed: int = 0
    """Of the resampling: equal figures give equal intervals."""
    keys: Keys = DEFAULT_KEYS
    selection: Selection = field(default_factory=Selection)
    durability: Durability = Durability.BATCH
    lock_policy: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for options with which nothing can be measured."""
        super().__post_init__()
        for name, values in (("mode", self.modes), ("number of workers", self.workers)):
            if not values:
                raise UsageError(f"at least one {name} is needed")
        if min(self.workers) < 1:
            raise UsageError(f"at least one worker is needed, not {min(self.workers)}")
        if self.rounds < 1:
            raise UsageError(f"at least one round is needed, not {self.rounds}")
        if self.warmup < 0:
            raise UsageError(f"the number of warm-up rounds cannot be negative: {self.warmup}")
        if not self.max_time_seconds > 0:
            raise UsageError(f"a comparison needs some time, not {self.max_time_seconds:g} seconds")


def plan_questions(options: CompareOptions) -> list[Question]:
    """The questions, in the order in which they are answered.

    *workers*: how many workers, in the best mode that has a pool, if several numbers are given.
    *mode*: which mode, each measured once, if several are given. Grouped runs in one process
    there: its sample is so small that ``batchpersist run`` would start no pool for it.
    """
    modes, counts = list(dict.fromkeys(options.modes)), sorted(set(options.workers))
    pooled = [mode for mode in ("grouped", "parallel") if mode in modes]
    questions = []
    if pooled and len(counts) > 1:
        questions.append(Question("workers", [Variant(pooled[0], count) for count in counts]))
    if len(modes) > 1 or not questions:
        variants = [Variant(mode, counts[-1] if mode == "parallel" else 1) for mode in modes]
        if "paired" in modes:  # parallel with one worker does the same
            variants = [variant for variant in variants if variant != ("parallel", 1)]
        questions.append(Question("mode", variants))
    return questions


def build_batch_options(
    options: CompareOptions, variant: Variant, roots: Roots, *, limit: int | None
) -> BatchOptions:
    """The options of a batch that does the job in a variant's way, below other roots.

    A variant with several workers always has a pool, however few the runs are.
    """
    selection = Selection(options.selection.tasks, options.selection.since, options.selection.until, limit)
    return BatchOptions(
        out_dir=roots.out_dir,
        runs_dir=roots.runs_dir,
        metrics=roots.metrics,
        keys=options.keys,
        selection=selection,
        workers=variant.workers,
        pool_runs=0,
        commit=variant.commit,
        pair=variant.pair,
        durability=options.durability,
        lock_policy=options.lock_policy,
        force=options.force,
        resume=False,
    )


def describe_config(options: CompareOptions, sources: Sequence[str]) -> dict[str, Any]:
    """The ``config`` of compare.json."""
    roots = Roots(options.out_dir, options.runs_dir)
    variant = plan_questions(options)[0].variants[0]
    job = BatchJob(build_batch_options(options, variant, roots, limit=options.selection.limit), sources)
    shared = job.config
    own = {
        "scratch": options.scratch,
        "with_history": options.with_history,
        "modes": list(options.modes),
        "workers": list(options.workers),
        "rounds": options.rounds,
        "warmup": options.warmup,
        "seed": options.seed,
        "max_time": options.max_time_seconds,
    }
    return {name: shared[name] for name in _SHARED} | own
