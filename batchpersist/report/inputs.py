"""Finds and reads what a report shows: a batch's folder, a metrics file, an outcome table, a comparison."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..batch.status import BatchStatus, status_of
from ..compare.document import Comparison
from ..errors import BatchMissingError, UsageError
from ..metrics.schema import Metrics, read_metrics
from ..paths import Layout
from ..records.batch_folder import LATEST, BatchFolder, find_batch

_log = logging.getLogger(__name__)


@dataclass
class BatchInputs:
    """The files of a batch; None: it does not exist."""

    status: BatchStatus | None = None
    """None where the batch's folder was not found."""
    metrics: Metrics | None = None
    outcomes: str | None = None
    """Path of the outcome table."""
    rejects: str | None = None
    shards: str | None = None
    searched_roots: tuple[str, ...] = ()
    """Runs roots without a folder of the batch, where only its metrics were found."""

    @property
    def note(self) -> str | None:
        """What is missing, and what helps, where only the metrics were found."""
        if self.metrics is None or self.outcomes is not None:
            return None
        note = "Only the metrics are there: the failed runs, and the course of the work, are missing."
        if not self.searched_roots:
            return note
        places = " or ".join(self.searched_roots)
        return f"{note} The batch's folder is not below {places}; --runs-dir names its runs root."

    @property
    def layout(self) -> Layout | None:
        """The root, where that is known."""
        if self.status is None:
            return None
        return replace(_layout_of(self.status.folder), shard=self.status.record.shard)


def find_inputs(what: str, layout: Layout) -> BatchInputs | Comparison:
    """Find what to report: ``latest``, a batch id or the beginning of one, or a path.

    The path of a batch's folder, or of any file in it, means the batch. So does that of a metrics.json
    elsewhere, if the runs root of ``layout``, or the one that the document names, still has the batch's
    folder. Other paths: an outcome table, a comparison. Raises BatchMissingError where nothing is found,
    UsageError where a file is none of these (with what is wrong in it), OSError.
    """
    if what != LATEST and os.path.exists(what):
        return _from_path(what, layout)
    if os.sep in what or what.endswith((".json", ".parquet")):
        raise BatchMissingError(f"there is no {what}")
    return _from_folder(find_batch(layout, what))


def _from_path(path: str, layout: Layout) -> BatchInputs | Comparison:
    if os.path.isdir(path):
        folder = BatchFolder(os.path.abspath(path))
        if not os.path.isfile(os.path.join(path, "batch.json")):
            raise UsageError(f"not the folder of a batch, for there is no batch.json in it: {path}")
        return _from_folder(folder)
    beside = BatchFolder(os.path.dirname(os.path.abspath(path)))
    if os.path.isfile(os.path.join(beside.path, "batch.json")):
        return _from_folder(beside)
    if path.endswith(".parquet"):
        return BatchInputs(outcomes=path)
    metrics = _read(path)
    if isinstance(metrics, Comparison):
        return metrics
    roots = tuple(dict.fromkeys((layout.runs_dir, *_named_roots(metrics, path))))
    for root in roots:
        kept = BatchFolder(Layout("", root).batch(metrics.batch_id))
        if os.path.isfile(kept.metrics):
            return _from_folder(kept)
        _log.debug("%s: no folder of batch %s below %s", path, metrics.batch_id, root)
    return BatchInputs(metrics=metrics, searched_roots=roots)


def _named_roots(metrics: Metrics, path: str) -> Iterator[str]:
    """Where the runs root may be that the document at ``path`` names.

    A relative name is relative to the folder in which the batch was started: where the document still is
    at the path to which it was written, that folder follows from it. Else it may be the current one.
    """
    named, written, path = (
        metrics.config.get("runs_dir"),
        metrics.config.get("metrics"),
        os.path.abspath(path),
    )
    if not isinstance(named, str):
        return
    if isinstance(written, str) and path.endswith(os.sep + os.path.normpath(written)):
        yield os.path.join(path.removesuffix(os.path.normpath(written)), named)
    yield os.path.abspath(named)


def _from_folder(folder: BatchFolder) -> BatchInputs:
    ended = os.path.isfile(folder.metrics)
    status = status_of(_layout_of(folder), folder)
    if not ended or status.state in ("running", "killed"):
        _log.debug("%s: %s, so only its journal is reported", folder.path, status.state)
        return BatchInputs(status)  # files of an earlier part describe only that part
    return BatchInputs(
        status,
        read_metrics(folder.metrics),
        _if_file(folder.outcomes),
        _if_file(folder.rejects),
        _if_file(folder.shards),
    )


def _layout_of(folder: BatchFolder) -> Layout:
    """The root that a batch's folder is in."""
    return Layout("", str(Path(folder.path).parents[2]))


def _if_file(path: str) -> str | None:
    return path if os.path.isfile(path) else None


def _read(path: str) -> Metrics | Comparison:
    try:
        # By Python's decoder: a file name that is not UTF-8 leaves lone surrogates, which msgspec's refuses.
        document = json.loads(Path(path).read_bytes())
        if isinstance(document, dict) and document.get("kind") == "comparison":
            return msgspec.convert(document, Comparison)
        return msgspec.convert(document, Metrics)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"neither a batch's metrics nor a comparison: {path}: {error}") from None
