"""Records: the files that a batch keeps of itself, for ``resume``, ``retry``, ``status`` and ``report``.

The folder of a batch with its record and progress, its journal, and the record of a root's keys
(docs/batches.md). Its modules are its public names.
"""

__all__ = [
    "batch_folder",
    "journal",
    "root_record",
]
