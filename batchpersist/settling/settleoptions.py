"""How pairs are written, as every job carries it to its worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..locking.locks import LockPolicy
from ..memory import UNBOUNDED, MemoryBound
from ..models import DEFAULT_KEYS, Durability, Keys
from ..snapshots.length import NODE_LIMIT


@dataclass(frozen=True)
class SettleOptions:
    """Picklable."""

    out_dir: str
    runs_dir: str
    spool: str
    """The folder for copies of sources that cannot be read by position."""
    keys: Keys = DEFAULT_KEYS
    durability: Durability = Durability.BATCH
    commit: Literal["task", "run"] = "task"
    """One commit for all of a task's runs in a shard, or one for each run."""
    pair: Literal["concurrent", "sequential"] = "concurrent"
    """Both writes at once, or the snapshot first and then the manifest (the rollback)."""
    lock: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    """Write even what stands already."""
    cache: bool = True
    """What was found out about long snapshots may stand for reading them."""
    sweep: bool = False
    """An earlier batch died, and may have left temporary files where this one is to write."""
    beats: str | None = None
    """The folder for signs of life (``heartbeat``); None: nobody watches."""
    memory: MemoryBound = UNBOUNDED
    """Of a worker."""
    max_snapshot_size: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot, at most; None: no limit."""
    take_stamps: bool = False
    """Tell in which state of its files each run stands, for the next batch's sake."""
