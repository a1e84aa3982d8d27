"""A batch in Prometheus' text format, with counters that continue from one batch to the next.

Names follow https://prometheus.io/docs/practices/naming/. What is cumulative by nature (runs, bytes,
durations) is a counter or a histogram, what is true of the last batch a gauge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..context import ShouldStop, never_stop
from ..errors import UsageError, require
from ..storage.result_files import check_output, is_stream, write_output

if TYPE_CHECKING:
    import pyarrow as pa
    from prometheus_client import Metric

SERIES = ("snapshot", "manifest", "pair", "sum")
ATTEMPTED = ("persisted", "unchanged", "failed")
COLUMNS = ("status", "snapshot_seconds", "manifest_seconds", "pair_seconds")
"""Of the outcome table (docs/metrics.md): those that are needed here."""


class Distribution:
    """Counts the attempted runs of an outcome table that took at most as long as each bound.

    ``bounds``: seconds, ascending. Takes the table in pieces; what it holds does not grow with them.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = {name: [0] * len(bounds) for name in SERIES}
        """For each series and bound."""
        self.totals = dict.fromkeys(SERIES, 0)
        """Runs that have such a time."""
        self.seconds = dict.fromkeys(SERIES, 0.0)
        """Of all of them together."""

    def add(self, rows: pa.Table) -> None:
        """Take in rows of the outcome table: those of ``COLUMNS``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        status = rows["status"].cast(pa.string())
        rows = rows.filter(pc.is_in(status, value_set=pa.array(ATTEMPTED)))
        sides = {name: rows[f"{name}_seconds"] for name in SERIES[:3]}
        sides["sum"] = pc.add(*(pc.fill_null(sides[name], 0.0) for name in SERIES[:2]))
        for name, values in sides.items():
            self._count(name, values)

    def _count(self, name: str, values: Any) -> None:
        import pyarrow.compute as pc

        self.totals[name] += len(values) - values.null_count
        self.seconds[name] += pc.sum(values).as_py() or 0.0
        counts = self.counts[name]
        for place, bound in enumerate(self.bounds):
            counts[place] += pc.sum(pc.less_equal(values, bound)).as_py() or 0


BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""

OUTCOMES = (
    "persisted",
    "unchanged",
    "failed",
    "not_attempted",
    "superseded",
    "filtered",
    "other_shards",
    "invalid",
)
"""Of ``counts`` in the metrics: those that add up to ``discovered``."""

Key = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and its labels."""

Sample = tuple[str, dict[str, str], float]
"""A sample's name, the labels that distinguish it within its family, and its value."""

PREFIX = "batchpersist"
_RUNS = f"{PREFIX}_last_batch_runs"
_START = f"{PREFIX}_last_batch_start_timestamp_seconds"
_DURATIONS = {
    "snapshot": "Seconds of the commit that carried a run.",
    "manifest": "Seconds of a run's manifest.",
    "pair": "Seconds of a run's pair: its slower side, where both start together.",
}


@dataclass
class Figures:
    """The figures of one batch. Moments are seconds since the epoch."""

    root: Mapping[str, str]
    """Labels that distinguish the figures of several roots on the same host."""
    started: float
    finished: float
    seconds: float
    """Of this part of the batch, by a clock that is never set back."""
    success: bool
    """It ended with exit code 0."""
    counts: Mapping[str, int]
    bytes: Mapping[str, int]
    durations: Distribution = field(default_factory=lambda: Distribution(BUCKETS))


def expose(figures: Figures, before: Mapping[Key, float]) -> str:
    """The text; ``before`` is what ``parse`` read of the last one: empty, and counters begin at 0.

    Raises UsageError where prometheus_client is missing.
    """
    require("prometheus", "prometheus_client")
    from prometheus_client import CollectorRegistry, generate_latest

    class Collected:
        def collect(self) -> Iterator[Metric]:
            yield from _Families(figures, before).all()

    registry = CollectorRegistry()
    registry.register(Collected())  # type: ignore[arg-type,unused-ignore]
    return generate_latest(registry).decode()


