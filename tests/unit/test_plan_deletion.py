"""The deletion of what a ref had, as it is planned, and the limits."""

from __future__ import annotations

from typing import Any

import pytest

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import DropDatabase, DropTable, FinishDeletion
from metasync.planning.plan import Notice, Plan
from metasync.planning.planner import make_plan
from metasync.settings.models import Safety
from tests.unit.plans import (
    DEV,
    ITEMS,
    MADE,
    MIRROR,
    ORDERS,
    SAFE,
    gone,
    kinds,
    new,
    observed,
    rules,
    source_table,
    standing,
)


def test_a_deletion_drops_what_is_ours_and_the_refs_and_then_the_database() -> None:
    mine = TableName("sales__dev_1", "mine")
    view = gone(
        2, DEV, standing(), standing("belonging", TableName("sales", "mine"), mine), standing("making", ITEMS, ITEMS)
    )
    plan = make_plan(observed(view), rules(), SAFE)
    assert plan.changes == (
        DropTable(2, DEV, 1, ORDERS, MIRROR, True, "dev"),
        DropTable(2, DEV, 1, TableName("sales", "mine"), mine, False, "dev"),
        DropTable(2, DEV, 1, ITEMS, ITEMS, True, "dev"),
        DropDatabase(2, "sales__dev_1"),
        FinishDeletion(2, DEV, False),
    )
    assert plan.counts()["drop"] == 3 and plan.pending
    assert make_plan(observed(gone(2, DEV, standing(), state="gone")), rules(), SAFE).changes == ()
    replaced = gone(2, DEV, standing(), present=True, confirmed_gone=False, replaced=True)
    assert kinds(make_plan(observed(replaced), rules(), SAFE)) == ["drop-table", "drop-database", "finish-deletion"]


@pytest.mark.parametrize("why", [{"present": True}, {"confirmed_gone": False}])
def test_nothing_is_deleted_that_is_not_certainly_gone(why: dict[str, Any]) -> None:
    assert make_plan(observed(gone(2, DEV, standing(), **why)), rules(), SAFE).changes == ()


def test_a_deletion_waits_and_for_its_grace() -> None:
    plan = make_plan(observed(gone(2, DEV, standing(), waits=True)), rules(), SAFE)
    assert plan.changes == () and plan.more
    graceful = Safety(drop_grace="60s")  # type: ignore[arg-type]
    young = make_plan(observed(gone(2, DEV, standing(), missing_for=59.0)), rules(), graceful)
    assert young.changes == () and young.notices == (
        Notice("drop-grace", "branch/dev-1", "is gone; its mirrors go after 60 s of grace"),
    )
    assert kinds(make_plan(observed(gone(2, DEV, standing(), missing_for=60.0)), rules(), graceful))
    # Its name is taken by a new life: that cannot wait.
    assert kinds(make_plan(observed(gone(2, DEV, standing(), replaced=True)), rules(), graceful))


def test_a_rule_may_keep_and_a_changed_rule_drops_nothing() -> None:
    kept = make_plan(observed(gone(2, DEV, standing())), rules(delete="keep"), SAFE)
    assert kept.changes == (FinishDeletion(2, DEV, True),) and kept.notices == ()
    narrowed = rules(tables=["hr.*"], name="other")
    orphan = make_plan(observed(gone(2, DEV, standing())), narrowed, SAFE)
    assert orphan.changes == (FinishDeletion(2, DEV, True),)
    assert orphan.notices == (
        Notice("orphan", "sales__dev_1.orders", "branch/dev-1 is gone and no rule wants it", "metasync prune"),
    )
    users = make_plan(observed(gone(2, DEV, standing("belonging"))), narrowed, SAFE)
    assert users.changes == (DropDatabase(2, "sales__dev_1"), FinishDeletion(2, DEV, False)) and users.notices == ()
    # The rule that the mirror was born under still speaks for it, though its patterns do not match any more.
    by_name = make_plan(observed(gone(2, DEV, standing())), rules(branches=["other*"], tags=[]), SAFE)
    assert kinds(by_name) == ["drop-table", "drop-database", "finish-deletion"]


def test_too_many_drops_are_held_back() -> None:
    def ends(count: int, mirrored: int) -> Plan:
        views = [gone(n, Ref(RefType.BRANCH, f"dev-{n}"), standing()) for n in range(count)]
        views += [
            new(Ref(RefType.BRANCH, f"dev-{n}"), id=n, state="live", tables=(standing(),))
            for n in range(count, mirrored)
        ]
        return make_plan(observed(*views), rules(), Safety(max_ref_drops=10, max_ref_drop_share=0.5))

    assert ends(10, 40).refusal == ""
    assert ends(11, 40).refusal == (
        "the mirrors of 11 refs of lake would be dropped in one pass, more than safety.max_ref_drops = 10"
    )
    assert ends(3, 3).refusal == "" and ends(4, 8).refusal == ""
    assert (
        ends(4, 7).refusal
        == "the mirrors of 4 of 7 refs of lake would be dropped in one pass, more than safety.max_ref_drop_share = 0.5"
    )
    assert ends(4, 7).changes == () and {c.kind for c in ends(4, 7).held} == {
        "drop-table",
        "drop-database",
        "finish-deletion",
    }


def test_what_is_held_back_holds_up_nothing_else() -> None:
    views = [gone(n, Ref(RefType.BRANCH, f"dev-{n}"), standing()) for n in range(4)]
    fresh = new(Ref(RefType.BRANCH, "dev-9"), source_table(), id=9)
    plan = make_plan(observed(*views, fresh), rules(), Safety(max_ref_drops=3))
    assert kinds(plan) == MADE and plan.refusal
    assert sum(isinstance(change, DropTable) for change in plan.held) == 4
