"""Whether a ref is still the incarnation that is known: events raise a suspicion, lakeFS's runs decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metasync.model.lakefs import ActionRun, EventType, LakeFSEvent, Ref, RefType
from metasync.planning.incarnations import creation_of, is_recreated, is_suspected

DEV, OTHER = Ref(RefType.BRANCH, "dev"), Ref(RefType.BRANCH, "other")
CREATED, DELETED = EventType.CREATE_BRANCH, EventType.DELETE_BRANCH


def event(kind: EventType, at: float, ref: Ref = DEV) -> LakeFSEvent:
    return LakeFSEvent(kind, "lake", ref, at)


def run(kind: EventType, at: float, branch: str = "dev") -> ActionRun:
    return ActionRun(kind.value, branch, "c1", at)


def test_the_newest_creation_of_a_ref() -> None:
    events = [event(CREATED, 3), event(CREATED, 5), event(CREATED, 9, OTHER), event(EventType.COMMIT, 8)]
    assert creation_of(DEV, events) == events[1] and creation_of(DEV, []) is None
    assert creation_of(DEV, events, after=3.2) == events[1] and creation_of(DEV, events, after=5.9) is None
    tag = Ref(RefType.TAG, "v")
    assert creation_of(tag, [event(EventType.CREATE_TAG, 1, tag)]) is not None


def test_events_from_before_a_ref_was_listed_raise_no_suspicion() -> None:
    # Listed within second 10, or 11 where a proxy tells the time late: what lakeFS dates 11 may have come before.
    for kind in (CREATED, DELETED):
        assert not is_suspected(DEV, 10.0, [event(kind, 9), event(kind, 11), event(kind, 99, OTHER)])
        assert is_suspected(DEV, 10.0, [event(kind, 12)]) and is_suspected(DEV, 10.7, [event(kind, 12)])
    assert not is_suspected(DEV, 10.0, [event(EventType.COMMIT, 99), event(EventType.MERGE, 99)])


def test_runs_show_a_deletion_and_then_a_creation() -> None:
    both = [run(CREATED, 12.5), run(DELETED, 12.1)]
    assert is_recreated(DEV, 10.0, both) and not is_recreated(OTHER, 10.0, both)
    assert not is_recreated(DEV, 12.2, both), "it was listed when both had happened"
    assert not is_recreated(DEV, 11.0, both), "it may have been listed after both, by a time that was told late"
    assert not is_recreated(DEV, 10.0, [run(DELETED, 12.1)]), "its creation is not recorded yet"
    assert not is_recreated(DEV, 10.0, [run(CREATED, 12.1)]), "that is the creation of what is known"
    assert not is_recreated(DEV, 10.0, [run(CREATED, 12.1), run(DELETED, 12.5)]), "the wrong way round"
    assert not is_recreated(DEV, 10.0, [run(CREATED, 12.5, "dev-2"), run(DELETED, 12.1, "dev-2")])
    skipped = [run(CREATED, -62135596800.0), run(DELETED, -62135596800.0)]
    assert not is_recreated(DEV, 10.0, skipped), "lakeFS records hooks that it skipped without a time"


@given(st.lists(st.tuples(st.sampled_from(list(EventType)), st.floats(0, 1e12))), st.floats(0, 1e12))
def test_no_events_whatever_show_that_a_ref_was_recreated(sent: list[tuple[EventType, float]], listed: float) -> None:
    events = [event(kind, at) for kind, at in sent]
    is_suspected(DEV, listed, events)
    assert not is_recreated(DEV, listed, [])
