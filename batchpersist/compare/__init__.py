"""Compares ways to persist the same runs: how long each takes, and whether they write the same files.

``run.compare_batches`` measures and proves; ``document`` declares what it writes. Its modules are
its public names.
"""

__all__ = [
    "document",
    "options",
    "run",
]
