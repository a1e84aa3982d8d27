"""The cache of a root: what the last batch knew of unchanged sources and outputs.

A batch without it, or with one that it cannot read, does the same work and writes the same files.
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
