"""Whether all trees are the same: each is held against the first one."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

from .trees import differences, digest_tree

LISTED = 100
"""Differences in a document; the rest is counted."""


class Proof:
    """Looks at one tree after the other; the first one is kept, to be compared with."""

    def __init__(self, reference: str) -> None:
        """``reference``: where the first tree is to be kept."""
        self._reference = reference
        self._digest = ""
        self._files = 0
        self._trees = 0
        self._wrong: set[str] = set()
        self._differences: list[dict[str, Any]] = []
        self._omitted = 0

    @property
    def is_equal(self) -> bool:
        return not self._wrong

    def check(self, root: str, variant: str, number: int) -> None:
        """Look at what ``variant`` wrote in round ``number``; the first time of all the tree is moved away.

        What is otherwise is listed where a variant differs for the first time. Raises OSError.
        """
        digest, files = digest_tree(root)
        self._trees += 1
        if self._trees == 1:
            self._digest, self._files = digest, files
            os.rename(root, self._reference)
        elif digest != self._digest and variant not in self._wrong:
            self._wrong.add(variant)
            found = differences(self._reference, root)
            room = LISTED - len(self._differences)
            self._differences += [each.as_dict(variant=variant, round=number) for each in islice(found, room)]
            self._omitted += sum(1 for _ in found)

    def as_dict(self) -> dict[str, Any]:
        """As compare.json shows it."""
        return {
            "equal": self.is_equal,
            "digest": self._digest,
            "files": self._files,
            "trees": self._trees,
            "differences": self._differences,
            "differences_omitted": self._omitted,
        }
