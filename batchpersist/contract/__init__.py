"""What the orchestrator prescribes: JSON text, ids, the order of entries, lock records, its own layout.

Pure functions of texts and names, each compared with the published package by tests/contract.
``runs_root`` alone asks the disk: it lists folders, and opens no file. Its modules are its public names.
"""

__all__ = [
    "entry_order",
    "identifiers",
    "javascript_spelling",
    "json_text",
    "lock_record",
    "run_parser",
    "runs_root",
    "snapshot_text",
]
