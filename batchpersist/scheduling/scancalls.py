"""The scan of a part as a call that a crew makes, and makes again where its worker dies."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ..context import RunContext
from ..errors import WorkerDiedError, failure_of
from ..ingest.scan import Reject, ScannedPart, Tally, scan_part
from ..models import Keys
from ..sources import Part
from .crew import Crew
from .dispatch import LOST
from .executors import SerialExecutor


@dataclass(frozen=True)
class ScanCall:
    """Starts the scan of a part, and can start it again."""

    crew: Crew
    keys: Keys
    spool_dir: str
    context: RunContext
    """Where it is stopping, the call of a part that is read in this process raises ScanStoppedError."""
    runs: int
    """Known so far: whether a pool pays."""
    part: Part

    def __call__(self) -> Future[ScannedPart]:
        """A part may take long in this process: a file that is decompressed, or what others decide about."""
        what = self.part, self.keys, self.spool_dir
        if self.part.local or not self.crew.is_parallel(self.runs):
            return SerialExecutor().submit(scan_part, *what, self.context.check)
        return self.crew.submit(self.runs, scan_part, *what)


def scan_again(call: Callable[[], Future[ScannedPart]]) -> ScannedPart:
    """Scan a part again, alone on a new pool; one that kills its worker again is given up, and told."""
    assert isinstance(call, ScanCall), "what is in the cache is taken from it in this process"
    try:
        if call.crew.replace_pool():
            return call().result()
    except LOST:
        call.crew.replace_pool()
    died = failure_of(WorkerDiedError("worker died while reading"))
    rejects = [Reject(piece.name, 0, died) for piece in call.part.pieces]
    return ScannedPart(rejects=[*call.part.rejects, *rejects], tallies=[Tally(0, 1, 0, 0, 0)] * len(rejects))
