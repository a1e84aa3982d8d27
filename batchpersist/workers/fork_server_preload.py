"""Imported by the fork server alone, before it forks any worker.

It keeps the libraries that come with pyarrow from starting threads, which no worker needs.

It prints no traceback where that would only confuse. The parent itself reports that no worker can be forked
(``pool``). And a parent that is killed while it starts a worker has sent it nothing yet: the worker meets the
end of the pipe, and nobody can do anything about it.
"""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

_REFUSALS = (errno.EAGAIN, errno.ENOMEM, errno.ENOSYS, errno.EPERM)
"""Error numbers for a process, or a call, that the system does not allow."""


def _print_unless_known(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    refused = isinstance(error, OSError) and error.errno in _REFUSALS
    if not refused and not isinstance(error, EOFError):
        sys.__excepthook__(kind, error, trace)


os.putenv("OPENBLAS_NUM_THREADS", "1")
os.putenv("JE_ARROW_MALLOC_CONF", "background_thread:false")
sys.excepthook = _print_unless_known
