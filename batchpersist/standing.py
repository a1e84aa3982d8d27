"""What stands already of a shard's runs: the dry run's half of a settlement. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from enum import Enum
from itertools import groupby

from .baseline import Baseline
from .errors import ItemError
from .history import History
from .job import ShardJob
from .jsontext import nest
from .layout import Layout
from .models import RunRef
from .payloads import PayloadReader
from .settle import SettleOptions
from .snapshottext import ENTRY_LEVELS


class Standing(str, Enum):
    """What a batch would find of a run, snapshot entry and manifest taken together."""

    NEW = "new"
    CHANGED = "changed"
    """One of the two is missing, or differs."""
    UNCHANGED = "unchanged"
    UNREADABLE = "unreadable"
    """The run's payload, its manifest or its task's snapshot cannot be read."""


def look_up_shard(job: ShardJob, options: SettleOptions) -> Counter[Standing]:
    """Count how a shard's runs stand; those that a later row supersedes are left out."""
    counts: Counter[Standing] = Counter()
    with PayloadReader(options.keys) as reader:
        for task_id, group in groupby(job.refs(), key=lambda ref: ref.task_id):
            refs = [ref for ref in group if not ref.superseded]
            counts.update(_look_up_task(task_id, refs, reader, options))
    return counts


def _look_up_task(
    task_id: str, refs: Sequence[RunRef], reader: PayloadReader, options: SettleOptions
) -> Counter[Standing]:
    layout = Layout(options.out_dir, options.runs_dir)
    with closing(Baseline()) as baseline:
        try:
            history = baseline.load(layout, task_id, options.keys)
        except (ItemError, OSError):
            return Counter({Standing.UNREADABLE: len(refs)})
        entries = {run_id: entry for entry, (run_id, _) in enumerate(history.keys)}
        return Counter(_look_up(ref, entries.get(ref.run_id), history, reader, layout) for ref in refs)


def _look_up(
    ref: RunRef, entry: int | None, history: History, reader: PayloadReader, layout: Layout
) -> Standing:
    try:
        text = reader.text(ref)
        manifest = _content(layout.manifest(ref.task_id, ref.run_id))
    except (ItemError, OSError):
        return Standing.UNREADABLE
    if entry is None and manifest is None:
        return Standing.NEW
    same = entry is not None and manifest == text and history.text(entry) == nest(text, ENTRY_LEVELS)
    return Standing.UNCHANGED if same else Standing.CHANGED


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
