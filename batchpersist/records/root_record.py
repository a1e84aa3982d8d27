"""The record of a root: the names of the keys that it was written with, and its out-dirs.

``<runs-dir>/.batchpersist/root.json`` is written before the first run is persisted. Read with other keys,
each run would look damaged; paired with another out-dir, each would look like one that is missing there.
"""

from __future__ import annotations

import json
import os

import msgspec

from ..contract.json_text import encode
from ..errors import UsageError
from ..models import DEFAULT_KEYS, Durability, Keys
from ..paths import Layout
from ..storage import atomic_write


class RootRecord(msgspec.Struct, kw_only=True):
    """``root.json``."""

    schema_version: int = 1
    task_key: str
    run_key: str
    time_key: str
    out_dirs: list[str]
    """Relative to the runs-dir, so that both may be moved together; the latest last."""

    @property
    def keys(self) -> Keys:
        return Keys(self.task_key, self.run_key, self.time_key)


def root_keys(layout: Layout) -> Keys:
    """The keys that the root was written with; the default ones where it has no record.

    Raises UsageError where its record cannot be read.
    """
    record = _read(layout)
    return DEFAULT_KEYS if record is None else record.keys


def check_keys(layout: Layout, keys: Keys) -> None:
    """Raise UsageError where the root was written with other keys, or its record cannot be read."""
    record = _read(layout)
    if record is not None and record.keys != keys:
        raise UsageError(
            f"{layout.runs_dir} was written with {_options(record.keys)}, not with {_options(keys)}; "
            "leave these options out, or name other folders by --out-dir and --runs-dir"
        )


def check_pairing(layout: Layout) -> None:
    """Raise UsageError where the runs-dir was never written together with this out-dir, but with others."""
    record = _read(layout)
    if record is None or _relative(layout) in record.out_dirs:
        return
    latest = os.path.normpath(os.path.join(layout.runs_dir, record.out_dirs[-1]))
    raise UsageError(
        f"{layout.runs_dir} was written together with --out-dir {latest}, not with {layout.out_dir}; name "
        f"that one, or, if the folders were moved, remove {layout.root_record}"
    )


def remember(layout: Layout, keys: Keys) -> None:
    """Record the keys and the out-dir before anything is written. Raises UsageError and OSError."""
    check_keys(layout, keys)
    record = _read(layout)
    before = [] if record is None else record.out_dirs
    if before[-1:] == [_relative(layout)]:
        return
    others = [
        path
        for path in before
        if path != _relative(layout) and os.path.isdir(os.path.join(layout.runs_dir, path))
    ]
    record = RootRecord(
        task_key=keys.task,
        run_key=keys.run,
        time_key=keys.time,
        out_dirs=[*others, _relative(layout)],
    )
    atomic_write.write(layout.root_record, encode(msgspec.to_builtins(record)) + b"\n", Durability.FILE)


def _read(layout: Layout) -> RootRecord | None:
    path = layout.root_record
    try:
        with open(path, "rb") as file:
            return msgspec.convert(json.load(file), RootRecord)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"what this root was written with cannot be read: {path}: {error}; remove the file, and name the "
            "keys by --task-key, --run-key and --time-key if they are not the usual ones"
        ) from None


def _relative(layout: Layout) -> str:
    return os.path.relpath(os.path.realpath(layout.out_dir), os.path.realpath(layout.runs_dir))


def _options(keys: Keys) -> str:
    return f"--task-key {keys.task} --run-key {keys.run} --time-key {keys.time}"
