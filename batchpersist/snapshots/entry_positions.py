"""The cached entry positions of a long snapshot, for the next commit.

A snapshot of 500 MB takes seconds to read and validate, and all that a commit needs of
it is the keys of its entries and their places: some hundred bytes for 2.6 KB. The process
that wrote a snapshot knows them, and caches them with the file's fingerprint.

It is a cache and nothing else. A record that is missing, damaged, or of another fingerprint
counts as absent; so does one of a snapshot that was not synced, once the machine has
restarted, for a power cut may have torn the file and left its fingerprint as it was.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from array import array
from hashlib import blake2b

import msgspec

from ..models import Durability, Keys
from ..paths import Layout
from ..storage import atomic_write
from ..storage.atomic_write import StagedFile
from ..storage.fingerprint import Fingerprint, await_tick, boot_id
from .entries import Entries

LONG = 4 << 20
"""Bytes of a snapshot from which on it is worth its record; shorter ones are read as fast."""

_DIGEST_BYTES = 16

_log = logging.getLogger(__name__)


class _Record(msgspec.Struct, array_like=True, gc=False):
    """What is known of a snapshot of one fingerprint."""

    task_id: str
    keys: tuple[str, str]
    """Under which names the entries were read."""
    boot: str
    """In which it holds; "" where the snapshot was synced: in any."""
    further: bytes
    run_ids: list[str]
    timestamps: list[str]
    offsets: bytes


_decode = msgspec.msgpack.Decoder(_Record).decode
_encode = msgspec.msgpack.Encoder().encode


class PositionCache:
    """The cached entry positions of one task's snapshot."""

    def __init__(self, layout: Layout, task_id: str, keys: Keys) -> None:
        self._path = layout.history_cache(task_id)
        self._task_id = task_id
        self._names = keys.run, keys.time

    def read(self, fingerprint: Fingerprint) -> tuple[Entries, bytes] | None:
        """Entries and further members of the snapshot of this fingerprint; None where they are not known."""
        start = _start(fingerprint)
        try:
            with open(self._path, "rb") as file:
                if file.read(len(start)) != start:
                    return None
                digest, content = file.read(_DIGEST_BYTES), file.read()
            if digest != _digest(start, content):
                return None
            record = _decode(content)
        except (OSError, ValueError, msgspec.DecodeError):
            return None
        if (record.task_id, record.keys) != (self._task_id, self._names):
            return None
        if record.boot not in ("", boot_id()):
            return None
        entries = Entries(0)
        entries.run_ids, entries.timestamps = record.run_ids, record.timestamps
        entries.offsets = array("Q", record.offsets)
        return entries, record.further

    def write(self, snapshot: StagedFile, entries: Entries, further: bytes, *, synced: bool) -> None:
        """Write the record of a snapshot that was just published, if it is long.

        None is written within the clock tick of the rename: the file could change again and keep its
        fingerprint. This waits for the end of the tick, a few milliseconds, since to read the snapshot again
        costs the next commit more. Never raises for a record that cannot be written.
        """
        boot = "" if synced else boot_id()
        if snapshot.size < LONG or not (synced or boot):
            return
        offsets = entries.offsets.tobytes()
        record = _Record(
            self._task_id, self._names, boot, further, entries.run_ids, entries.timestamps, offsets
        )
        with contextlib.suppress(OSError, UnicodeEncodeError):  # a full disk; a lone surrogate among the keys
            content = _encode(record)
            await_tick(snapshot.target)
            fingerprint = snapshot.fingerprint()
            if fingerprint is None:
                _log.debug("%s is not cached: written within the last clock tick", snapshot.target)
                return
            start = _start(fingerprint)
            atomic_write.write(self._path, start + _digest(start, content) + content, Durability.NONE)


def _start(fingerprint: Fingerprint) -> bytes:
    """What a record of this fingerprint begins with, so that others need not be read."""
    return f"batchpersist history 3 {sys.byteorder} {' '.join(map(str, fingerprint))}\n".encode()


def _digest(start: bytes, content: bytes) -> bytes:
    digest = blake2b(start, digest_size=_DIGEST_BYTES)
    digest.update(content)
    return digest.digest()
