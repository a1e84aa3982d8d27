"""The process of a measured batch: a fresh interpreter that does the job once, and says how long it took."""

from __future__ import annotations

import json
import os
import pickle
from time import perf_counter

import msgspec

from ..batch.run import run_batch
from ..errors import BatchPersistError, failure_of
from ..workers import stop_fork_server


def main(folder: str) -> None:
    """Run the batch of ``order.pickle`` in ``folder``; leaves ``result.json`` there."""
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401  # importing is no part of the job

    with open(os.path.join(folder, "order.pickle"), "rb") as order:
        sources, options = pickle.load(order)
    begun = perf_counter()
    try:
        report = run_batch(sources, options)
    except (BatchPersistError, OSError) as error:
        result: dict[str, object] = {"failure": failure_of(error)._asdict()}
    else:
        wall = perf_counter() - begun
        result = {"wall": wall, "defects": report.defects, "metrics": msgspec.to_builtins(report.metrics)}
    stop_fork_server()  # so that its processor time, and the workers', counts as this process's children's
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)
