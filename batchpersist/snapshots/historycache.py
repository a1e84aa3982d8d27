"""What was found out about a long snapshot, kept for whoever adds to it next.

A snapshot of 500 MB takes seconds to read and validate, and all that a commit needs of
it is the keys of its entries and their places: some hundred bytes for 2.6 KB. The process
that wrote a snapshot knows them, and notes them down beside the version of the file.

It is a cache and nothing else. A record that is missing, damaged, or of another version of
the file counts as absent; so does one of a snapshot that was not synced, once the machine
has started anew, for a power cut may have torn the file and left its version as it was.
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from hashlib import blake2b

import msgspec

from ..files import atomic
from ..files.versions import Version, boot_id, settle
from ..models import Durability, Keys
from .entries import Entries

LONG = 4 << 20
"""Bytes of a snapshot from which on it is worth its record; shorter ones are read as fast."""

_DIGEST_BYTES = 16


class Record(msgspec.Struct, array_like=True, gc=False):
    """What is known of one version of a snapshot."""

    task_id: str
    keys: tuple[str, str]
    """Under which names the entries were read."""
    boot: str
    """In which it holds; "" where the snapshot was synced: in any."""
    further: bytes
    run_ids: list[str]
    timestamps: list[str]
    offsets: bytes


_decode = msgspec.msgpack.Decoder(Record).decode
_encode = msgspec.msgpack.Encoder().encode


def recall(path: str, task_id: str, keys: Keys, version: Version) -> tuple[Entries, bytes] | None:
    """Entries and further members of the snapshot whose version this is; None where that is not known."""
    start = _start(version)
    try:
        with open(path, "rb") as file:
            if file.read(len(start)) != start:
                return None
            digest, content = file.read(_DIGEST_BYTES), file.read()
        if digest != _digest(start, content):
            return None
        record = _decode(content)
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    if (record.task_id, record.keys) != (task_id, (keys.run, keys.time)):
        return None
    if record.boot not in ("", boot_id()):
        return None
    entries = Entries(0)
    entries.run_ids, entries.timestamps = record.run_ids, record.timestamps
    entries.offsets = array("Q", record.offsets)
    return entries, record.further


def note(
    path: str, task_id: str, keys: Keys, version: Version, entries: Entries, further: bytes, *, synced: bool
) -> None:
    """Write the record of a snapshot that was just put in place, if it is long.

    Takes some milliseconds after that, so as to tell it from what may come next. Never
    raises for a record that cannot be written.
    """
    boot = "" if synced else boot_id()
    if version.size < LONG or not (synced or boot):
        return
    record = Record(
        task_id,
        (keys.run, keys.time),
        boot,
        further,
        entries.run_ids,
        entries.timestamps,
        entries.offsets.tobytes(),
    )
    with contextlib.suppress(OSError, UnicodeEncodeError):  # a full disk; a lone surrogate among the keys
        content = _encode(record)
        if settle(version):
            start = _start(version)
            atomic.write(path, start + _digest(start, content) + content, Durability.NONE)


def _start(version: Version) -> bytes:
    """What a record of this version begins with, so that others need not be read."""
    return f"batchpersist history 2 {sys.byteorder} {' '.join(map(str, version))}\n".encode()


def _digest(start: bytes, content: bytes) -> bytes:
    digest = blake2b(start, digest_size=_DIGEST_BYTES)
    digest.update(content)
    return digest.digest()
