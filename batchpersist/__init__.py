"""Persist the completed runs of an agent orchestrator: snapshots and manifests, in pairs, in parallel.

The names in ``__all__`` are the public interface (docs/library.md). Each is imported when it
is first asked for, so that the command starts fast; type checkers read ``__init__.pyi``.
"""

import importlib
import os

__version__ = "0.1.0"

_HOMES = {
    "AuditOptions": "audit",
    "AuditReport": "audit",
    "BatchLockedError": "errors",
    "BatchMissingError": "errors",
    "BatchOptions": "options",
    "BatchPersistError": "errors",
    "BatchReport": "metrics.batch_report",
    "BatchResumed": "events",
    "BatchStarted": "events",
    "BatchWaiting": "events",
    "CommitErrors": "errors",
    "CompareOptions": "compare.options",
    "Comparison": "compare.run",
    "ComparisonStoppedError": "errors",
    "Durability": "models",
    "ElasticExecutor": "workers.pool",
    "EventBus": "persist.coordinator",
    "ExitCode": "exit_codes",
    "Failure": "models",
    "FailurePolicy": "options",
    "Finding": "audit",
    "FindingCounter": "audit",
    "FindingKind": "audit",
    "Fix": "repair",
    "FlockMissingError": "errors",
    "InvalidRunError": "errors",
    "ItemError": "errors",
    "Keys": "models",
    "LockPolicy": "options",
    "MeasurementError": "errors",
    "Metrics": "metrics.schema",
    "PairResult": "persist.coordinator",
    "Partition": "partition",
    "PersistenceCoordinator": "persist.coordinator",
    "Preview": "batch.dry_run",
    "Progress": "events",
    "RepairOptions": "repair",
    "RepairReport": "repair",
    "RetryOf": "models",
    "RetryPolicy": "options",
    "RetryStarted": "events",
    "RootMissingError": "errors",
    "RunFailed": "events",
    "RunManifestWriter": "persist.manifests",
    "RunStatus": "audit",
    "Selection": "options",
    "Settled": "persist.pair",
    "Side": "models",
    "SnapshotError": "errors",
    "SourceMissingError": "errors",
    "TaskStateLockError": "errors",
    "TaskStateStore": "snapshots.store",
    "TotalsError": "errors",
    "UnsafeIdentifierError": "errors",
    "UsageError": "errors",
    "WorkersCannotStartError": "errors",
    "audit_root": "audit",
    "compare_batches": "compare.run",
    "preview_batch": "batch.dry_run",
    "repair_root": "repair",
    "retry_batch": "batch.run",
    "run_batch": "batch.run",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # they are strings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if os.name == "nt":
        from .errors import NEEDS_WSL

        raise ImportError(NEEDS_WSL)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
