"""The allocator of the command: Arrow's choice of it, and freed memory that returns to the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from batchpersist.memory_limit import release_memory
from batchpersist.cli.job import minimize_retained_memory
{before}
minimize_retained_memory()
import pyarrow as pa
print(pa.default_memory_pool().backend_name, os.environ.get("ARROW_DEFAULT_MEMORY_POOL"))
release_memory()
"""


def allocator_of_process(before: str = "", **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()


def test_arrow_uses_the_c_allocator_in_this_process_only() -> None:
    assert allocator_of_process() == ["system", "None"]


def test_allocator_chosen_by_the_user_is_kept() -> None:
    assert allocator_of_process(ARROW_DEFAULT_MEMORY_POOL="mimalloc") == ["mimalloc", "mimalloc"]


def test_allocator_in_use_is_kept() -> None:
    kept, variable = allocator_of_process("import pyarrow; pyarrow.default_memory_pool()")
    assert (kept != "system", variable) == (True, "None")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives back what is in the middle of its heap")
def test_freed_memory_is_returned_to_the_system() -> None:
    program = """
import os
from batchpersist.memory_limit import release_memory
from batchpersist.cli.job import minimize_retained_memory
minimize_retained_memory()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
release_memory()
before = resident()
pieces = [bytes(10_000) for _ in range(10_000)]
last = pieces[-1]
del pieces
held = resident()
release_memory()
print(held - before, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    held, left = map(int, done.stdout.split())
    assert held > 50_000_000
    assert left < 10_000_000
