"""What a merge adds to the version graph, so that what was carried is history and what was withheld is a change since.

    everything carried     D' = merged           parents D, S
    something withheld     W  = S less that      parent  the base
                           S' = S again          parents S, W
                           D' = merged           parents D, W
    undone                 D' = as it was        parent  D: the source keeps what it had merged

S and D are the versions of source and destination that were merged. A source that has moved on since gets its newest
version once more on top of S', so that it stays its newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metasync.planning.changes import MergeTable

Content = Literal["remainder", "source", "newest", "after"]


@dataclass(frozen=True)
class NewVersion:
    """A version to add: on which ref, what it holds, and its parents, old ones by number, new ones by content."""

    on: Literal["source", "destination"]
    content: Content
    parents: tuple[int | Content, ...]


def new_versions(change: MergeTable, newest: int | None) -> tuple[NewVersion, ...]:
    """The versions that a merged table adds, parents first; `newest` is the source's newest version by now."""
    before = () if change.destination_version is None else (change.destination_version,)
    if change.undoes:
        return (NewVersion("destination", "after", before),)
    if not change.edge or change.source_version is None:
        return ()
    if not change.withheld or change.source_ref_id is None:
        return (NewVersion("destination", "after", (*before, change.source_version)),)
    added = [
        NewVersion("source", "remainder", change.base_versions[:1]),
        NewVersion("source", "source", (change.source_version, "remainder")),
    ]
    if newest is not None and newest != change.source_version:
        added.append(NewVersion("source", "newest", (newest, "source")))
    return (*added, NewVersion("destination", "after", (*before, "remainder")))
