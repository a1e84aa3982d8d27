"""The cache of a root: unchanged sources need not be read again, nor unchanged outputs compared.

A batch without a cache, or with one that it cannot read, writes the same files. ``CacheSession`` is what a
batch does with it; ``CachedSources`` and ``SourceRecorder`` are for the scan.
"""

from .outputs import OutputRecorder
from .sources import UNKNOWN, CachedSources, SourceRecorder, each_identity
from .store import Cache, CacheSession, likely_rows, load_cache

__all__ = [
    "Cache",
    "CacheSession",
    "CachedSources",
    "OutputRecorder",
    "SourceRecorder",
    "UNKNOWN",
    "each_identity",
    "likely_rows",
    "load_cache",
]