def parse(text: str) -> dict[Key, float]:
    """The samples of a text; raises ValueError where it is none, UsageError as above."""
    require("prometheus", "prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(text))
    except Exception as error:  # which one, differs between its versions
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return {_key(sample.name, sample.labels): sample.value for each in families for sample in each.samples}


class _Families:
    def __init__(self, figures: Figures, before: Mapping[Key, float]) -> None:
        self._figures = figures
        self._before = before

    def all(self) -> Iterator[Metric]:
        yield self._added(self._runs())
        yield self._added(self._bytes())
        for side, help_text in _DURATIONS.items():
            yield self._added(self._histogram(side, help_text))
        yield self._last_runs()
        yield from self._last_batch()

    def _runs(self) -> Metric:
        name = f"{PREFIX}_runs_total"
        samples = [(name, {"outcome": outcome}, self._new(outcome)) for outcome in OUTCOMES]
        return self._family("counter", name, "Completed runs found, by what became of them.", samples)

    def _new(self, outcome: str) -> float:
        """Of a resumed batch, the file has the runs of its earlier part already."""
        counted = 0.0
        if self._known(_START) == self._figures.started:
            counted = self._known(_RUNS, outcome=outcome) or 0.0
        return max(0.0, self._figures.counts[outcome] - counted)

    def _bytes(self) -> Metric:
        name, written = f"{PREFIX}_written_bytes_total", self._figures.bytes
        samples = [(name, {"side": side}, written[f"{side}s"]) for side in ("snapshot", "manifest")]
        return self._family("counter", name, "Bytes written.", samples)

    def _histogram(self, side: str, help_text: str) -> Metric:
        name, durations = f"{PREFIX}_{side}_duration_seconds", self._figures.durations
        bounds = [*map(str, durations.bounds), "+Inf"]
        counts = [*durations.counts[side], durations.totals[side]]
        samples: list[Sample] = [
            (f"{name}_bucket", {"le": bound}, count) for bound, count in zip(bounds, counts, strict=True)
        ]
        samples += [
            (f"{name}_count", {}, durations.totals[side]),
            (f"{name}_sum", {}, durations.seconds[side]),
        ]
        return self._family("histogram", name, help_text, samples)

    def _last_runs(self) -> Metric:
        samples = [(_RUNS, {"outcome": outcome}, self._figures.counts[outcome]) for outcome in OUTCOMES]
        return self._family("gauge", _RUNS, "Runs of the last batch, by what became of them.", samples)

    def _last_batch(self) -> Iterator[Metric]:
        figures = self._figures
        yield self._gauge("last_batch_success", "1 if all went well (exit code 0), else 0.", figures.success)
        yield self._gauge("last_batch_duration_seconds", "How long the last batch took.", figures.seconds)
        yield self._gauge("last_batch_start_timestamp_seconds", "When the last batch began.", figures.started)
        yield self._gauge("last_batch_end_timestamp_seconds", "When the last batch ended.", figures.finished)
        name = "last_success_timestamp_seconds"
        success = figures.finished if figures.success else self._known(f"{PREFIX}_{name}")
        if success is not None:
            yield self._gauge(name, "When the last batch ended that went well.", success)

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        return self._family("gauge", f"{PREFIX}_{name}", help_text, [(f"{PREFIX}_{name}", {}, value)])

    def _family(self, kind: str, name: str, help_text: str, samples: Iterable[Sample]) -> Metric:
        from prometheus_client import Metric

        family = Metric(name.removesuffix("_total"), help_text, kind)  # which is put back
        for sample, labels, value in samples:
            family.add_sample(sample, {**self._figures.root, **labels}, float(value))
        return family

    def _known(self, name: str, **labels: str) -> float | None:
        return self._before.get(_key(name, {**self._figures.root, **labels}))

    def _added(self, family: Metric) -> Metric:
        """The family with what was there before."""
        family.samples = [
            sample._replace(value=sample.value + self._before.get(_key(sample.name, sample.labels), 0.0))
            for sample in family.samples
        ]
        return family


def _key(name: str, labels: Mapping[str, str]) -> Key:
    return name, frozenset(labels.items())


EXTENSION = ".prom"
"""The collector reads no others, and so none of our temporary files."""


def check_textfile(path: str) -> None:
    """Make sure before the work that the file can be written after it; nothing is left behind.

    Raises UsageError where the collector does not read such a name, where the file has another
    format, or where prometheus_client is missing; OSError where its folder cannot be written to.
    """
    require("prometheus", "prometheus_client")
    if not is_stream(path) and not path.endswith(EXTENSION):
        raise UsageError(f"node_exporter reads *{EXTENSION} only, not {path}")
    _read(path)
    check_output(path)


def write_textfile(path: str, figures: Figures, should_stop: ShouldStop = never_stop) -> None:
    """Write the figures of a batch, whole or not at all.

    They continue those of the same root in the file: counters are added to, and the time of the last
    success is kept if this batch is none. Raises as ``check_textfile`` does, and ReaderMissingError where
    ``should_stop`` ended the wait for a reader of a pipe.
    """
    write_output(path, (expose(figures, _read(path)).encode(),), should_stop)


def _read(path: str) -> dict[Key, float]:
    if is_stream(path):  # a device or a pipe has no earlier figures
        return {}
    try:
        samples = parse(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is not in Prometheus' format, and is left as it is: {error}") from None
    if others := {name for name, _ in samples if not name.startswith(PREFIX)}:
        raise UsageError(f"{path} is another program's, and is left as it is: it has {min(others)}")
    return samples
