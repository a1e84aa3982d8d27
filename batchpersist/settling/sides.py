"""The two sides of a group of pairs: its snapshots (``snapshotside``), and its manifests (``manifestside``).

Both are written in the same two steps, so that one sync of the file system serves a whole
group: *stage* writes every temporary file, *publish* renames them. Before that each side looks
which of its rows are known to stand already, and leaves them alone; after it, it takes stamps
by which the next batch will know. A side settles each of its rows by itself; what fails is
data in the outcome and stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..files.durability import SyncGroup

TextOf = Callable[[int], bytes]
"""Canonical text of a row of the shard; raises ItemError or OSError."""


class PairSide(Protocol):
    """One side of a group, made for its rows; the methods are called in this order."""

    @property
    def phase(self) -> str:
        """What its time is counted as (``phaseclock``)."""

    @property
    def pending(self) -> Sequence[int]:
        """The rows that are not known to stand: those whose texts it will ask for."""

    @property
    def files(self) -> int:
        """How many it will write at most."""

    def stage(self, sync: SyncGroup, text_of: TextOf) -> None:
        """Write every temporary file."""

    def publish(self, sync: SyncGroup) -> None:
        """Rename them."""

    def close(self) -> None:
        """Everything has settled."""

    def abandon(self, error: Exception) -> None:
        """Fail every row that is not unchanged: its group was not synced, or its step broke off."""
