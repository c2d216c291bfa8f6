"""Whether a ref that is there is still the one that was known: a branch can be deleted and created again between two
looks, at the same commit, and its events can come late, twice or in the wrong order.

All times compared are lakeFS's own (whole seconds), but for a ref that a poll found, whose first sight is our clock's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType

_CREATES = (EventType.CREATE_BRANCH, EventType.CREATE_TAG)
_DELETES = (EventType.DELETE_BRANCH, EventType.DELETE_TAG)
_SKEW = 5.0
"""Seconds by which lakeFS's clock and ours may differ."""


@dataclass(frozen=True)
class KnownLife:
    """What is known of a ref's present life."""

    ref: Ref
    head: str
    born_event_time: float | None
    first_seen: float


def is_replaced(known: KnownLife, commit_now: str, events: Iterable[LakeFSEvent]) -> bool:
    """Whether the ref that lakeFS lists now at `commit_now` is another life than the known one."""
    if known.ref.type is RefType.TAG and commit_now != known.head:
        return True
    for event in events:
        if event.ref != known.ref:
            continue
        if event.type in _DELETES and _after_birth(known, event, commit_now):
            return True
        if event.type in _CREATES and event.event_time > _latest_birth(known):
            return True
    return False


def _latest_birth(known: KnownLife) -> float:
    """The last moment at which the known life can have begun."""
    return known.born_event_time if known.born_event_time is not None else known.first_seen + _SKEW


def _after_birth(known: KnownLife, deletion: LakeFSEvent, commit_now: str) -> bool:
    if known.born_event_time is not None:
        # In one and the same second, lakeFS must have deleted before it could create.
        return deletion.event_time > known.born_event_time
    # Found by a poll: two clocks are compared, so a branch that stands where it stood is believed to be the same.
    return deletion.event_time > known.first_seen + _SKEW and commit_now != known.head


def deletion_of(ref: Ref, events: Iterable[LakeFSEvent]) -> float | None:
    """When the ref was last deleted: a life that is there now began no earlier."""
    found = [event.event_time for event in events if event.ref == ref and event.type in _DELETES]
    return max(found, default=None)


def creation_of(ref: Ref, events: Iterable[LakeFSEvent]) -> LakeFSEvent | None:
    """The newest event that created the ref."""
    found = [event for event in events if event.ref == ref and event.type in _CREATES]
    return max(found, key=lambda event: event.event_time, default=None)
