"""What memory a process keeps after it has let go of what was in it: Python, Arrow and the C library do."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_MMAP_THRESHOLD = -3
"""glibc's name for it (``malloc.h``)."""

_ARROWS_CHOICE = "ARROW_DEFAULT_MEMORY_POOL"

_LARGE = 256 << 10
"""Bytes: what is larger gets pages of its own, which go back to the system as soon as it is let go of."""


def give_back() -> None:
    """Return to the system what can be: the allocators would keep it for later."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    _call("malloc_trim", 0)


def keep_little() -> None:
    """From now on keep as little as possible; for a process of our own that holds a lot and works little.

    Arrow's usual allocator is a little faster, but keeps half as much again as is in use. What is
    large, glibc would learn from what is let go of, up to 32 MB, and then keep fragments of such a size.
    """
    if "pyarrow" not in sys.modules:  # it chooses once, and its functions allocate by that choice alone
        ours = _ARROWS_CHOICE not in os.environ
        os.environ.setdefault(_ARROWS_CHOICE, "system")
        import pyarrow as pa

        pa.default_memory_pool()
        if ours:  # not for the workers
            del os.environ[_ARROWS_CHOICE]
    _call("mallopt", _MMAP_THRESHOLD, _LARGE)


def _call(name: str, *arguments: int) -> None:
    """A function of the C library, if it has it: both are glibc's own."""
    function = _of_the_c_library(name)
    if function is not None:
        function(*arguments)


@lru_cache
def _of_the_c_library(name: str) -> Callable[..., Any] | None:
    function: Callable[..., Any] | None = getattr(ctypes.CDLL(None), name, None)
    return function
