"""What batches that were killed left behind, apart from what they had persisted."""

from __future__ import annotations

import os
import shutil

from ..files.temporaries import sweep
from ..layout import Layout
from .batchfolder import list_batches, read_if_any


def clear_dead_batches(layout: Layout) -> bool:
    """Remove spools and temporary files of dead batches; whether there are any such batches.

    For the holder of the batch lock, to whom every batch that says it is running is dead; to that of
    a shard's lock, every one of the same shard, for others may be at work. Temporary
    files beside snapshots and manifests are left to the workers that come there (``PersistOptions.sweep``).
    Raises OSError where the batches cannot be listed.
    """
    dead = False
    for folder in list_batches(layout):
        record = read_if_any(folder)
        if record is not None and record.state == "running" and layout.shard in ("", record.shard):
            dead = True
            shutil.rmtree(folder.spool, ignore_errors=True)
            sweep(folder.path)
    if dead:
        sweep(layout.out_dir)
        with os.scandir(layout.own_dir) as entries:
            for entry in entries:
                sweep(entry.path)
        sweep(layout.own_dir)
    return dead
