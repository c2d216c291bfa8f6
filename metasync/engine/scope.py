"""What a pass is about: a repository, and the events that say where to look."""

from __future__ import annotations

from dataclasses import dataclass

from metasync.model.lakefs import LakeFSEvent


@dataclass(frozen=True)
class Scope:
    """One repository. `full`: every table of every watched ref is read, not only where something moved.

    `again`: it goes on with a full pass, so what failed before is tried again.
    """

    repository: str
    events: tuple[LakeFSEvent, ...] = ()
    full: bool = False
    again: bool = False
