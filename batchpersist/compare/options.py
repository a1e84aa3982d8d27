"""All that a comparison can be told, and the ways that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from ..errors import UsageError
from ..locking.locks import LockPolicy
from ..models import DEFAULT_KEYS, Durability, Keys
from ..options import WORK, BatchOptions
from ..planning.plan import Selection
from .variants import Mode, Variant, variants_of

MODES: tuple[Mode, ...] = get_args(Mode)

_SHARED = (*WORK, "durability", "lock_attempts", "lock_stale", "force")
"""Of a batch's configuration, what a comparison has as well."""


class Roots(NamedTuple):
    """Where a measured batch writes to."""

    out_dir: str
    runs_dir: str
    metrics: str | None = None


@dataclass(frozen=True)
class CompareOptions:
    """The command's options, with its defaults but for ``workers``. Relative paths are the caller's."""

    out_dir: str = "out"
    """The real root of the snapshots: its histories are copied, nothing is written there."""
    runs_dir: str = ".runs"
    scratch: str | None = None
    """The folder in which the scratch folder is made; None: beside the runs-dir."""
    keep_scratch: bool = False
    modes: Sequence[Mode] = MODES
    workers: Sequence[int] = (1, 2)
    """For the modes that have a pool."""
    rounds: int = 5
    """In which each variant is measured once."""
    warmup: int = 1
    """Rounds before these, which are not counted."""
    max_time: float = 600.0
    """Seconds that the whole comparison should take at most: by it the sample is chosen."""
    seed: int = 0
    """Of the resampling: the same figures give the same interval."""
    keys: Keys = DEFAULT_KEYS
    selection: Selection = field(default_factory=Selection)
    durability: Durability = Durability.BATCH
    lock: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what could not be carried out."""
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown:
            raise UsageError(f"there is no mode {unknown[0]!r}; there are {', '.join(MODES)}")
        for name, values in (("mode", self.modes), ("number of workers", self.workers)):
            if not values:
                raise UsageError(f"at least one {name} is needed")
        if min(self.workers) < 1:
            raise UsageError(f"at least one worker is needed, not {min(self.workers)}")
        if self.rounds < 1 or self.warmup < 0:
            raise UsageError(f"at least one round is needed, not {self.rounds} behind {self.warmup}")
        if not self.max_time > 0:
            raise UsageError(f"a comparison must be given some time, not {self.max_time:g} seconds")
        self.batch_options(self.variants[0], Roots(self.out_dir, self.runs_dir), limit=None)

    @property
    def variants(self) -> list[Variant]:
        """All that are measured; first the one that the others are compared with."""
        return variants_of(self.modes, self.workers)

    def batch_options(self, variant: Variant, roots: Roots, *, limit: int | None) -> BatchOptions:
        """Of a batch that does the job in a variant's way, below other roots.

        A pool is used however few the runs are: it is what
        the variant's name says.
        """
        selection = Selection(self.selection.tasks, self.selection.since, self.selection.until, limit)
        return BatchOptions(
            out_dir=roots.out_dir,
            runs_dir=roots.runs_dir,
            metrics=roots.metrics,
            keys=self.keys,
            selection=selection,
            workers=variant.workers,
            pool_runs=0,
            commit=variant.commit,
            pair=variant.pair,
            durability=self.durability,
            lock=self.lock,
            force=self.force,
            resume=False,
        )

    def as_config(self, sources: Sequence[str]) -> dict[str, Any]:
        """As compare.json shows it."""
        roots = Roots(self.out_dir, self.runs_dir)
        shared = self.batch_options(self.variants[0], roots, limit=self.selection.limit).as_config(sources)
        own = {
            "scratch": self.scratch,
            "modes": list(self.modes),
            "workers": list(self.workers),
            "runs": self.rounds,
            "warmup": self.warmup,
            "seed": self.seed,
            "max_time": self.max_time,
        }
        return {name: shared[name] for name in _SHARED} | own
