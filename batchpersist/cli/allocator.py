"""How the command's own process allocates memory while its workers do the work."""

from __future__ import annotations

import os
import sys

from ..memory_limit import call_glibc

_MMAP_THRESHOLD = -3
"""glibc's name for it (``malloc.h``)."""

_LARGE = 1 << 20
"""Bytes: what is larger gets pages of its own, which go back to the system as soon as it is let go of."""

_ARROWS_CHOICE = "ARROW_DEFAULT_MEMORY_POOL"


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
    call_glibc("mallopt", _MMAP_THRESHOLD, _LARGE)
