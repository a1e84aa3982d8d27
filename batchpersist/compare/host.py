"""Where it was measured: what a person has to know to judge the figures."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

from ..scheduling.executors import usable_cpus

_OCTAL = re.compile(r"\\([0-7]{3})").sub
"""How blanks and the like are written there."""


def describe_host(path: str) -> dict[str, Any]:
    """The processors that may be used, Python, the system, and the file system of ``path``."""
    return {
        "cpus": usable_cpus(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "file_system": file_system(path),
    }


def file_system(path: str) -> str:
    """The kind of file system that a path is on, e.g. ``ext4``; ``unknown`` where nothing tells."""
    path = os.path.join(os.path.realpath(path), "")
    found = ("", "unknown")
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                _, point, kind = line.split(" ")[:3]
                point = os.path.join(_OCTAL(lambda found: chr(int(found[1], 8)), point), "")
                if path.startswith(point) and len(point) >= len(found[0]):
                    found = (point, kind)
    except OSError:
        pass
    return found[1]
