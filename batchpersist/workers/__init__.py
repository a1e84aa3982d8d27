"""Workers: who does the work, and what happens when one dies or hangs.

The ``Supervisor`` gives calls to a ``WorkerPool`` (this process, a pool of processes, or a cluster), and
recovers those of dead workers. A ``ShardCall`` has a worker persist a shard. ``Retries`` holds what a batch
tries again at its end.
"""

from .pool import SerialExecutor, WorkerPool, usable_cpus
from .process_pool import stop_fork_server
from .retries import Retries
from .shard_call import ShardCall, make_persister
from .supervisor import Call, Supervisor

__all__ = [
    "Call",
    "Retries",
    "SerialExecutor",
    "ShardCall",
    "Supervisor",
    "WorkerPool",
    "dask",
    "make_persister",
    "stop_fork_server",
    "usable_cpus",
]
