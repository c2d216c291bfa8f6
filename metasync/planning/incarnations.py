"""Whether a ref that lakeFS lists is still the incarnation that is known.

A branch can be deleted and created again between two passes, at the same commit. Events say so, late, twice, in the
wrong order, or not at all, and anybody who has the webhook's token can send them: they raise a suspicion, no more. What
counts is lakeFS's list of runs, in which an action file's events are recorded. All times compared are lakeFS's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from metasync.model.lakefs import ActionRun, EventType, LakeFSEvent, Ref

_CREATES = (EventType.CREATE_BRANCH, EventType.CREATE_TAG)
_DELETES = (EventType.DELETE_BRANCH, EventType.DELETE_TAG)


def is_suspected(ref: Ref, listed_at: float, events: Iterable[LakeFSEvent]) -> bool:
    """Whether events say that the ref was deleted or created after lakeFS first listed its incarnation.

    `listed_at` is that moment by lakeFS's clock, in Unix seconds; the times of events have whole seconds.
    """
    return any(
        event.ref == ref and event.type in (*_CREATES, *_DELETES) and event.event_time >= _after(listed_at)
        for event in events
    )


def is_recreated(ref: Ref, listed_at: float, runs: Iterable[ActionRun]) -> bool:
    """Whether lakeFS's runs show that a branch was deleted and then created, after its incarnation was first listed."""
    later = [run for run in runs if run.branch == ref.name and run.started_at >= _after(listed_at)]
    deleted = [run.started_at for run in later if run.event_type == EventType.DELETE_BRANCH.value]
    return any(
        run.started_at >= min(deleted)
        for run in later
        if deleted and run.event_type == EventType.CREATE_BRANCH.value
    )  # fmt: skip


def _after(listed_at: float) -> float:
    """The first moment that is surely later: lakeFS gives its time in whole seconds, some proxies up to one late."""
    return math.floor(listed_at) + 2.0


def creation_of(ref: Ref, events: Iterable[LakeFSEvent], after: float | None = None) -> LakeFSEvent | None:
    """The newest event that created the ref; later than `after`, when a former incarnation was first listed."""
    found = [
        event
        for event in events
        if event.ref == ref and event.type in _CREATES and (after is None or event.event_time > math.floor(after))
    ]
    return max(found, key=lambda event: event.event_time, default=None)
