"""Imported by the fork server alone, before it forks any worker.

What comes with pyarrow is to start no threads, which no worker needs (``cli.main``).

It prints no traceback where that only confuses whoever reads it. A parent reports by itself that no worker
can be forked (``crew``). And one that is killed while it starts a worker has told it nothing yet: the worker
meets the end of the pipe, about which nobody can do anything.
"""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

_REFUSALS = (errno.EAGAIN, errno.ENOMEM, errno.ENOSYS, errno.EPERM)
"""What the system says of a process, or a call, that it does not allow."""


def _print_unless_known(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    refused = isinstance(error, OSError) and error.errno in _REFUSALS
    if not refused and not isinstance(error, EOFError):
        sys.__excepthook__(kind, error, trace)


os.putenv("OPENBLAS_NUM_THREADS", "1")
os.putenv("JE_ARROW_MALLOC_CONF", "background_thread:false")
sys.excepthook = _print_unless_known
