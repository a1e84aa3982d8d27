"""Removes from each Python process what only Linux has, so that it runs as on macOS.

Python imports a module of this name as it starts, if its folder is on PYTHONPATH: so do the workers and
their fork server. It is a simulation: what calls there are, how the system names itself, how long the path
of a socket may be; not how macOS and its file systems behave.
"""

from __future__ import annotations

import asyncio  # noqa: F401  # so have these: they ask once, for what they are imported on
import builtins
import ctypes
import errno
import fcntl
import multiprocessing
import os
import platform
import resource
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from typing import Any

import psutil  # noqa: F401  # it has another form for macOS, which does not run here

LONGEST_SOCKET_PATH = 103
"""Bytes of a socket's path; Linux allows four more."""

LINUX_FOLDERS = ("/proc", "/sys", "/dev/shm")

NEEDS_LINUX = ("psutil", "sitecustomize", "_pytest", "execnet", "xdist")
"""Packages that still see Linux: psutil, which has other means on macOS, and what runs the tests."""

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The tests, which observe a batch, still see Linux too."""


def main() -> None:
    _remove_names()
    _rename_system()
    _replace_clocks()
    _hide_folders()
    _shorten_sockets()
    fcntl.F_FULLFSYNC = 51  # type: ignore[attr-defined]
    fcntl.fcntl = _with_full_sync(fcntl.fcntl)
    multiprocessing.set_start_method("spawn")  # the default there


def _remove_names() -> None:
    """Functions and constants that Python has on Linux and not on macOS."""
    linux = {
        os: "sched_getaffinity sched_setaffinity copy_file_range memfd_create eventfd pidfd_open splice "
        "fdatasync posix_fadvise posix_fallocate getrandom setns unshare pipe2 "
        "O_TMPFILE O_PATH O_DIRECT O_NOATIME O_LARGEFILE",
        time: "CLOCK_BOOTTIME CLOCK_TAI pthread_getcpuclockid",
        socket: "AF_NETLINK AF_PACKET AF_VSOCK SO_PASSCRED SO_PEERCRED",
        signal: "sigwaitinfo sigtimedwait SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT",
        resource: "prlimit",
    }
    for module, names in linux.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)

    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]


def _rename_system() -> None:
    sysconfig.get_config_vars()  # from a file that is named for the real system
    names = ("Darwin", os.uname().nodename, "23.6.0", "Darwin Kernel Version 23.6.0", "arm64")
    os.uname = lambda: os.uname_result(names)
    platform.uname.cache_clear() if hasattr(platform.uname, "cache_clear") else None
    sys.platform = "darwin"
    errno.errorcode[errno.EOPNOTSUPP] = "EOPNOTSUPP"
    real = ctypes.CDLL

    class NoGlibc(real):  # type: ignore[misc, valid-type]
        def __getattr__(self, name: str) -> Any:
            if name in ("syncfs", "prctl", "malloc_trim", "mallopt", "fstatfs"):
                raise AttributeError(f"dlsym({name}): symbol not found")
            return super().__getattr__(name)

    ctypes.CDLL = NoGlibc  # type: ignore[misc]


def _replace_clocks() -> None:
    """Only the clocks that macOS names; the number of Linux's coarse clock is another clock there."""
    named = {value for name, value in vars(time).items() if name.startswith("CLOCK_")}
    approximate = 5  # CLOCK_MONOTONIC_RAW_APPROX

    def known(get: Callable[[int], Any]) -> Callable[[int], Any]:
        def asked(clock: int) -> Any:
            if clock == approximate:
                clock = time.CLOCK_MONOTONIC
            elif clock not in named:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return get(clock)

        return asked

    time.clock_gettime, time.clock_gettime_ns = map(known, (time.clock_gettime, time.clock_gettime_ns))


def _hide_folders() -> None:
    for module, names in (
        (builtins, ["open"]),
        (os, ["open", "stat", "lstat", "listdir", "scandir", "readlink"]),
    ):
        for name in names:
            _replace(module, name, _without_linux_folders(getattr(module, name)))


def _replace(module: Any, name: str, function: Callable[..., Any]) -> None:
    """``os`` recognizes some of its own functions by identity, in ``os.supports_fd`` and its like."""
    old = getattr(module, name)
    setattr(module, name, function)
    for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_bytes_environ):
        if isinstance(able, set) and old in able:
            able.add(function)


def _without_linux_folders(call: Callable[..., Any]) -> Callable[..., Any]:
    def hidden(path: Any = ".", *args: Any, **more: Any) -> Any:
        if _is_of_linux(path) and not _may_see_linux(sys._getframe(1).f_globals):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return call(path, *args, **more)

    return hidden


def _is_of_linux(path: Any) -> bool:
    if not isinstance(path, str) or not path.startswith(LINUX_FOLDERS):
        return False
    return any(path == folder or path.startswith(f"{folder}/") for folder in LINUX_FOLDERS)


def _may_see_linux(caller: dict[str, Any]) -> bool:
    is_test = str(caller.get("__file__")).startswith(TESTS)
    return is_test or str(caller.get("__name__")).split(".")[0] in NEEDS_LINUX


def _shorten_sockets() -> None:
    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(_short(self, address))

        def connect(self, address: Any) -> None:
            super().connect(_short(self, address))

    def _short(of: socket.socket, address: Any) -> Any:
        if of.family == socket.AF_UNIX and len(os.fsencode(address)) > LONGEST_SOCKET_PATH:
            raise OSError("AF_UNIX path too long")
        return address

    socket.socket = Socket  # type: ignore[misc]


def _with_full_sync(control: Callable[..., Any]) -> Callable[..., Any]:
    def called(fd: Any, command: int, *args: Any) -> Any:
        if command == fcntl.F_FULLFSYNC:  # type: ignore[attr-defined]
            return os.fsync(fd)
        return control(fd, command, *args)

    return called


main()
