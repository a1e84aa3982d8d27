"""Packages that only some ways of using this one need, and that not everybody has."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import UsageError


def require(extra: str, *packages: str) -> None:
    """Raise UsageError, saying what to install, where one of the packages is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not installed: pip install 'batchpersist[{extra}]'")
