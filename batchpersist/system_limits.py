"""Limits that the system sets for this process: threads, memory, its working folder."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import suppress

_LEAST_MEMORY = (
    (resource.RLIMIT_AS, "address space", "ulimit -v", 768 << 20),
    (resource.RLIMIT_DATA, "data", "ulimit -d", 192 << 20),
)
"""Limits, and the bytes below which no command works reliably: 1.75 times what the smallest batches need."""


def require_memory() -> None:
    """Raise OSError (ENOMEM) where a process may have too little memory for Arrow and NumPy.

    Before they are loaded: with too little, their C++ code ends the process as it likes, by a signal or
    with no message at all.
    """
    for name, command, allowed, least in _memory_limits():
        if allowed < least:
            raise OSError(
                errno.ENOMEM,
                f"the limit of {name} is too low: {allowed >> 20} MB, but at least {least >> 20} MB are"
                f" needed; raise it ({command}), or bound the memory in use with --max-memory",
            )


def is_memory_limited() -> bool:
    """Whether what this process reserves counts, not only what it uses."""
    return any(_memory_limits())


def _memory_limits() -> Iterator[tuple[str, str, int, int]]:
    """The limits that are set: name, command, and bytes that are allowed and needed."""
    for limit, name, command, least in _LEAST_MEMORY:
        with suppress(OSError):  # a container's filter of system calls denies the question
            allowed = resource.getrlimit(limit)[0]
            if allowed != resource.RLIM_INFINITY:
                yield name, command, allowed, least


def require_thread() -> None:
    """Raise ``no_thread()`` where this process cannot start another thread.

    Call it before a library that hangs without one, or raises an error of its own.
    """
    try:
        threading.Thread(target=int, daemon=True).start()
    except RuntimeError as error:
        raise no_thread() from error


def no_thread() -> OSError:
    """The error for a thread that cannot be started."""
    return OSError(errno.EAGAIN, "no thread can be started (see ulimit -u, and pids.max of the cgroup)")


def no_process() -> OSError:
    """The error for a process that cannot be started."""
    return OSError(errno.EAGAIN, "no process can be started (see ulimit -u, and pids.max of the cgroup)")


def system_error_in(error: Exception) -> Exception:
    """The OSError behind an error of a library that hides it: of threads, memory, the working folder.

    Any other error is returned as it is.
    """
    if isinstance(error, MemoryError):
        return OSError(errno.ENOMEM, "out of memory (see ulimit -v, and memory.max of the cgroup)")
    if isinstance(error, FileNotFoundError) and error.filename is None:
        try:
            os.getcwd()
        except FileNotFoundError:
            words = "the working folder has been removed: go to another one, or name all paths absolutely"
            return OSError(errno.ENOENT, words)
    if isinstance(error, BlockingIOError) and error.filename is None:  # fork's: all else names a file
        return no_process()
    cause: BaseException | None = error
    while isinstance(cause, ImportError):  # pyarrow replaces some by its own
        if (cause.path or "").endswith(".so"):
            return OSError(errno.ENOMEM, f"a library cannot be loaded (see ulimit -v): {cause}")
        cause = cause.__cause__ or cause.__context__
    if type(error) is RuntimeError:  # Python raises it where a thread cannot be started, but not only there
        try:
            require_thread()
        except OSError as refusal:
            return refusal
    return error
