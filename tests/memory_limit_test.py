"""What a process keeps of the memory that it has let go of."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from batchpersist.memory_limit import give_back
from batchpersist.cli.job import minimize_retained_memory
{before}
minimize_retained_memory()
import pyarrow as pa
print(pa.default_memory_pool().backend_name, os.environ.get("ARROW_DEFAULT_MEMORY_POOL"))
give_back()
"""


def choice(before: str = "", **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()


def test_arrow_allocates_from_the_c_library_in_this_process_alone() -> None:
    assert choice() == ["system", "None"]


def test_who_has_chosen_already_keeps_the_choice() -> None:
    assert choice(ARROW_DEFAULT_MEMORY_POOL="mimalloc") == ["mimalloc", "mimalloc"]


def test_where_arrow_has_allocated_already_it_goes_on_as_it_was() -> None:
    kept, variable = choice("import pyarrow; pyarrow.default_memory_pool()")
    assert (kept != "system", variable) == (True, "None")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives back what is in the middle of its heap")
def test_what_was_let_go_of_is_given_back() -> None:
    program = """
import os
from batchpersist.memory_limit import give_back
from batchpersist.cli.job import minimize_retained_memory
minimize_retained_memory()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
give_back()
before = resident()
pieces = [bytes(10_000) for _ in range(10_000)]
last = pieces[-1]
del pieces
held = resident()
give_back()
print(held - before, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    held, left = map(int, done.stdout.split())
    assert held > 50_000_000
    assert left < 10_000_000
