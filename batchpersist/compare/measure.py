"""Measures one batch in processes of its own: a supervisor, and below it an interpreter that runs it once.

A fresh interpreter, because imports, caches and the fork server of an earlier batch would favour a later
one. A supervisor above it, because only a parent learns how much processor time all of the batch's
processes took, and because someone must kill them when the measuring process dies. The three processes
share a folder: ``order.pickle`` has the sources and options, ``result.json`` what the batch returned,
``usage.json`` its processor time, ``stderr.txt`` what any of them printed.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..context import RunContext
from ..errors import BatchPersistError, ComparisonStoppedError, MeasurementError, failure_of
from ..processes import running_in_group
from ..system_limits import system_error_in

if TYPE_CHECKING:  # the supervisor imports this module for each batch: it has to start fast
    from ..metrics.schema import Metrics
    from ..options import BatchOptions

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
"""Between two questions whether to stop. It does not blur the figures: another process measures them."""

_START = "import sys; folder, sys.path[:] = sys.argv[1], sys.argv[2:]; from {} import {} as do; do(folder)"
"""Starts a function of this module in another interpreter, which finds modules where this one does."""


@dataclass(frozen=True)
class Measurement:
    """What one batch took."""

    wall: float
    """Seconds of ``run_batch``, in a process that has imported all it needs."""
    cpu_seconds: float
    """Of all its processes, from their start to their end."""
    metrics: Metrics

    def phases(self, workers: int) -> dict[str, float]:
        """Seconds by phase, summed over all workers; ``other`` has what the batch did beside persisting."""
        from msgspec.structs import asdict

        from ..metrics.build import seconds

        timing = self.metrics.timing
        phases, start = timing.phases, timing.pool_start
        pool = phases.pool + workers * start
        other = phases.other + max(0.0, self.wall - timing.settle - start)
        return asdict(phases) | {"pool": seconds(pool), "other": seconds(other)}


def measure(
    sources: Sequence[str], options: BatchOptions, folder: str, context: RunContext = RunContext()
) -> Measurement:
    """Run a batch in a fresh process; ``folder`` is for the files that the processes share.

    No process of the batch is left when this returns or raises. Raises MeasurementError where the
    batch ended without a result, and ComparisonStoppedError once ``context`` is stopping.
    """
    os.makedirs(folder, exist_ok=True)
    for name in ("result.json", "usage.json"):  # an earlier batch's would pass for this one's
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    with open(os.path.join(folder, "order.pickle"), "wb") as order:
        pickle.dump((list(sources), options), order)
    output = os.path.join(folder, "stderr.txt")
    with open(output, "wb") as stderr, _supervisor(folder, stderr.fileno()) as process:
        while True:
            try:
                process.wait(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if context.is_stopping:
                    raise ComparisonStoppedError from None
    return _read_measurement(folder, output)


@contextmanager
def _supervisor(folder: str, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The running supervisor, in a session of its own: Ctrl-C on the terminal reaches only this process."""
    process = subprocess.Popen(
        _command("supervise", folder),
        stdin=subprocess.PIPE,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def _read_measurement(folder: str, output: str) -> Measurement:
    import msgspec

    from ..metrics.schema import Metrics

    try:
        result, usage = (_read_json(os.path.join(folder, name)) for name in ("result.json", "usage.json"))
    except FileNotFoundError:
        raise MeasurementError(_last_line(output)) from None
    if "failure" in result:
        raise MeasurementError("{type}: {message} {detail}".format(**result["failure"]).rstrip())
    if result["defects"]:
        raise MeasurementError("a defect of this package; `batchpersist run` with the same options shows it")
    metrics = msgspec.convert(result["metrics"], Metrics)
    measurement = Measurement(wall=result["wall"], cpu_seconds=usage["cpu_seconds"], metrics=metrics)
    _log.debug("a batch took %.3f s, %.3f s of CPU", measurement.wall, measurement.cpu_seconds)
    return measurement


def _read_json(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        content: dict[str, Any] = json.load(file)
        return content


def _write_json(path: str, content: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="backslashreplace") as file:
        lines = file.read().split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it was killed")


def _command(function: str, folder: str) -> list[str]:
    """The words that run a function of this module on a folder in another process."""
    return [sys.executable, "-c", _START.format(__name__, function), folder, *sys.path]


def supervise(folder: str) -> None:
    """The supervisor: has ``run_order`` do the batch in another process, and leaves ``usage.json``.

    Its standard input is a pipe from the measuring process. When that is closed, on purpose or because
    that process died, all processes of the batch are killed: they are one group. Where the system
    refuses a process or a thread, the reason is the last line on standard error.
    """
    try:
        _supervise(folder)
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"{failure_of(system_error_in(error)).message}\n")


def _supervise(folder: str) -> None:
    batch = subprocess.Popen(_command("run_order", folder), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        threading.Thread(target=_kill_at_end_of_input, args=(batch.pid,), daemon=True).start()
        batch.wait()
    finally:
        _kill_group(batch.pid)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage = {"cpu_seconds": spent.ru_utime + spent.ru_stime}
    _write_json(os.path.join(folder, "usage.json"), usage)


def _kill_at_end_of_input(group: int) -> None:
    while os.read(0, 4096):
        pass
    _kill_group(group)


def _kill_group(group: int) -> None:
    """Kill what runs of a group of processes, and wait until none does."""
    while running_in_group(group):
        with suppress(ProcessLookupError, PermissionError):  # macOS denies it for zombies
            os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)


def run_order(folder: str) -> None:
    """The batch itself: runs what ``order.pickle`` in ``folder`` orders, and leaves ``result.json``."""
    import msgspec
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401  # importing is no part of the job

    from ..batch.run import run_batch
    from ..workers import stop_fork_server

    with open(os.path.join(folder, "order.pickle"), "rb") as order:
        sources, options = pickle.load(order)
    started = time.perf_counter()
    try:
        report = run_batch(sources, options)
    except (BatchPersistError, OSError) as error:
        result: dict[str, Any] = {"failure": failure_of(error)._asdict()}
    else:
        wall = time.perf_counter() - started
        result = {"wall": wall, "defects": report.defects, "metrics": msgspec.to_builtins(report.metrics)}
    stop_fork_server()  # so that its processor time, and the workers', counts as this process's children's
    _write_json(os.path.join(folder, "result.json"), result)
