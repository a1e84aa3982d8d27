"""Compares ways to persist the same runs: how long each takes, and whether they write the same files.

``run.compare_batches`` is the one entry: it scans the sources (``survey``), measures each question in rounds
(``experiment``) with every batch in processes of its own (``measure``), and proves the trees equal
(``trees``). ``options`` has what can be asked; ``document`` declares compare.json, which ``report`` reads.
"""

__all__ = [
    "document",
    "options",
    "run",
]
