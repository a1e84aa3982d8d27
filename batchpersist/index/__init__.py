"""The index: scan tasks become a table with a row for each completed run, without payloads.

``scan.scan_sources`` hands scan tasks to workers, ``builder.IndexBuilder`` joins what they return.
"""

__all__ = [
    "builder",
    "scan",
]
