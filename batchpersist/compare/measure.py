"""Measures one batch in processes of its own."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import asdict

from ..context import RunContext
from ..errors import ComparisonStoppedError, MeasurementError
from ..metrics.build import seconds
from ..metrics.schema import Metrics
from ..options import BatchOptions
from . import supervisor

_POLL_SECONDS = 0.05
"""Between two questions whether to stop; what is measured is measured elsewhere."""


@dataclass(frozen=True)
class Measurement:
    """What one batch took."""

    wall: float
    """Seconds of ``run_batch``, in a process that has imported all it needs."""
    cpu_seconds: float
    """Of all its processes, from their start to their end."""
    metrics: Metrics

    def phases(self, workers: int) -> dict[str, float]:
        """Seconds by phase, summed over all workers; ``other`` has what the batch did beside settling."""
        timing = self.metrics.timing
        phases, start = timing.phases, timing.pool_start
        pool = phases.pool + workers * start
        other = phases.other + max(0.0, self.wall - timing.settle - start)
        return asdict(phases) | {"pool": seconds(pool), "other": seconds(other)}


def measure(
    sources: Sequence[str], options: BatchOptions, folder: str, context: RunContext = RunContext()
) -> Measurement:
    """Run a batch in a fresh process; ``folder`` is for what is said between the two.

    No process of the batch is left when this returns or raises. Raises MeasurementError where the
    batch ended without a result, and ComparisonStoppedError once ``context`` is stopping.
    """
    os.makedirs(folder, exist_ok=True)
    for name in ("result.json", "usage.json"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    with open(os.path.join(folder, "order.pickle"), "wb") as order:
        pickle.dump((list(sources), options), order)
    complaints = os.path.join(folder, "stderr.txt")
    with open(complaints, "wb") as stderr, _supervised(folder, stderr.fileno()) as process:
        while True:
            try:
                process.wait(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if context.is_stopping:
                    raise ComparisonStoppedError from None
    return _measurement(folder, complaints)


@contextmanager
def _supervised(folder: str, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The supervisor, in a session of its own: what is typed on the terminal is for us alone."""
    process = subprocess.Popen(
        supervisor.command("supervisor", folder),
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


def _measurement(folder: str, complaints: str) -> Measurement:
    try:
        result, usage = (_read(os.path.join(folder, name)) for name in ("result.json", "usage.json"))
    except FileNotFoundError:
        raise MeasurementError(_last_line(complaints)) from None
    if "failure" in result:
        raise MeasurementError("{type}: {message} {detail}".format(**result["failure"]).rstrip())
    if result["defects"]:
        raise MeasurementError("a defect of this package; `batchpersist run` with the same options shows it")
    metrics = msgspec.convert(result["metrics"], Metrics)
    return Measurement(wall=result["wall"], cpu_seconds=usage["cpu_seconds"], metrics=metrics)


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        content: dict[str, Any] = json.load(file)
        return content


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="backslashreplace") as file:
        lines = file.read().split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it was killed")
