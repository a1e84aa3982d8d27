"""The published orchestrator, installed outside the tree as ``contract/package-lock.json`` pins it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

NAME = "@kbediako/codex-orchestrator"
PINNED = Path(__file__).parents[1] / "contract"
_FILES = ("package.json", "package-lock.json", ".npmrc")
UNTRIED = "NOTHING IS COMPARED WITH THE PUBLISHED ORCHESTRATOR"
_NODE = 20
"""The oldest Node.js that the package supports."""

_is_unreachable = re.compile(
    r"\b(EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b"
).search


class RegistryUnreachableError(RuntimeError):
    """npm has no network, or its registry does not answer."""


def missing_tools() -> str:
    """Why the package cannot be installed or run here, as the reason of a skip; empty: it can."""
    absent = [name.upper() for name in ("node", "npm") if shutil.which(name) is None]
    if absent:
        return f"NO {' AND NO '.join(absent)}: {UNTRIED}"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"\d+", version)[0]) < _NODE:
        return f"NODE.JS {version.strip().upper()} IS TOO OLD: {UNTRIED}"
    return ""


def installed(cache: Path) -> Path:
    """The package's folder below ``cache``, installed there if it is not yet.

    The folder is named by what pins the packages, and appears whole or not at all: processes may call this
    at once, and be killed meanwhile. npm checks each package against its hash, and runs none of their
    scripts. Raises RuntimeError with npm's own words, RegistryUnreachableError where it got no answer.
    """
    digest = hashlib.sha256(b"".join((PINNED / name).read_bytes() for name in _FILES)).hexdigest()
    target = cache / digest[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                whole = Path(folder) / "whole"
                _install(whole)
                whole.rename(target)
    return target / "node_modules" / NAME


def _install(folder: Path) -> None:
    folder.mkdir()
    for name in _FILES:
        shutil.copy(PINNED / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        kind = RegistryUnreachableError if _is_unreachable(done.stderr) else RuntimeError
        raise kind(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def user_cache() -> Path:
    """The folder for files that can be fetched again (the XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "batchpersist-tests" / "orchestrator"
