"""Times in what is printed."""

from __future__ import annotations

from datetime import datetime


def when(at: datetime | None) -> str:
    """A time as people and programs read it, in UTC; empty for none."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else ""
