"""The files that a power cut may leave: a recording, replayed on a disk that knows what is not yet durable.

A disk consists of slots: each folder's entry of each name, each file's content, each file's mode. A slot
has had several values; of these a crash leaves one, no older than the last that a sync covers (its floor).

Two sets of rules say which values may go together.

- ``Rules.POSIX``: every slot for itself. fsync(2) makes a file's content durable, and "does not necessarily
  ensure that the entry in the directory containing the file has also reached disk": for that the folder
  is synced. rename(2) is atomic for other processes; POSIX promises nothing for a crash.
  syncfs(2) covers all.
- ``Rules.JOURNAL``: as ext4's ordered journal does it (the kernel's Documentation/filesystems/ext4/journal):
  what happens to names reaches the disk in the order in which it happened, up to some moment. Contents are
  late all the same (delayed allocation; ``auto_da_alloc``, which makes up for that after a rename, can be
  off). POSIX allows all these states, too; but these are the ones that are met in life.

Of a content that is not durable a crash may leave nothing, a beginning, NULs, a beginning and then NULs, or
all; never less than what is common to the synced content and all that came after it. That is what delayed
allocation has left on ext4 and XFS, and more than ext4's ``data=ordered`` does.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from syscalls import Call

Tree = dict[str, "File"]
"""Path below the root -> file."""


class File(NamedTuple):
    content: bytes
    mode: int


class Rules(Enum):
    POSIX = auto()
    JOURNAL = auto()


class Slot:
    """The values of one thing on the disk, each from its time on, and how far they are durable."""

    def __init__(self, time: int, value: Any) -> None:
        self.times = [time]
        self.values = [value]
        self._synced = [-1]
        self._floors = [0]

    def set(self, time: int, value: Any) -> None:
        self.times.append(max(time, self.times[-1]))
        self.values.append(value)

    def sync(self, begin: int, end: int) -> None:
        """A sync that has ended covers what had happened when it began."""
        self._synced.append(end)
        self._floors.append(max(bisect_left(self.times, begin) - 1, self._floors[-1]))

    def floor(self, time: int) -> int:
        """The oldest value (its number) that a crash at ``time`` may leave."""
        return self._floors[bisect_right(self._synced, time) - 1]

    def latest(self, time: int) -> int:
        return max(bisect_right(self.times, time) - 1, 0)


class Disk:
    """The disk below ``root``; ``times`` are the moments at which something changed."""

    def __init__(
        self,
        root: Path,
        before: Mapping[str, File],
        calls: Sequence[Call],
        umask: int,
        unsynced: Mapping[str, File],
    ) -> None:
        """``unsynced``: what others wrote after ``before``, and before the recording, and did not sync."""
        self._root = f"{root}/"
        self._umask = umask
        self.entries: list[Slot] = []
        self.contents: dict[int, Slot] = {}
        self._modes: dict[int, Slot] = {}
        self._folders: dict[int, dict[str, Slot]] = {0: {}}
        self._nodes = 0
        for path, file in before.items():
            self._add(path, file, -1)
        for path, file in unsynced.items():
            self._add(path, file, 0)
        # A folder exists before mkdir returns, and other processes may use it at once.
        for call in sorted(calls, key=lambda call: call.begin if call.name == "mkdir" else call.end):
            self._replay(call)
        self.times = sorted({time for slot in self._slots() for time in slot.times if time >= 0})

    def tree(self, time: int) -> Tree:
        """The files that other processes see at that time."""
        return self._tree(time, {})

    def durable(self, time: int, suffix: str) -> list[bytes]:
        """The durable contents of files whose paths end with ``suffix``."""
        found = self._nodes_below(0, "", lambda slot: slot.values[slot.latest(time)])
        files = [self.contents[node] for path, node in found if path.endswith(suffix)]
        return [slot.values[slot.floor(time)] for slot in files]

    def states(self, time: int, rules: Rules, random: Random, samples: int) -> Iterator[Tree]:
        """What a crash at this time may leave: the extremes, and ``samples`` more of everything between."""
        contents = _pending(self.contents.values(), time)
        modes = _pending(self._modes.values(), time)
        entries = _pending(self.entries, time)
        oldest = max((slot.times[slot.floor(time)] for slot in self.entries), default=-1)
        moments = [at for at in self.times if oldest <= at <= time] or [time]
        for keep in (0.0, 1.0, *[random.choice((0.05, 0.3, 0.7, 0.95)) for _ in range(samples)]):
            if rules is Rules.JOURNAL:
                at = moments[-1] if keep == 1.0 else random.choice(moments)
                chosen = {slot: slot.values[slot.latest(at)] for slot in entries}
            else:
                chosen = {slot: _choose(slot, time, keep, random) for slot in entries}
            kept = random.choice((0.0, 0.5))
            chosen |= {slot: _torn(slot, time, kept, random) for slot in contents}
            chosen |= {slot: _choose(slot, time, kept, random) for slot in modes}
            yield self._tree(time, chosen)

    def _tree(self, time: int, chosen: Mapping[Slot, Any]) -> Tree:
        def value(slot: Slot) -> Any:
            return chosen[slot] if slot in chosen else slot.values[slot.latest(time)]

        found = self._nodes_below(0, "", value)
        return {path: File(value(self.contents[node]), value(self._modes[node])) for path, node in found}

    def _nodes_below(self, folder: int, path: str, value: Any) -> Iterator[tuple[str, int]]:
        for name, slot in self._folders[folder].items():
            node = value(slot)
            if node in self._folders:
                yield from self._nodes_below(node, f"{path}{name}/", value)
            elif node is not None:
                yield path + name, node

    def _slots(self) -> Iterator[Slot]:
        yield from self.entries
        yield from self.contents.values()
        yield from self._modes.values()

    def _add(self, path: str, file: File, time: int) -> None:
        """Add a file from before the recording: durable if ``time`` is -1."""
        folder = 0
        *parents, name = path.split("/")
        for parent in parents:
            if parent not in self._folders[folder]:
                self._set(folder, parent, time, self._new(time, None, 0))
            folder = self._folders[folder][parent].values[-1]
        node = self._new(time, file.content if time < 0 else b"", file.mode)
        if time >= 0:
            self.contents[node].set(time, file.content)
        self._set(folder, name, time, node)

    def _new(self, time: int, content: bytes | None, mode: int) -> int:
        self._nodes += 1
        if content is None:
            self._folders[self._nodes] = {}
        else:
            self.contents[self._nodes] = Slot(time, content)
            self._modes[self._nodes] = Slot(time, mode)
        return self._nodes

    def _set(self, folder: int, name: str, time: int, node: int | None) -> None:
        slot = self._folders[folder].get(name)
        if slot is None:
            slot = self._folders[folder][name] = Slot(-1, node if time < 0 else None)
            self.entries.append(slot)
        if time >= 0:
            slot.set(time, node)

    def _find(self, path: str) -> tuple[int, str, int | None] | None:
        """Folder, name and node of a path (None: no node, yet); None: it is outside of the root."""
        if not f"{path}/".startswith(self._root):
            return None
        folder, name, node = 0, "", 0
        for name in filter(None, path[len(self._root) :].split("/")):
            assert node in self._folders, f"not replayed: {path}"
            folder, slot = node, self._folders[node].get(name)
            node = slot.values[-1] if slot else None
        return folder, name, node

    def _replay(self, call: Call) -> None:
        replay = getattr(self, f"_{_ALIASES.get(call.name, call.name)}", None)
        if replay is not None:
            replay(call)
        elif any(self._root in argument for argument in call.arguments):
            raise NotImplementedError(call)

    def _at(self, call: Call, number: int) -> str:
        """The path of an argument; the argument before it may be the folder that it is relative to."""
        path = call.path(number)
        return path if path.startswith("/") else os.path.join(call.path(number - 1) if number else "", path)

    def _open(self, call: Call) -> None:
        flags = call.arguments[2 if call.name == "openat" else 1].split("|")
        place = self._find(self._at(call, 1 if call.name == "openat" else 0))
        if place is None:
            return
        folder, name, node = place
        if node is None and "O_CREAT" in flags:
            mode = call.number(len(call.arguments) - 1) & ~self._umask
            self._set(folder, name, call.end, self._new(call.end, b"", mode))
        elif node in self.contents and "O_TRUNC" in flags:
            self.contents[node].set(call.end, b"")

    def _write(self, call: Call) -> None:
        """Files here are written from their beginning on, or appended to: a test compares the outcome."""
        place = self._find(call.path(0)) if not call.path(0).endswith("(deleted)") else None
        if place is not None and place[2] is not None:
            slot = self.contents[place[2]]
            slot.set(call.end, slot.values[-1] + call.data(1)[: call.result])

    def _ftruncate(self, call: Call) -> None:
        """As some versions of filelock do to the file of a lock that they have got."""
        place = self._find(call.path(0))
        if place is not None and place[2] is not None:
            slot = self.contents[place[2]]
            slot.set(call.end, slot.values[-1][: call.number(1)])

    def _mkdir(self, call: Call) -> None:
        if place := self._find(call.path(0)):
            self._set(*place[:2], call.end, self._new(call.end, None, 0))

    def _rename(self, call: Call) -> None:
        source, target = self._find(call.path(0)), self._find(call.path(1))
        if source and target:
            self._set(*source[:2], call.end, None)
            self._set(*target[:2], call.end, source[2])

    def _link(self, call: Call) -> None:
        source, target = self._find(call.path(0)), self._find(call.path(1))
        if source and target:
            self._set(*target[:2], call.end, source[2])

    def _unlink(self, call: Call) -> None:
        if place := self._find(self._at(call, 1 if call.name == "unlinkat" else 0)):
            self._set(*place[:2], call.end, None)

    def _chmod(self, call: Call) -> None:
        if (place := self._find(call.path(0))) and place[2] in self._modes:
            self._modes[place[2]].set(call.end, call.number(1))

    def _fsync(self, call: Call) -> None:
        place = self._find(call.path(0))
        if place is None:
            return
        node = place[2]
        covered = list(self._folders[node].values()) if node in self._folders else [self.contents[node]]
        if call.name == "fsync" and node in self._modes:
            covered.append(self._modes[node])
        for slot in covered:
            slot.sync(call.begin, call.end)

    def _syncfs(self, call: Call) -> None:
        for slot in self._slots():
            slot.sync(call.begin, call.end)

    def _ioctl(self, call: Call) -> None:
        """Asks for a terminal's settings."""


