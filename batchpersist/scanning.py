"""Driving the scan: parts of the sources go to the crew, their rows come back into one index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial

from .dispatch import in_order
from .executors import Crew, SerialExecutor
from .index import IndexBuilder
from .models import Event, Keys, Progress, RunFailure
from .scan import Reject, ScannedPart, scan_part
from .sources import Part


def scan_sources(
    parts: Iterable[Part],
    crew: Crew,
    keys: Keys,
    spool_dir: str,
    *,
    watch: Callable[[Event], None],
    stop: Callable[[], bool],
) -> IndexBuilder:
    """Scan all parts, several at once where the crew has a pool, and index them in source order.

    ``watch`` hears of the progress and of each invalid input; ``stop`` is asked before each
    part. Nothing is raised for bad content: that is a reject in the index.
    """
    builder = IndexBuilder()

    def submits() -> Iterator[Callable[[], Future[ScannedPart]]]:
        for part in parts:
            if stop():
                builder.cut_short = True
                return
            executor = SerialExecutor() if part.local else crew.executor(builder.rows)
            yield partial(executor.submit, scan_part, part, keys, spool_dir)

    for scanned in in_order(submits(), lambda: crew.in_flight(builder.rows)):
        for reject in builder.add(scanned):
            watch(_failure(reject))
        watch(Progress("scan", builder.totals.discovered, None, len(builder.rejects)))
    return builder


def _failure(reject: Reject) -> RunFailure:
    return RunFailure("input", reject.failure, reject.source, reject.line, "", "")
