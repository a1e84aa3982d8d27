"""Power loss: each state that a crash may leave keeps the promise (docs/reliability.md)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import pytest
from crashstates import Disk, Rules, Tree
from powercut import Promise, Recording, acknowledged, final, record_batch, rerun
from syscalls import Call

SYNCS = ("fsync", "fdatasync", "syncfs", "sync")
KINDS = {
    "batch-1": ("-j", "1", "--durability", "batch"),
    "batch-2": ("-j", "2", "--durability", "batch"),
    "file-2": ("-j", "2", "--durability", "file"),
    "none-1": ("-j", "1", "--durability", "none"),
    "fresh-file": ("-j", "1", "--durability", "file"),
    "existing-run-1": ("-j", "1", "--commit", "run"),
}
FULL_KINDS = {
    "fresh-batch": ("-j", "2", "--durability", "batch"),
    "file-1": ("-j", "1", "--durability", "file"),
    "none-2": ("-j", "2", "--durability", "none"),
    "run-1": ("-j", "1", "--commit", "run"),
    "sequential-2": ("-j", "2", "--pair", "sequential"),
    "existing-1": ("-j", "1", "--durability", "batch"),
    "existing-2": ("-j", "2", "--durability", "file"),
}


@pytest.fixture(scope="module")
def recordings(
    tool: Callable[[str], str], full: bool, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Recording]:
    strace, folder = tool("strace"), tmp_path_factory.mktemp("power")
    kinds = KINDS | FULL_KINDS if full else KINDS
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(
            lambda kind: record_batch(
                strace, folder / kind, *kinds[kind], fresh="fresh" in kind, existing="existing" in kind
            ),
            kinds,
        )
        return dict(zip(kinds, made, strict=True))


@dataclass
class Crashes:
    """The states after a power cut at each moment, and their violations."""

    states: int = 0
    different: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


def crash(recording: Recording, disk: Disk, rules: Rules, *, full: bool = False, enough: int = 5) -> Crashes:
    """Cut the power at each moment or every third, the last one first, until ``enough`` violations."""
    random, promise, found = Random(4), Promise(recording.world), Crashes()
    times = sorted([*disk.times, recording.end, recording.end + 1], reverse=True)
    for time in times if full else times[::3]:
        said = acknowledged(recording, disk, time)
        for tree in disk.states(time, rules, random, 40 if full else 2):
            found.states += 1
            found.different.add(hash(frozenset(tree.items())))
            found.violations += promise.violations(tree, said)
            if len(found.violations) >= enough:
                return found
    return found


def test_replayed_disk_equals_the_real_one(recordings: dict[str, Recording]) -> None:
    for recording in recordings.values():
        disk = recording.disk()
        assert disk.tree(disk.times[-1]) == recording.after
        assert (
            Promise(recording.world).violations(recording.after, acknowledged(recording, disk, 1 << 62)) == []
        )


@pytest.mark.parametrize("rules", Rules)
def test_power_loss_at_any_moment_loses_nothing(
    recordings: dict[str, Recording], rules: Rules, full: bool, tally: Callable[[str, int], None]
) -> None:
    different = 0
    for kind, recording in recordings.items():
        if kind.startswith("none") or kind == "fresh-file":
            continue
        found = crash(recording, _disk(kind, recording), rules, full=full)
        assert found.violations == [], kind
        different += len(found.different)
        tally(f"power loss, {rules.name} rules, all states", found.states)
        tally(f"power loss, {rules.name} rules, different states", len(found.different))
    assert different > (50_000 if full else 500)


@pytest.mark.parametrize(
    "rules",
    [
        Rules.JOURNAL,
        Rules.POSIX,
    ],
)
def test_power_loss_keeps_new_roots_with_durability_file(
    recordings: dict[str, Recording], rules: Rules
) -> None:
    recording = recordings["fresh-file"]
    assert crash(recording, _disk("file", recording), rules, enough=1).violations == []


def _disk(kind: str, recording: Recording) -> Disk:
    """Without syncfs for durability ``file``: there each file's own sync has to suffice."""
    return recording.disk(*["syncfs"] if "file" in kind else [])


def _data_syncs(calls: list[Call]) -> list[Call]:
    """Syncs of temporary files, and each last syncfs before a rename to a final name."""
    found, syncfs = [], None
    for call in calls:
        if call.name == "syncfs":
            syncfs = call
        elif call.name in SYNCS and ".tmp-" in call.arguments[0]:
            found.append(call)
        elif call.name == "rename" and call.path(1).endswith(("/manifest.json", "/runs.json")) and syncfs:
            found.append(syncfs)
            syncfs = None
    return found


def _name_syncs(calls: list[Call]) -> list[Call]:
    data = set(map(id, _data_syncs(calls)))
    return [call for call in calls if call.name in SYNCS and id(call) not in data]


def _all_syncs(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.name in SYNCS]


@pytest.mark.parametrize("left_out", [_all_syncs, _data_syncs, _name_syncs])
@pytest.mark.parametrize("rules", Rules)
@pytest.mark.parametrize("kind", ["batch-1", "batch-2", "file-2"])
def test_control_batch_without_its_syncs_loses_runs(
    recordings: dict[str, Recording], kind: str, rules: Rules, left_out: Callable[[list[Call]], list[Call]]
) -> None:
    recording = recordings[kind]
    gone = set(map(id, left_out(recording.calls)))
    assert gone
    calls = [call for call in recording.calls if id(call) not in gone]
    broken = Recording(recording.world, calls, recording.after, recording.umask)
    assert crash(broken, broken.disk(), rules, enough=1).violations


@pytest.mark.parametrize("rules", Rules)
def test_control_unsynced_existing_files_are_lost(recordings: dict[str, Recording], rules: Rules) -> None:
    recording = recordings["existing-run-1"]
    assert crash(recording, recording.disk(*SYNCS), rules, enough=1).violations


@pytest.mark.parametrize("rules", Rules)
def test_control_batch_without_durability_loses_runs(recordings: dict[str, Recording], rules: Rules) -> None:
    recording = recordings["none-1"]
    assert crash(recording, recording.disk(), rules, enough=1).violations


def test_rerun_after_power_loss_finishes_the_batch(recordings: dict[str, Recording], full: bool) -> None:
    """On states of the crash that are written to the disk."""
    recording = recordings["batch-2"]
    disk, random = recording.disk(), Random(11)
    for _ in range(60 if full else 2):
        time = random.choice([*disk.times, *disk.times[-20:] * 5])
        *_, state = disk.states(time, random.choice(list(Rules)), random, 1)
        assert _same(rerun(recording.world, state, "-j", "1"), final(recording.after))


def _same(one: Tree, other: Tree) -> bool:
    return {path: file.content for path, file in one.items()} == {
        path: file.content for path, file in other.items()
    }
