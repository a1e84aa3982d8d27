"""The exit codes and their meanings; ``BatchReport.exit_code``, ``errors`` and the command choose one."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What README.md lists, in the same words. Errors and reports carry the code of the command they end."""

    SUCCESS = 0
    """Every selected run is persisted (or was already)."""
    ERROR = 1
    """Unexpected error, totals that do not balance, or output that could not be written."""
    USAGE = 2
    """Wrong usage; nothing was done."""
    SOME_FAILED = 3
    """Finished, but some runs failed or were invalid, or there were none (`--fail-if-empty`)."""
    STOPPED = 4
    """Stopped by the failure policy (`--max-failures`, `--fail-fast`)."""
    DIFFERENCES = 5
    """There are differences (`batchpersist audit`, `repair` without `--yes`, `compare`)."""
    MISSING = 10
    """A source, a root, or the batch asked for, is missing; nothing was done."""
    LOCKED = 11
    """Another batch is working on this root, or a lock is left to its owner (`batchpersist locks unlock`),
    or the file system cannot lock; nothing was done."""
    TIMED_OUT = 12
    """Out of time (`--max-duration`): what had begun was settled, the same command continues."""
    INTERRUPTED = 130
    """Interrupted by SIGINT: what had begun was settled."""
    TERMINATED = 143
    """Interrupted by SIGTERM or SIGHUP: what had begun was settled."""

    __str__ = int.__repr__  # Python 3.10 would show the name where a person expects the number
