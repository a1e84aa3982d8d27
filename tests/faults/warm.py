"""The command, many times over: a process that has imported it once and forks for each request.

``python warm.py [VARIANT]`` reads a request a line from standard input::

    {"argv": [...], "kill": null | {"after": seconds, "victim": V, "seed": n}}

(V: ``group``; ``process``: one of the group by chance; else a part of the one's command line) and answers
with a line ``{"code", "stdout", "stderr", "killed", "orphans"}`` once each process of the command has ended.
VARIANT: one of the broken ones (broken.py).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from typing import Any, BinaryIO

_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_SECONDS = 60.0
"""Seconds after which a process of a killed batch counts as an orphan."""


def serve() -> list[str]:
    """Answer requests. Returns in each child, with the arguments that the command is to be run with."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for line in sys.stdin:
        request = json.loads(line)
        stdout, stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        leader = os.fork()
        if leader == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            return list(request["argv"])
        while os.getpgid(leader) != leader:
            time.sleep(0)  # not its own group yet
        answer = _await(leader, request.get("kill"))
        answer.update(stdout=_content(stdout), stderr=_content(stderr))
        print(json.dumps(answer), flush=True)
    sys.exit(0)


def _await(leader: int, kill: dict[str, Any] | None) -> dict[str, Any]:
    killed = kill is not None and _kill(leader, kill)
    code, orphans, deadline = 0, [], 0.0
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG if deadline else 0)
        except ChildProcessError:
            return {"code": code, "killed": killed, "orphans": orphans}
        if pid == leader:
            code, deadline = os.waitstatus_to_exitcode(status), time.monotonic() + _ORPHAN_SECONDS
        elif pid == 0:
            time.sleep(0.001)
            if time.monotonic() > deadline and not orphans:
                orphans = [_cmdline(member) for member in _group(leader)]
                os.killpg(leader, signal.SIGKILL)


def _kill(leader: int, kill: dict[str, Any]) -> bool:
    """Kill the victim; returns whether it was still running."""
    time.sleep(kill["after"])
    while os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        members = _group(leader)
        if not members:
            continue  # the leader is ending
        if kill["victim"] == "group":
            os.killpg(leader, signal.SIGKILL)
        elif kill["victim"] == "process":
            os.kill(random.Random(kill["seed"]).choice(members), signal.SIGKILL)
        else:
            members = [pid for pid in members if kill["victim"] in _cmdline(pid)]
            if not members:
                continue
            os.kill(members[0], signal.SIGKILL)
        return True
    return False


def _group(leader: int) -> list[int]:
    """The living processes of the batch."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, _, group = file.read().rpartition(b")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == leader and state != b"Z":
            found.append(int(name))
    return sorted(found)


def _cmdline(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return str(pid)


def _content(file: BinaryIO) -> str:
    file.seek(0)
    with file:
        return file.read().decode("utf-8", "replace")


if __name__ == "__main__":
    import difflib  # noqa: F401  (these are what a batch imports when it needs it)

    import pyarrow.acero
    import pyarrow.compute
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401

    import batchpersist.cli.run
    import batchpersist.persist.worker  # noqa: F401
    from batchpersist.cli.main import main

    if sys.argv[1:]:
        from broken import VARIANTS

        VARIANTS[sys.argv[1]]()
    gc.freeze()  # the children need not copy what they will not free
    sys.argv[1:] = serve()
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]  # click gives numbers only
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    # The interpreter's own end, up to where libraries take down what they had before the fork.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)
