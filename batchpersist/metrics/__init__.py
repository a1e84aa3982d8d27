"""Metrics: outcomes become counts, timings, metrics.json and Prometheus' text (docs/metrics.md).

Its modules are its public names.
"""

__all__ = [
    "batch_report",
    "build",
    "merge_partitions",
    "outcome_table",
    "prometheus",
    "schema",
]
