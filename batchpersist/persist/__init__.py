"""Persists pairs: snapshot and manifest of each run start together, and both settle.

``persist_shard`` is what a worker does with its share of a plan. A failure of a run is data in the
outcome, never an exception. ``Liveness`` shows the parent which workers hang, and at which run. For programs
that complete runs themselves there is ``coordinator``.
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
