"""A batch beside live orchestrators: no update of either is lost, and no live lock is broken.

They are the published package (``orchestrator.mjs``), with its own lock or with that of newer versions.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.model import Run, persist, stringify
from support.processes import dead_pid

HERE = Path(__file__).parent
ORCHESTRATOR = HERE.parent / "support" / "orchestrator.mjs"
GENERATIONS = {"published": (), "owner-records": ("--owner-records",)}
TASKS = ["billing", "search", "mail"]
Tally = Callable[[str, int], None]
Pair = tuple[str, str]


def make_run(task: str, source: str, number: int) -> Run:
    """A run with a unique time: there is one right order, and it is not that of arrival."""
    minute = number * 7 % 60
    unique = sum(map(ord, source)) % 100
    return {
        "taskId": task,
        "runId": f"{source}-{number:04d}",
        "timestamp": f"2026-01-01T{number // 60 % 24:02d}:{minute:02d}:{unique:02d}.{TASKS.index(task):03d}Z",
        "notes": f"{source} " * 20,
    }


@dataclass
class Place:
    """Two roots with some history, and a source for a batch."""

    folder: Path
    history: list[Run] = field(default_factory=list)
    arrivals: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out, self.runs = self.folder / "out", self.folder / "runs"
        persist(self.history, self.out, self.runs)
        self.runs.mkdir(parents=True, exist_ok=True)
        (self.folder / "source.jsonl").write_text("".join(json.dumps(run) + "\n" for run in self.arrivals))

    def batch(self, *words: str, variant: str | None = None) -> subprocess.Popen[str]:
        program = [str(HERE / "broken.py"), variant] if variant else ["-m", "batchpersist"]
        roots = ["--out-dir", str(self.out), "--runs-dir", str(self.runs)]
        command = [
            sys.executable,
            *program,
            "run",
            str(self.folder / "source.jsonl"),
            *roots,
            "--json",
            *words,
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def orchestrator(self, package: Path, *words: str) -> subprocess.Popen[str]:
        command = ["node", str(ORCHESTRATOR), str(package), str(self.out), str(self.runs), *words]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def snapshots(self) -> dict[str, str]:
        return {path.parent.name: path.read_text("utf-8") for path in self.out.glob("*/runs.json")}

    def locks(self) -> list[str]:
        return sorted(path.name for path in self.runs.iterdir() if ".lock" in path.name)


@dataclass
class Records:
    """What the batch and the orchestrators report about their runs."""

    metrics: dict[str, Any]
    locked: set[Pair]
    """Runs of the batch."""
    reports: list[dict[str, Any]]
    sent: list[Run]
    """Runs for the orchestrators."""

    @property
    def recorded(self) -> set[Pair]:
        return {(task, run) for report in self.reports for task, run, _ in report["recorded"]}

    @property
    def locked_out(self) -> list[list[str]]:
        return [pair for report in self.reports for pair in report["lockedOut"]]


def contend(
    place: Place, package: Path, generation: str, orchestrators: int, *words: str, variant: str | None = None
) -> Records:
    """A batch, and orchestrators that record runs into its tasks for as long as it runs."""
    peers = [place.orchestrator(package, *GENERATIONS[generation]) for _ in range(orchestrators)]
    sent: list[Run] = []
    ended = threading.Event()

    def feed(number: int) -> None:
        stdin = peers[number].stdin
        assert stdin is not None
        count = 0
        while not ended.is_set() or not count:
            run = make_run(TASKS[(count + number) % len(TASKS)], f"peer{number}", count)
            sent.append(run)  # list.append is atomic
            stdin.write(json.dumps(run) + "\n")
            stdin.flush()
            count += 1
            time.sleep(0.02)
        stdin.close()

    feeders = [threading.Thread(target=feed, args=(number,)) for number in range(orchestrators)]
    for feeder in feeders:
        feeder.start()
    while not all(list(place.runs.glob(f"*/peer{number}-*")) for number in range(orchestrators)):
        time.sleep(0.005)  # each orchestrator has recorded a run before the batch begins
    batch = place.batch(*words, variant=variant)
    assert batch.stdout is not None
    with batch.stdout as stdout:
        events = [json.loads(line) for line in stdout]
    assert batch.wait(timeout=300) in (0, 3), events
    ended.set()
    for feeder in feeders:
        feeder.join()
    return Records(
        metrics=json.loads((place.out / "metrics.json").read_bytes()),
        locked={
            (event["task_id"], event["run_id"])
            for event in events
            if event["message_type"] == "error" and event["type"] == "TaskStateLockError"
        },
        reports=[report_of(peer) for peer in peers],
        sent=sent,
    )


def report_of(peer: subprocess.Popen[str]) -> dict[str, Any]:
    assert peer.stdout is not None
    with peer.stdout as stdout:
        text = stdout.read()
    assert peer.wait(timeout=300) == 0
    report = json.loads(text)
    assert isinstance(report, dict)
    return report


def expected_snapshots(runs: Iterable[Run]) -> dict[str, str]:
    by_task: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run["timestamp"]):
        by_task.setdefault(run["taskId"], []).append(run)
    return {
        task: stringify({"taskId": task, "lastRunAt": entries[-1]["timestamp"], "runs": entries})
        for task, entries in by_task.items()
    }


def contents(place: Place, records: Records) -> dict[str, str]:
    """The snapshots as they must be now: what was there and what either side did not report as locked out."""
    by_batch = [run for run in place.arrivals if (run["taskId"], run["runId"]) not in records.locked]
    by_peers = [run for run in records.sent if (run["taskId"], run["runId"]) in records.recorded]
    return expected_snapshots([*place.history, *by_batch, *by_peers])


def busy_place(folder: Path, runs: int) -> Place:
    return Place(
        folder,
        history=[make_run(task, "before", number) for task in TASKS for number in range(5)],
        arrivals=[make_run(TASKS[number % len(TASKS)], "batch", number) for number in range(runs)],
    )


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    "words",
    [
        ("-j", "2", "--pool-threshold", "0"),
        ("-j", "2", "--pool-threshold", "0", "--commit", "run"),
        ("-j", "1", "--commit", "run", "--durability", "none"),
    ],
    ids=" ".join,
)
def test_batch_and_orchestrators_keep_all_updates(
    tmp_path: Path,
    orchestrator_package: Path,
    full: bool,
    tally: Tally,
    words: tuple[str, ...],
    generation: str,
) -> None:
    rounds, runs, orchestrators = (15, 300, 6) if full else (1, 60, 3)
    during = 0
    for number in range(rounds + 9):
        if number >= rounds and during:  # on a busy machine the short form may need another round
            break
        place = busy_place(tmp_path / str(number), runs)
        records = contend(place, orchestrator_package, generation, orchestrators, *words)
        assert place.snapshots() == contents(place, records)
        assert records.metrics["counts"]["snapshot_locked"] == len(records.locked)
        assert len(records.recorded) + len(records.locked_out) == len(records.sent)
        assert [report["broken"] for report in records.reports] == [[]] * orchestrators
        assert place.locks() == []
        for run in [*place.arrivals, *records.sent]:
            manifest = place.runs / run["taskId"] / run["runId"] / "manifest.json"
            assert manifest.read_text("utf-8") == stringify(run)
        began, ended = records.metrics["started_at"], records.metrics["finished_at"]
        meanwhile = [
            when for report in records.reports for _, _, when in report["recorded"] if began < when < ended
        ]
        during += len(meanwhile)
        tally(f"{generation} orchestrators: their updates during a batch", len(meanwhile))
        tally(f"{generation} orchestrators: their updates in all", len(records.recorded))
        tally(f"{generation} orchestrators: their lock-outs", len(records.locked_out))
        tally(f"{generation} orchestrators: the batches' updates", runs - len(records.locked))
        tally(f"{generation} orchestrators: the batches' lock-outs", len(records.locked))
    assert during, "nothing was recorded while the batch ran"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_control_batch_without_lock_loses_updates(
    tmp_path: Path, orchestrator_package: Path, generation: str
) -> None:
    place = busy_place(tmp_path, 60)
    words = ("-j", "1", "--commit", "run")
    records = contend(place, orchestrator_package, generation, 3, *words, variant="lockless")
    assert place.snapshots() != contents(place, records)


@pytest.mark.parametrize("variant", [None, "breaks-locks"])
def test_live_lock_is_kept_at_any_age(
    tmp_path: Path, orchestrator_package: Path, variant: str | None
) -> None:
    place = Place(tmp_path, arrivals=[make_run("mail", "batch", 1)])
    peer = place.orchestrator(orchestrator_package, "--owner-records", "--hold")
    assert peer.stdin is not None
    peer.stdin.write(json.dumps(make_run("mail", "peer", 1)) + "\n")
    peer.stdin.flush()
    lock = place.runs / "mail.lock"
    deadline = time.monotonic() + 120
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.utime(lock, (0, 0))
    batch = place.batch("-j", "1", "--lock-stale", "1", "--lock-attempts", "2", variant=variant)
    batch.communicate(timeout=300)
    peer.stdin.close()
    broken = report_of(peer)["broken"]
    if variant:
        assert broken == ["mail"], "the control broke nothing"
        return
    assert broken == []
    assert batch.returncode == 3
    counts = json.loads((place.out / "metrics.json").read_bytes())["counts"]
    assert (counts["failed"], counts["snapshot_locked"]) == (1, 1)
    assert place.snapshots() == expected_snapshots([make_run("mail", "peer", 1)])


def owner(pid: int, host: str, acquired_at: str) -> bytes:
    record = {"schema_version": 1, "kind": "codex-lock-owner", "token": "t", "task_id": "x"}
    record |= {"pid": pid, "host": host, "acquired_at": acquired_at, "stale_ms": 300_000}
    return json.dumps(record).encode() + b"\n"


def locks_of_all_kinds() -> dict[str, tuple[bytes, bool, bool]]:
    """Content, whether it is old, and whether it may be broken."""
    here, dead, now = socket.gethostname(), dead_pid(), "2099-01-01T00:00:00.000Z"
    return {
        "dead-old": (owner(dead, here, now), True, True),
        "dead-young": (owner(dead, here, now), False, False),
        "alive-old": (owner(os.getpid(), here, now), True, False),
        "pid-reused-old": (owner(os.getpid(), here, "2001-01-01T00:00:00.000Z"), True, True),
        "pid-reused-young": (owner(os.getpid(), here, "2001-01-01T00:00:00.000Z"), False, False),
        "elsewhere-old": (owner(dead, "another-host", now), True, False),
        "garbage-old": (b"\xff\x00 no record", True, True),
        "garbage-young": (b"\xff\x00 no record", False, False),
        "empty-old": (b"", True, True),
        "empty-young": (b"", False, False),
        "torn-old": (owner(dead, here, now)[:40], True, True),
        "torn-young": (owner(dead, here, now)[:40], False, False),
    }


@pytest.mark.parametrize("suffix", [".lock", ".lock.acquire"])
@pytest.mark.parametrize("program", ["batch", *GENERATIONS])
def test_only_stale_locks_are_broken(
    tmp_path: Path, orchestrator_package: Path, program: str, suffix: str
) -> None:
    kinds = locks_of_all_kinds()
    runs = [{"taskId": kind, "runId": "r", "timestamp": "2026-01-01"} for kind in kinds]
    place = Place(tmp_path, arrivals=runs)
    for kind, (content, old, _) in kinds.items():
        (place.runs / (kind + suffix)).write_bytes(content)
        if old:
            long_ago = time.time() - 301
            os.utime(place.runs / (kind + suffix), (long_ago, long_ago))
    if program == "batch":
        stdout, _ = place.batch("-j", "1", "--lock-attempts", "1").communicate(timeout=300)
        events = [json.loads(line) for line in stdout.splitlines()]
        locked = {event["task_id"] for event in events if event["message_type"] == "error"}
        counted = json.loads((place.out / "metrics.json").read_bytes())["counts"]["snapshot_locked"]
        assert counted == len(locked)
    else:
        peer = place.orchestrator(orchestrator_package, *GENERATIONS[program], "--attempts", "2")
        assert peer.stdin is not None
        peer.stdin.write("".join(json.dumps(run) + "\n" for run in runs))
        peer.stdin.close()
        locked = {task for task, _ in report_of(peer)["lockedOut"]}
    kept = {kind for kind, (_, _, may_break) in kinds.items() if not may_break}
    respected = kept
    if program == "published":  # it clears by age alone, and knows no gate
        respected = {kind for kind, (_, old, _) in kinds.items() if not old} if suffix == ".lock" else set()
        kept = respected if suffix == ".lock" else set(kinds)
    assert locked == respected
    assert set(place.snapshots()) == kinds.keys() - respected
    assert place.locks() == sorted(kind + suffix for kind in kept)
    assert all((place.runs / (kind + suffix)).read_bytes() == kinds[kind][0] for kind in kept)
