"""Workers: who does the work, and what happens when one dies or hangs.

The supervisor hands calls to a worker pool (this process, a pool of processes, or a cluster) and
recovers them.
"""

from .pool import SerialExecutor, WorkerPool, usable_cpus
from .process_pool import stop_fork_server
from .remote import settle_remotely
from .retry_policy import Retries
from .supervisor import Call, ShardCall, Supervisor

__all__ = [
    "Call",
    "Retries",
    "SerialExecutor",
    "ShardCall",
    "Supervisor",
    "WorkerPool",
    "dask",
    "settle_remotely",
    "stop_fork_server",
    "usable_cpus",
]