_ALIASES = {
    "openat": "open",
    "rmdir": "unlink",
    "unlinkat": "unlink",
    "fchmod": "chmod",
    "fdatasync": "fsync",
}


def read_tree(root: Path) -> Tree:
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): File(path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in files
    }


def _pending(slots: Any, time: int) -> list[Slot]:
    """What is not decided yet."""
    return [slot for slot in slots if slot.floor(time) < slot.latest(time)]


def _choose(slot: Slot, time: int, keep: float, random: Random) -> Any:
    """The latest value with a probability of ``keep``, else any of the older ones."""
    floor, latest = slot.floor(time), slot.latest(time)
    return slot.values[latest if random.random() < keep else random.randrange(floor, latest)]


def _torn(slot: Slot, time: int, keep: float, random: Random) -> bytes:
    floor, latest = slot.floor(time), slot.latest(time)
    if random.random() < keep:
        return bytes(slot.values[latest])
    content: bytes = slot.values[random.randrange(floor, latest) + 1]
    sure = len(os.path.commonprefix(slot.values[floor : latest + 1]))  # noqa: RUF071  # of bytes
    until = random.choice((sure, random.randint(sure, max(sure, len(content)))))
    nuls = random.choice((0, max(0, len(content) - until)))
    return content[:until] + bytes(nuls)
