"""The one entry to a comparison: the same job in several ways, in turns, each below roots of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .. import __version__
from ..errors import ComparisonStoppedError, MeasurementError
from ..files.syncfs import syncfs
from ..layout import Layout
from ..models import Event, Progress
from ..moments import utc_text
from ..sources import discover
from ..sources.discover import STANDARD_INPUT
from .advice import advise
from .document import SCHEMA_VERSION, variant_figures
from .histories import copy_histories
from .host import describe_host
from .measuring import Measurement, measure
from .options import CompareOptions, Roots
from .proof import Proof
from .sampling import Sample, choose_sample, duration
from .scratch import place_beside, remove, scratch_folder
from .survey import Survey, survey
from .variants import Variant, turns

Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    document: dict[str, Any]
    """The content of compare.json (docs/compare.md)."""
    scratch: str | None
    """The folder that was kept, where that was asked for."""

    @property
    def exit_code(self) -> int:
        """5 where the trees differ, else 3 where runs failed or were invalid, else 0."""
        if not self.document["proof"]["equal"]:
            return 5
        counts = [variant["counts"] for variant in self.document["variants"]]
        return 3 if any(count["failed"] or count["invalid"] for count in counts) else 0


def compare_batches(
    sources: Sequence[str],
    options: CompareOptions = CompareOptions(),
    *,
    watch: Watch = lambda _event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Persist the runs in ``sources`` in several ways, and compare what that takes and what it writes.

    Every batch is ``run_batch`` in a fresh process, below roots of its own in a scratch folder, where
    it finds a copy of the histories of its tasks. The real roots are read only; no lock is taken
    there, so a live orchestrator and a batch may go on. ``watch`` hears of progress in the calling
    thread. ``stop`` is asked all the time: once it is true the batch under way is killed, and
    ComparisonStoppedError raised.

    Raises SourceMissingError and UsageError before anything is done, MeasurementError where a batch
    came to no result or the sources were changed meanwhile, and OSError. Whatever is raised, the
    scratch folder and all processes are gone; after a kill the next comparison there removes it.
    """
    discover(sources)
    parent = options.scratch or place_beside(options.runs_dir)
    with scratch_folder(parent, keep=options.keep_scratch) as scratch:
        return _Comparing(sources, options, scratch, watch, stop).run()


