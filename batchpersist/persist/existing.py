"""What exists already of a shard's pairs: the dry run's half of a worker. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from enum import Enum

from ..contract.javascript_spelling import are_alike
from ..contract.json_text import holds, nest
from ..contract.snapshot_text import ENTRY_LEVELS
from ..errors import ItemError
from ..options import PersistOptions
from ..paths import Layout
from ..plan import ShardJob, ShardRows
from ..snapshots import Baseline, History
from .payloads import PayloadReader


class ExistingPairs(str, Enum):
    """What a batch would find of a run, snapshot entry and manifest taken together."""

    NEW = "new"
    CHANGED = "changed"
    """One of the two is missing, or differs."""
    UNCHANGED = "unchanged"
    UNREADABLE = "unreadable"
    """The run's payload, its manifest or its task's snapshot cannot be read."""


def find_existing(job: ShardJob, options: PersistOptions) -> Counter[ExistingPairs]:
    """Count how a shard's runs stand; those that a later row supersedes are left out."""
    counts: Counter[ExistingPairs] = Counter()
    with PayloadReader(options.keys, options.spool) as reader:
        refs = job.refs()
        for task_id, span in refs.tasks(range(len(refs))):
            rows = [row for row in span if not refs.superseded(row)]
            counts.update(_look_up_task(task_id, rows, refs, reader, options))
    return counts


def _look_up_task(
    task_id: str, rows: Sequence[int], refs: ShardRows, reader: PayloadReader, options: PersistOptions
) -> Counter[ExistingPairs]:
    layout = options.layout
    with closing(Baseline()) as baseline:
        try:
            history = baseline.load(layout, task_id, options.keys)
        except (ItemError, OSError):
            return Counter({ExistingPairs.UNREADABLE: len(rows)})
        entries = {run_id: entry for entry, (run_id, _) in enumerate(history.keys)}
        found = ((row, entries.get(refs.run_ids[row])) for row in rows)
        return Counter(_look_up(refs, row, entry, history, reader, layout) for row, entry in found)


def _look_up(
    refs: ShardRows, row: int, entry: int | None, history: History, reader: PayloadReader, layout: Layout
) -> ExistingPairs:
    keys = refs.keys(row)
    try:
        text = reader.text(keys, *refs.place(row))
        manifest = _content(layout.manifest(keys.task_id, keys.run_id))
    except (ItemError, OSError):
        return ExistingPairs.UNREADABLE
    if entry is None and manifest is None:
        return ExistingPairs.NEW
    if entry is None or manifest is None:
        return ExistingPairs.CHANGED
    same = are_alike(history.text(entry), nest(text, ENTRY_LEVELS)) and holds(manifest, text)
    return ExistingPairs.UNCHANGED if same else ExistingPairs.CHANGED


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
