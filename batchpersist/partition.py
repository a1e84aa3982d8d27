"""How ``--shard K/N`` divides the tasks: by their ids alone, so that commands need not know of each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

from .errors import UsageError
from .option_checks import Options

_FORM = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")
_NAME = re.compile(r"([1-9][0-9]*)-of-([1-9][0-9]*)")


@dataclass(frozen=True, repr=False)
class Partition(Options):
    """The tasks of shard ``number`` (from 1) ``of`` so many; over all numbers, each task is in one."""

    number: int
    of: int

    def __post_init__(self) -> None:
        """Raises UsageError where there is no such shard."""
        super().__post_init__()
        if not 1 <= self.number <= self.of:
            raise UsageError(f"there is no shard {self.number} of {self.of}: they count from 1")

    @classmethod
    def parse(cls, text: str) -> Partition:
        """From ``K/N``; raises UsageError on anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise UsageError(f"expected a shard such as 3/8, the third of eight, not {text!r}")
        return cls(int(found[1]), int(found[2]))

    def owns(self, task_id: str) -> bool:
        """The same on every machine, in every process and version: it must not change."""
        digest = blake2b(task_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1

    @property
    def name(self) -> str:
        """As a part of a file's name."""
        return f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards_in(name: str) -> int:
    """How many shards there are where one has this ``Partition.name``; 0 where it is none."""
    found = _NAME.fullmatch(name)
    return int(found[2]) if found else 0
