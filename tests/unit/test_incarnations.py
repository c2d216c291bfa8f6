"""Lives of refs: which events begin and end them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.planning.incarnations import KnownLife, creation_of, deletion_of, is_replaced

DEV, OTHER = Ref(RefType.BRANCH, "dev"), Ref(RefType.BRANCH, "other")


def event(kind: EventType, at: float, ref: Ref = DEV) -> LakeFSEvent:
    return LakeFSEvent(kind, "lake", ref, at)


def test_the_newest_creation_and_deletion_of_a_ref() -> None:
    events = [
        event(EventType.CREATE_BRANCH, 3), event(EventType.CREATE_BRANCH, 5), event(EventType.CREATE_BRANCH, 9, OTHER),
        event(EventType.DELETE_BRANCH, 4), event(EventType.DELETE_BRANCH, 2), event(EventType.COMMIT, 8),
    ]  # fmt: skip
    assert creation_of(DEV, events) == events[1] and deletion_of(DEV, events) == 4
    assert creation_of(DEV, []) is None and deletion_of(DEV, []) is None
    tag = Ref(RefType.TAG, "v")
    assert (
        creation_of(tag, [event(EventType.CREATE_TAG, 1, tag)]) is not None
        and deletion_of(tag, [event(EventType.DELETE_TAG, 1, tag)]) == 1
    )


@pytest.mark.parametrize(
    ("born", "seen", "events", "replaced"),
    [
        (10, 11, [(EventType.CREATE_BRANCH, 10)], False), (10, 11, [(EventType.CREATE_BRANCH, 11)], True),
        (10, 11, [(EventType.DELETE_BRANCH, 10)], False), (10, 11, [(EventType.DELETE_BRANCH, 11)], True),
        (None, 20, [(EventType.CREATE_BRANCH, 25)], False), (None, 20, [(EventType.CREATE_BRANCH, 26)], True),
        (None, 20, [(EventType.DELETE_BRANCH, 26)], False), (10, 11, [(EventType.COMMIT, 99)], False), (10, 11, [], False),
    ],
)  # fmt: skip
def test_which_events_end_a_life(born: float | None, seen: float, events: Any, replaced: bool) -> None:
    known = KnownLife(DEV, "c1", born, seen)
    found = [event(kind, at) for kind, at in events]
    assert is_replaced(known, "c1", found) is replaced
    assert not is_replaced(known, "c1", [event(kind, at, OTHER) for kind, at in events])
    if born is None and events and events[0][0] is EventType.DELETE_BRANCH:
        assert is_replaced(known, "c2", found) and not is_replaced(known, "c2", [event(EventType.DELETE_BRANCH, 25)])
    assert is_replaced(replace(known, ref=Ref(RefType.TAG, "dev")), "c2", []) and not is_replaced(known, "c2", [])
