"""One measured batch: real processes, which are all gone afterwards, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.engine import run

from batchpersist.compare.measure import measure
from batchpersist.context import RunContext
from batchpersist.errors import ComparisonStoppedError, MeasurementError
from batchpersist.metrics.schema import read_metrics
from batchpersist.options import BatchOptions


@pytest.fixture
def job(tmp_path: Path) -> BatchOptions:
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    return BatchOptions(out_dir=str(tmp_path / "out"), runs_dir=str(tmp_path / "runs"), pool_runs=0)


def endless(folder: Path) -> str:
    """A source that takes very many seconds with a commit for each run."""
    lines = (json.dumps(run("task", 0) | {"runId": f"r{n}", "notes": "x" * 2000}) for n in range(6_000))
    (folder / "many.jsonl").write_text("\n".join(lines))
    return str(folder / "many.jsonl")


def processes_naming(folder: Path) -> list[int]:
    """Processes whose command line, current folder or open files name a folder."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes()
            links = [os.readlink(f"/proc/{pid}/cwd")]
            links += [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if int(pid) != os.getpid() and (
            os.fsencode(folder) in words or any(str(folder) in link for link in links)
        ):
            found.append(int(pid))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_is_measured_with_all_its_processes(tmp_path: Path, job: BatchOptions, workers: int) -> None:
    options = BatchOptions(**{**vars(job), "workers": workers})
    begun = time.perf_counter()
    found = measure([str(tmp_path / "runs.jsonl")], options, str(tmp_path / "talk"))
    seconds = time.perf_counter() - begun
    assert found.metrics.counts.persisted == 9
    assert 0 < found.wall < seconds
    assert 0 < found.cpu_seconds < seconds * (os.cpu_count() or 1)
    assert found.metrics.bytes.manifests > 0
    assert found.metrics.timing.syncs > 0
    phases = found.phases(workers)
    assert set(phases) == {*("read", "parse", "lock_wait", "snapshot", "manifest", "sync", "pool", "other")}
    assert (phases["pool"] > found.metrics.timing.phases.pool) is (workers > 1), "the pool's start is in it"
    assert read_metrics(str(tmp_path / "out" / "metrics.json")) == found.metrics
    assert processes_naming(tmp_path) == []


def test_cpu_seconds_include_the_workers(tmp_path: Path, job: BatchOptions) -> None:
    """Two workers that each import the engine spend more than one process that does."""
    one, two = (
        measure(
            [str(tmp_path / "runs.jsonl")],
            BatchOptions(**{**vars(job), "workers": workers, "out_dir": f"{job.out_dir}{workers}"}),
            str(tmp_path / "talk"),
        )
        for workers in (1, 2)
    )
    assert two.cpu_seconds > one.cpu_seconds


def test_failure_of_the_batch_is_the_message(tmp_path: Path, job: BatchOptions) -> None:
    (tmp_path / "out").write_text("a file in the folder's place")
    with pytest.raises(MeasurementError, match=r"could not be measured: .*Error: \[E"):
        measure([str(tmp_path / "runs.jsonl")], job, str(tmp_path / "talk"))


def test_last_line_of_a_crashed_batch_is_the_message(tmp_path: Path, job: BatchOptions) -> None:
    with pytest.raises(MeasurementError, match="could not be measured: AttributeError"):
        measure([str(tmp_path / "runs.jsonl")], "no options", str(tmp_path / "talk"))  # type: ignore[arg-type]
    assert processes_naming(tmp_path) == []


def test_result_of_an_earlier_batch_is_not_read(tmp_path: Path, job: BatchOptions) -> None:
    source = [str(tmp_path / "runs.jsonl")]
    measure(source, job, str(tmp_path / "talk"))
    with pytest.raises(MeasurementError):
        measure(source, None, str(tmp_path / "talk"))  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_batch_is_killed_with_all_its_processes(
    tmp_path: Path, job: BatchOptions, workers: int
) -> None:
    options = BatchOptions(**{**vars(job), "workers": workers, "commit": "run"})
    source = endless(tmp_path)
    seen: list[int] = []

    def stop() -> bool:
        if not list(tmp_path.glob("runs/task/*/manifest.json")):
            return False
        seen[:] = processes_naming(tmp_path)
        return True

    with pytest.raises(ComparisonStoppedError):
        measure([source], options, str(tmp_path / "talk"), RunContext(should_stop=stop))
    assert len(seen) >= 2 * workers, "the supervisor, the batch, and its workers were there"
    assert processes_naming(tmp_path) == []


@pytest.fixture
def measuring(tmp_path: Path, job: BatchOptions) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process that measures, and waits until something is written."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        program = (
            "import sys; from batchpersist.compare.measure import measure;"
            "from batchpersist import BatchOptions;"
            "roots = dict(out_dir=sys.argv[2] + '/out', runs_dir=sys.argv[2] + '/runs');"
            "options = BatchOptions(**roots, commit='run', workers=2, pool_runs=0);"
            "measure([sys.argv[1]], options, sys.argv[2] + '/talk')"
        )
        command = [sys.executable, "-c", program, endless(tmp_path), str(tmp_path)]
        process = subprocess.Popen(command)
        started.append(process)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/task/*/manifest.json")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_batch_is_killed_when_the_measuring_process_dies(
    tmp_path: Path, measuring: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = measuring()
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while processes_naming(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_naming(tmp_path) == []
