"""Every error that batchpersist raises, with the exit code that it means for the command.

All of them survive pickling (a worker may raise them), so an error with several
parts passes all of them to ``Exception.__init__`` and makes its text in ``__str__``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from .exit_codes import ExitCode
from .models import Failure, failure_type

NEEDS_WSL = "batchpersist runs on Linux and macOS; on Windows, run it in WSL, the Windows Subsystem for Linux"


class BatchPersistError(Exception):
    """Base of all errors of this package."""

    exit_code = ExitCode.ERROR


class UsageError(BatchPersistError):
    """The caller asked for something impossible; nothing was done."""

    exit_code = ExitCode.USAGE


class SourceMissingError(BatchPersistError):
    """A source named by the caller does not exist; nothing was done."""

    exit_code = ExitCode.MISSING

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source

    def __str__(self) -> str:
        return f"source not found: {self.source}"


class SourceUnreachableError(SourceMissingError):
    """The storage that a source is named to be on does not let it be looked up; nothing was done."""

    def __init__(self, source: str, reason: str) -> None:
        BatchPersistError.__init__(self, source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"source cannot be looked up: {self.source}: {self.reason}"
            " (credentials are taken from the environment or from the cloud's own files)"
        )


class BatchLockedError(BatchPersistError):
    """Another batch holds this root; nothing was done."""

    exit_code = ExitCode.LOCKED

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(path, holder)
        self.path = path
        self.holder = holder

    def __str__(self) -> str:
        return f"another batch is running on this root: {self.holder} (lock file {self.path})"


class LockHeldError(BatchPersistError):
    """A lock is not removed, since its owner may be at work; nothing was done."""

    exit_code = ExitCode.LOCKED

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} is left alone: {self.reason}"


class FlockMissingError(BatchPersistError, OSError):
    """The file system of a lock file has no flock: it cannot keep others out."""

    exit_code = ExitCode.LOCKED

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno or 0, self.errno)
        return (
            f"cannot lock {self.filename}: [{name}] {self.strerror}; the file system has no flock, or its"
            " lock service is down (mount Lustre with -o flock, start rpc.statd for NFS 3, or choose a"
            " --runs-dir elsewhere)"
        )


class RootMissingError(BatchPersistError):
    """A root in which something was to be looked up does not exist; nothing was done."""

    exit_code = ExitCode.MISSING

    def __init__(self, path: str, option: str) -> None:
        super().__init__(path, option)
        self.path = path
        self.option = option

    def __str__(self) -> str:
        return f"there is no folder {self.path} ({self.option}); nothing was done"


class BatchMissingError(BatchPersistError):
    """There is no such batch, or its folder is gone."""

    exit_code = ExitCode.MISSING


class WorkersCannotStartError(BatchPersistError):
    """Processes of a pool cannot be started, or end before they do anything."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """Where the system has refused something: how it says so."""

    def __str__(self) -> str:
        if self.reason:
            return f"worker processes cannot start: {self.reason}; one worker needs none (--workers 1)"
        return (
            "worker processes cannot start: they end before they do anything. Perhaps a limit of "
            "processes, threads or memory is reached; one worker needs none (--workers 1). A program "
            'must call run_batch below `if __name__ == "__main__":`, since each worker imports it'
        )


class MeasurementError(BatchPersistError):
    """A measured batch came to no result that could be compared."""

    def __str__(self) -> str:
        return f"could not be measured: {super().__str__()}"


class ComparisonStoppedError(BatchPersistError):
    """The caller stopped a comparison; its files are removed."""


class ScanStoppedError(BatchPersistError):
    """The caller stopped the reading of a source; nothing that was read is used."""

    exit_code = ExitCode.TIMED_OUT

    def __str__(self) -> str:
        return "it was time to stop while the sources were looked up; nothing was done"


class TotalsError(BatchPersistError):
    """The counts of a batch do not add up: a defect, never the user's fault."""


class ItemError(BatchPersistError):
    """One run, or one side of its pair, could not be persisted; the batch continues.

    ``message`` is the same for all cases of one cause, so that equal causes can be
    grouped; ``detail`` is what differs (a position, a path, an owner), or "".
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message, detail)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}: {self.detail}" if self.detail else self.message


class InvalidRunError(ItemError):
    """The input is not a completed run (not JSON, not an object, a key missing ...)."""


class MissingKeyError(InvalidRunError):
    """A JSON object without a string under one of the keys: perhaps it has other names for them."""


class UnsafeIdentifierError(InvalidRunError):
    """A taskId or runId that must not become part of a path."""


class SourceUnreadableError(ItemError):
    """A source, or the rest of it, cannot be read: damaged, cut short, or of another form."""


class SourceChangedError(ItemError):
    """The bytes at a run's place are no longer the run that the scan saw there."""


class SnapshotError(ItemError):
    """A task's snapshot cannot be read as one; the file is left as it is."""


class EntryKeyError(SnapshotError):
    """An entry of a snapshot lacks a string under one of the keys: perhaps it has other names for them."""


class TaskStateLockError(ItemError):
    """The task's lock was not to be had: the snapshot is skipped, the manifest is not."""


class WorkerDiedError(ItemError):
    """The worker that was persisting a run died."""


class ExecutorBrokenError(ItemError):
    """The executor that the caller gave the batch takes no more calls."""


class WorkerVersionError(BatchPersistError):
    """A worker of a cluster has another version of this package than the batch."""

    def __init__(self, ours: str, theirs: str, host: str) -> None:
        super().__init__(ours, theirs, host)
        self.ours = ours
        self.theirs = theirs
        self.host = host

    def __str__(self) -> str:
        return f"a worker on {self.host} has batchpersist {self.theirs}, but this is {self.ours}"


class CommitErrors(BatchPersistError):
    """More than one task's snapshot failed; ``errors`` maps taskId to its exception."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "; ".join(f"{task_id}: {error}" for task_id, error in self.errors.items())


def failure_of(error: BaseException) -> Failure:
    """An exception as data: what equal causes have in common, apart from what differs.

    An OSError is named by its errno (``[ENOSPC] No space left on device``), with the
    file as detail.
    """
    kind = failure_type(type(error))
    if isinstance(error, ItemError):
        return Failure(kind, error.message, error.detail)
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return Failure(kind, f"[{name}] {error.strerror}", str(error.filename or ""))
    return Failure(kind, str(error) or kind, "")


@contextmanager
def unreadable_as(wrap: Callable[[str], Exception]) -> Iterator[None]:
    """Raise what pyarrow raises for data that it cannot read as the error that ``wrap`` makes of its text.

    That is one of its own exceptions or an OSError without an errno; which one, differs between
    its versions and from byte to byte. An error of the system is let through.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise wrap(str(error)) from error


def exit_code_of(error: Exception) -> ExitCode:
    """The command's exit code for an error that ended a batch."""
    return error.exit_code if isinstance(error, BatchPersistError) else BatchPersistError.exit_code


def require(extra: str, *packages: str) -> None:
    """Raise UsageError, saying what to install, where one of the packages is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not installed: pip install 'batchpersist[{extra}]'")
