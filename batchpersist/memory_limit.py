"""The limit of memory for each process of a batch (``--max-memory``), and memory returned to the system.

All figures are of the resident set (RSS) at its peak. What Python and Arrow take is there before
anything is done, so it is the rest that counts. How the figures were measured is in
docs/decisions/0015-max-memory.md.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .errors import UsageError

_MEGABYTE = 1 << 20

BASE = 125 * _MEGABYTE
"""Of the process that scans, plans and reports, however little there is to do; a worker needs less."""

SMALLEST = 192 * _MEGABYTE
"""With less, hardly any is left for the work."""

INDEX_TIMES = 2.1
"""By how much the index grows until the batch is reported: sorted, persisted, and made a table."""

ENTRY_BYTES = 620
"""Of an entry of a snapshot that is merged: its keys and its place, in the old order and the new."""

SETTLED_TIMES = 1.6
"""By how much the index has grown while its runs are persisted."""

HANDED_BYTES = 550
"""Of a run that is merged, in the process that hands it to a worker and receives its outcome."""

TEXT_TIMES = 8
"""What a text takes while it is looked at, laid out and nested."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class MemoryBound:
    """Bytes that each process may take; None: as many as it needs. Picklable."""

    limit: int | None = None
    in_one_process: bool = False
    """The index and the work share what there is."""

    def __post_init__(self) -> None:
        """Raises UsageError for a bound that could not be kept."""
        if self.limit is not None and self.limit < SMALLEST:
            least = f"at least {megabytes(SMALLEST)} are needed, for Python and Arrow alone take most of that"
            raise UsageError(f"each process cannot do with {megabytes(self.limit)}: {least}")

    def shard_bytes(self, usual: int) -> int:
        """Payload bytes of a shard: as many as usual, if they fit."""
        return usual if self.limit is None else min(usual, self._room // TEXT_TIMES)

    def check_index(self, rows: int, size: int) -> None:
        """Raise UsageError where an index of ``rows`` runs and ``size`` bytes is too large, or will be."""
        if self.limit is not None and size * INDEX_TIMES > self._room:
            raise self._too_little(f"to index the {rows:,} runs found so far", int(size * INDEX_TIMES))

    def check_task(self, task_id: str, runs: int, index_size: int) -> None:
        """Raise UsageError where a task has too many runs to be handed over at once, or to be merged."""
        needed = max(runs * ENTRY_BYTES, runs * HANDED_BYTES + int(index_size * SETTLED_TIMES))
        if self.limit is not None and needed > self._room:
            raise self._too_little(f"to merge the {runs:,} runs of the task {task_id}", needed)

    def _too_little(self, purpose: str, needed: int) -> UsageError:
        least = megabytes(BASE + needed * (2 if self.in_one_process else 1))
        advice = "allow more, or name fewer sources at a time"
        return UsageError(
            f"{megabytes(self.limit or 0)} are too little {purpose}, that takes {least}: {advice}"
        )

    @property
    def _room(self) -> int:
        """Bytes that the work may take, or the index."""
        return ((self.limit or 0) - BASE) // (2 if self.in_one_process else 1)


UNBOUNDED = MemoryBound()


def parse_size(text: str) -> int:
    """Bytes, from words such as 400M, 2G or 1.5 GiB; the units are powers of 1024. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not a size such as 400M or 2G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def megabytes(size: int) -> str:
    """A size for people: whole megabytes, rounded up."""
    return f"{-(-size // _MEGABYTE):,} MB"


def release_memory() -> None:
    """Return to the system what can be: the allocators would keep it for later."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    call_glibc("malloc_trim", 0)


def call_glibc(name: str, *arguments: int) -> None:
    """Call a function that is glibc's own; where there is another C library, there is nothing to call."""
    function = _of_the_c_library(name)
    if function is not None:
        function(*arguments)


@lru_cache
def _of_the_c_library(name: str) -> Callable[..., Any] | None:
    function: Callable[..., Any] | None = getattr(ctypes.CDLL(None), name, None)
    return function
