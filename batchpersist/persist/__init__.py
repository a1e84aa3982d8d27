"""Persists pairs: snapshot and manifest of each run, started together, both settled.

``persist_shard`` is what a worker does. Failures of a run are data in its outcome, never
exceptions.
"""

from .liveness import Liveness
from .payloads import PayloadReader
from .worker import empty_outcome, persist_shard

__all__ = [
    "Liveness",
    "PayloadReader",
    "empty_outcome",
    "persist_shard",
]
