"""Pauses as a filter over plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import (
    CreateMirror,
    DropDatabase,
    DropTable,
    FinishCreation,
    FinishDeletion,
    FinishMerge,
    MergeTable,
    owner_of,
    subject_of,
)
from metasync.planning.pauses import Pause, hold_back, pause_of
from metasync.planning.plan import Notice, Plan
from metasync.planning.planner import make_plan
from metasync.settings.models import Safety
from tests.unit.plans import DEV, MIRROR, SAFE, gone, new, observed, rules, source_table, standing

ALL, DEV_RULE, OTHER = (Pause(n, rule, "maintenance", "ana", 1.0) for n, rule in enumerate((None, "dev", "other")))
T = TableName("sales", "t")
MAIN = Ref(RefType.BRANCH, "main")


def create(ref_id: int, rule: str = "dev") -> CreateMirror:
    return CreateMirror(ref_id, DEV, 1, T, MIRROR, rule, 1, "d", None, 0, 1)


def merge(merge_id: int, rule: str = "dev") -> MergeTable:
    return MergeTable(merge_id, "c", "branch/dev", 2, MAIN, 1, T, T, rule, 1, 2, (), None, None)


def end(ref_id: int, rule: str = "dev") -> tuple[Any, ...]:
    drop = DropTable(ref_id, DEV, 1, T, MIRROR, True, rule)
    return drop, DropDatabase(ref_id, "sales__dev"), FinishDeletion(ref_id, DEV)


def finish(merge_id: int) -> FinishMerge:
    return FinishMerge(merge_id, "c", "branch/dev", MAIN, 1)


def test_nothing_is_held_without_a_pause() -> None:
    plan = Plan("lake", (create(1), merge(1), finish(1)))
    assert hold_back(plan, ()) is plan and hold_back(plan, (OTHER,)) == plan


def test_a_rule_that_is_paused_holds_whole_refs_and_whole_merges() -> None:
    changes = (
        merge(1),
        merge(1, "other"),
        finish(1),
        merge(2, "other"),
        finish(2),
        create(3),
        *end(4),
        *end(5, "other"),
    )
    held = hold_back(Plan("lake", changes), (DEV_RULE,))
    assert held.changes == (merge(2, "other"), finish(2), *end(5, "other"))
    said = [(n.subject, n.help, n.ref_id) for n in held.notices]
    assert said == [
        ("branch/dev -> branch/main", "metasync resume --rule dev", 0),
        ("branch/dev-1", "metasync resume --rule dev", 3),
        ("branch/dev-1", "metasync resume --rule dev", 4),
    ]
    assert all("maintenance" in n.message and "ana" in n.message for n in held.notices)


def test_a_pause_of_all_holds_everything() -> None:
    plan = Plan("lake", (create(1), merge(1), finish(1), finish(2), *end(4)), (Notice("k", "s", "m"),))
    held = hold_back(plan, (DEV_RULE, ALL))
    assert held.changes == () and held.refusals == plan.refusals
    assert {n.help for n in held.notices} == {"metasync resume"}


def test_that_nothing_is_left_to_do_is_noted_during_a_pause() -> None:
    done = FinishCreation(1, DEV)
    plan = Plan("lake", (done,))
    assert hold_back(plan, (ALL,)) == plan
    assert hold_back(Plan("lake", (create(1), done)), (ALL,)).changes == ()


@pytest.mark.parametrize(
    ("rule", "pauses", "found"),
    [("dev", (), None), ("dev", (OTHER,), None), ("dev", (OTHER, DEV_RULE), DEV_RULE), ("dev", (DEV_RULE, ALL), ALL), (None, (DEV_RULE,), None), (None, (ALL,), ALL)],
)  # fmt: skip
def test_which_pause_counts(rule: str | None, pauses: tuple[Pause, ...], found: Pause | None) -> None:
    assert pause_of(rule, pauses) == found


CHANGES = st.lists(
    st.one_of(
        st.builds(create, st.integers(1, 4), st.sampled_from(["dev", "other", "third"])),
        st.builds(merge, st.integers(1, 4), st.sampled_from(["dev", "other", "third"])),
        st.builds(finish, st.integers(1, 4)),
    ),
    max_size=12,
)


@given(CHANGES, st.lists(st.sampled_from([ALL, DEV_RULE, OTHER]), max_size=3))
def test_what_is_left_is_whole_and_not_paused(changes: list[Any], pauses: list[Pause]) -> None:
    plan = Plan("lake", tuple(changes))
    held = hold_back(plan, pauses)
    for change in held.changes:
        assert pause_of(getattr(change, "rule", None), pauses) is None
    gone = [change for change in changes if change not in held.changes]
    assert not {owner_of(c) for c in gone} & {owner_of(c) for c in held.changes}
    assert len(held.notices) == len({owner_of(c) for c in gone})
    assert hold_back(held, pauses) == held


def test_what_is_held_is_no_danger() -> None:
    """Ends that wait for a pause do not make a plan too large."""
    refs = [gone(n, Ref(RefType.BRANCH, f"dev-{n}"), standing()) for n in range(1, 4)]
    safety = Safety(max_ref_drops=1)
    assert make_plan(observed(*refs), rules(), safety).refusal
    held = make_plan(observed(*refs, pauses=(ALL,)), rules(), safety)
    assert not held.refusal and not held.changes and len(held.notices) == 3


def test_a_blocked_store_plans_nothing() -> None:
    seen = observed(new(DEV, source_table()), blocked="other-store: x was made by another")
    plan = make_plan(seen, rules(), SAFE)
    assert not plan.changes and plan.refusal == "lake: x was made by another"
    assert [(n.kind, "metasync adopt lake" in n.help) for n in plan.refusals] == [("other-store", True)]


def test_subjects() -> None:
    found = [subject_of(change) for change in (create(1), *end(1), finish(1), merge(1))]
    assert found == [str(MIRROR), str(MIRROR), "sales__dev", "branch/dev-1", "branch/dev -> branch/main", "sales.t"]
    assert owner_of(create(3)) == ("ref", 3) and owner_of(merge(4)) == owner_of(finish(4)) == ("merge", 4)
    assert replace(create(3), ref_id=4) == create(4)
