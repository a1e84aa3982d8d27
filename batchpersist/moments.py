"""Moments as text: UTC in ISO 8601, as JavaScript writes it."""

from __future__ import annotations

from datetime import datetime, timezone


def utc_text(moment: datetime | None = None) -> str:
    """A moment (None: now), as JavaScript's ``toISOString`` words it."""
    utc = (moment or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The moment, or the day, that an ISO 8601 text names; without a time zone where it has none.

    Raises ValueError.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no Z