class _Comparing:
    """One comparison on its way."""

    def __init__(
        self,
        sources: Sequence[str],
        options: CompareOptions,
        scratch: str,
        watch: Watch,
        stop: Callable[[], bool],
    ) -> None:
        self._named = sources
        self._sources = sources
        self._options = options
        self._scratch = scratch
        self._watch = watch
        self._stop = stop
        self._started = perf_counter()
        self._started_at = utc_text()
        self._real = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
        self._before = self._place("before")
        self._talk = self._place("talk")
        self._proof = Proof(self._place("reference"))
        self._rows = 0
        self._measured: dict[Variant, list[Measurement]] = {}

    def run(self) -> Comparison:
        options = self._options
        for folder in (self._before, self._talk, self._place("spool")):
            os.mkdir(folder)
        self._sources = self._at_rest()
        found = survey(self._sources, options, self._place("spool"), watch=self._watch, stop=self._stop)
        sample = self._sample(found)
        self._freeze(found, sample.rows)
        shortened = self._measure_rounds()
        return Comparison(
            self._document(found, sample, shortened), self._scratch if options.keep_scratch else None
        )

    def _place(self, name: str) -> str:
        return os.path.join(self._scratch, name)

    def _left(self) -> float:
        return self._options.max_time - (perf_counter() - self._started)

    def _at_rest(self) -> list[str]:
        """The sources; standard input, which can be read but once, as a file."""
        if STANDARD_INPUT not in self._named:
            return list(self._named)
        path = self._place("stdin.jsonl")
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        return [path if source == STANDARD_INPUT else source for source in self._named]

    def _sample(self, found: Survey) -> Sample:
        trials = 0

        def trial(variant: Variant, rows: int) -> float:
            nonlocal trials
            begun = perf_counter()
            self._freeze(found, rows)
            self._do(variant)
            remove(self._place(variant.name))
            trials += 1
            self._watch(Progress("try", trials, None, 0))
            return perf_counter() - begun

        rounds = self._options.warmup + self._options.rounds
        costs = {variant: found.cost(variant) for variant in self._options.variants}
        return choose_sample(found.rows, costs, rounds, trial=trial, left=self._left)

    def _freeze(self, found: Survey, rows: int) -> None:
        """Copy what stands of the first ``rows``: all rounds find the same, whatever is written meanwhile."""
        if rows == self._rows:
            return
        self._rows = rows
        remove(self._before)
        os.mkdir(self._before)
        plan = found.plan(rows).rows
        copy = Layout(os.path.join(self._before, "out"), os.path.join(self._before, "runs"))
        tasks, runs = (plan[name].to_pylist() for name in ("task_id", "run_id"))
        copy_histories(self._real, copy, dict.fromkeys(tasks), zip(tasks, runs, strict=True))

    def _measure_rounds(self) -> str | None:
        """Measure all rounds; why there were less, if there were."""
        options, longest = self._options, 0.0
        self._measured = {variant: [] for variant in options.variants}
        total = (options.warmup + options.rounds) * len(options.variants)
        done = 0
        for number, turn in enumerate(turns(options.variants, options.warmup + options.rounds)):
            measured = number - options.warmup
            if measured > 0 and self._left() < longest:
                return f"a further one would not have fitted into {duration(options.max_time)}"
            begun = perf_counter()
            for variant in turn:
                measurement = self._do(variant)
                self._proof.check(self._place(variant.name), variant.name, number)
                if measured >= 0:
                    self._measured[variant].append(measurement)
                if not options.keep_scratch:
                    remove(self._place(variant.name))
                done += 1
                self._watch(Progress("measure", done, total, 0))
            longest = max(longest, perf_counter() - begun)
        return None

    def _do(self, variant: Variant) -> Measurement:
        """Have a batch do the job in a variant's way; its tree stays at the variant's place."""
        if self._stop():
            raise ComparisonStoppedError
        root = self._place(variant.name)
        remove(root)
        shutil.copytree(self._before, root, symlinks=True)
        roots = Roots(
            os.path.join(root, "out"), os.path.join(root, "runs"), os.path.join(self._talk, "metrics.json")
        )
        self._settle_disk()
        options = self._options.batch_options(variant, roots, limit=self._rows)
        measurement = measure(self._sources, options, self._talk, self._stop)
        counts = measurement.counts
        if counts["selected"] + counts["superseded"] != self._rows:
            raise MeasurementError("the sources were changed while they were compared")
        return measurement

    def _settle_disk(self) -> None:
        """So that no batch pays for what another one left to be written."""
        fd = os.open(self._scratch, os.O_RDONLY | os.O_DIRECTORY)
        try:
            syncfs(fd, self._scratch)
        finally:
            os.close(fd)

    def _document(self, found: Survey, sample: Sample, shortened: str | None) -> dict[str, Any]:
        options, plan = self._options, found.plan(sample.rows)
        host = describe_host(self._scratch)
        variants = variant_figures(self._measured, options.seed)
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "version": __version__,
            "started_at": self._started_at,
            "finished_at": utc_text(),
            "config": options.as_config(self._named),
            "host": host,
            "sample": {
                "runs": plan.selected,
                "tasks": plan.tasks,
                "bytes": plan.size,
                "available": found.runs,
                "reduced": sample.reason is not None,
                "reason": sample.reason,
            },
            "rounds": {
                "measured": len(variants[0]["walls"]),
                "reduced": shortened is not None,
                "reason": shortened,
            },
            "variants": variants,
            "proof": self._proof.as_dict(),
            "advice": advise(variants, cpus=host["cpus"], seed=options.seed),
        }
