"""What memory a process keeps after it has let go of what was in it: Python, Arrow and the C library do."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def give_back() -> None:
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
