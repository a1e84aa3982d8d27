"""Records: what a batch leaves in its folder for those who come later (docs/batches.md).

The folder, its journal and progress, and what a root remembers of its keys. Its modules are its
public names.
"""

__all__ = [
    "batch_folder",
    "journal",
    "root_record",
]
