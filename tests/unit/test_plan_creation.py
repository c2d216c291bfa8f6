"""The creation of a ref's mirrors, as it is planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.model.marks import Marks
from metasync.planning.changes import CreateMirror
from metasync.planning.observed import Occupant, Pinned, TableView
from metasync.planning.plan import NotMirrored
from metasync.planning.planner import make_plan
from metasync.settings.models import Safety
from tests.unit.plans import (
    DEV,
    FINISHED,
    HEADER,
    ITEMS,
    MADE,
    MIRROR,
    NOTHING,
    ORDERS,
    SAFE,
    TAG,
    gone,
    kinds,
    marks,
    new,
    observed,
    rules,
    source_table,
)


def test_a_creation_makes_a_mirror_of_every_table_that_a_rule_takes() -> None:
    other = source_table(TableName("hr", "people"))
    plan = make_plan(
        observed(new(DEV, source_table(), other, source_table(ITEMS, copy_of=None, partitions=0))), rules(), SAFE
    )
    assert plan.changes == (
        CreateMirror(2, DEV, 1, ORDERS, MIRROR, "dev", 7, "d", ORDERS, 3, 2),
        CreateMirror(2, DEV, 1, ITEMS, TableName("sales__dev_1", "items"), "dev", 7, "d", None, 0, 2),
        *FINISHED,
    )
    assert plan.repository == "lake" and plan.pending and not plan.more and plan.refusal == ""
    assert plan.counts() == NOTHING | {"create": 2}
    again = make_plan(observed(new(DEV, source_table(), state="making")), rules(), SAFE)
    assert kinds(again) == MADE
    assert kinds(make_plan(observed(new(DEV, source_table(), state="live")), rules(), SAFE)) == []
    ended = new(DEV, source_table(), present=False, confirmed_gone=True)
    assert "create-mirror" not in kinds(make_plan(observed(ended), rules(), SAFE))


def test_a_creation_as_of_an_old_commit_says_so_and_a_rule_may_leave_partitions_or_all_out() -> None:
    plan = make_plan(observed(new(TAG, source_table(), as_of="live")), rules(partitions="none"), SAFE)
    made, _ = plan.changes
    assert isinstance(made, CreateMirror)
    assert (made.as_of, made.partitions, made.copy_partitions) == ("live", 0, False)
    assert made.physical == TableName("sales__v1", "orders")
    assert make_plan(observed(new(DEV, source_table())), rules(create="ignore"), SAFE).changes == FINISHED
    discovering = make_plan(observed(new(DEV, source_table())), rules(partitions="discover"), SAFE).changes[0]
    assert discovering.copy_partitions and discovering.partitions == 3  # type: ignore[union-attr]


def test_what_is_skipped_is_said() -> None:
    plan = make_plan(observed(new(DEV, source_table(skipped="a view"))), rules(), SAFE)
    assert plan.changes == FINISHED and plan.notices == ()
    assert plan.not_mirrored == (NotMirrored(2, DEV, TableName("sales", "orders"), "a view"),)


def test_parameters_that_name_another_place_are_said() -> None:
    parameters = {"note": "s3a://lake/main/readme", "here": "s3a://lake/{ref}/x", "docs": "https://x/y", "k": "v"}
    sd = replace(HEADER.sd, parameters={"archive": "s3://cold/2020/x"})
    table = replace(source_table(), header=replace(HEADER, parameters=parameters, sd=sd))
    plan = make_plan(observed(new(DEV, table)), rules(), SAFE)
    (notice,) = plan.notices
    assert (notice.kind, notice.subject) == ("names-another-place", "branch/dev-1 sales.orders")
    assert notice.message.endswith(": archive (cold/2020), note (lake/main)") and "create-mirror" in kinds(plan)


@pytest.mark.parametrize("why", [{"waits": True}, {}])
def test_a_creation_waits_and_for_the_deletion_of_its_former_incarnation(why: dict[str, Any]) -> None:
    views = [new(DEV, source_table(), **why)]
    if not why:
        views.append(gone(1, DEV, replaced=True))
    plan = make_plan(observed(*views), rules(), SAFE)
    assert plan.more and "create-mirror" not in kinds(plan)
    elsewhere = make_plan(observed(new(DEV, source_table()), gone(1, DEV, state="gone")), rules(), SAFE)
    assert "create-mirror" in kinds(elsewhere)


def pinned(**more: Any) -> Pinned:
    values = {
        "logical": ORDERS, "physical": TableName("old__name", "orders"), "rule": "dev", "version": 5,
        "definition": "p", "copy_of": ITEMS, "as_of": "x", "made": False, "partitions": 4, "columns": 6,
    } | more  # fmt: skip
    return Pinned(**values)


def test_a_creation_that_was_begun_is_finished_as_it_was_planned() -> None:
    plan = make_plan(observed(new(DEV, source_table(), pinned=(pinned(),))), rules(), SAFE)
    assert plan.changes == (
        CreateMirror(2, DEV, 1, ORDERS, TableName("old__name", "orders"), "dev", 5, "p", ITEMS, 4, 6, "x", True, False),
        *FINISHED,
    )
    name = pinned().physical
    half = Occupant(HEADER, marks(name=name, making="plan-2"))
    resumed = make_plan(observed(new(DEV, pinned=(pinned(),)), occupied={name: half}), rules(), SAFE).changes[0]
    assert isinstance(resumed, CreateMirror) and resumed.resumed
    assert make_plan(observed(new(DEV, source_table(), pinned=(pinned(made=True),))), rules(), SAFE).changes == FINISHED
    without = make_plan(observed(new(DEV, pinned=(pinned(),))), rules(partitions="none"), SAFE).changes[0]
    assert isinstance(without, CreateMirror) and not without.copy_partitions
    foreign = Occupant(HEADER, None)
    refused = make_plan(observed(new(DEV, pinned=(pinned(),)), occupied={name: foreign}), rules(), SAFE)
    assert refused.changes == () and [n.kind for n in refused.refusals] == ["foreign-table"]
    renamed = make_plan(observed(new(DEV, pinned=(pinned(rule="gone"),))), rules(), SAFE).changes[0]
    assert isinstance(renamed, CreateMirror) and renamed.copy_partitions


def test_a_name_that_another_ref_holds_is_refused_or_told_apart() -> None:
    claims = {MIRROR: 9}
    holder = new(Ref(RefType.BRANCH, "dev_1"), id=9, state="live")
    plan = make_plan(observed(new(DEV, source_table()), holder, claims=claims), rules(), SAFE)
    (refusal,) = plan.refusals
    assert plan.changes == () and plan.counts()["refused"] == 1
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("name-collision", "branch/dev-1 sales.orders", 2)
    assert (
        refusal.message == "would be called sales__dev_1.orders, which branch/dev_1 holds"
        and "on_collision" in refusal.help
    )
    far = make_plan(observed(new(DEV, source_table()), claims=claims), rules(), SAFE).refusals[0]
    assert "a ref of another repository" in far.message
    mine = make_plan(observed(new(DEV, source_table()), claims={MIRROR: 2}), rules(), SAFE)
    assert kinds(mine) == MADE
    hashed = make_plan(
        observed(new(DEV, source_table()), claims=claims), rules(target={"on_collision": "hash"}), SAFE
    ).changes[0]
    assert isinstance(hashed, CreateMirror) and hashed.physical != MIRROR
    both = make_plan(
        observed(new(DEV, source_table()), claims={MIRROR: 9, hashed.physical: 8}),
        rules(target={"on_collision": "hash"}),
        SAFE,
    )
    assert [n.kind for n in both.refusals] == ["name-collision"]
    two = make_plan(
        observed(new(DEV, source_table()), new(Ref(RefType.BRANCH, "dev_1"), source_table(), id=3)), rules(), SAFE
    )
    assert kinds(two) == MADE and [n.kind for n in two.refusals] == ["name-collision"]


def test_a_canonical_name_is_never_a_target() -> None:
    plan = make_plan(observed(new(DEV, source_table()), canonical=frozenset({MIRROR})), rules(), SAFE)
    (refusal,) = plan.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("canonical-name", "branch/dev-1 sales.orders", 2)
    assert "sales__dev_1.orders" in refusal.message and refusal.help == "change the rule's target"
    literal = rules(branches=["dev-1"], tags=[], target={"database": "{database}", "table": "{table}"})
    itself = make_plan(observed(new(DEV, source_table())), literal, SAFE)
    assert [n.kind for n in itself.refusals] == ["canonical-name"]


def test_a_branchs_mirrors_do_not_come_among_canonical_tables_unless_the_rule_says_so() -> None:
    def planned(ref: Ref, **target: Any) -> Any:
        views = new(ref, source_table(), source_table(ITEMS))
        into = {"database": "{database}", "table": "{table}__{ref}", **target}
        return make_plan(observed(views, canonical=frozenset({ORDERS, ITEMS})), rules(target=into), SAFE)

    (refusal,) = planned(DEV).refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("canonical-database", "branch/dev-1 sales", 2)
    assert "create-mirror" not in kinds(planned(DEV)) and "finish-creation" not in kinds(planned(DEV))
    for allowed in (planned(DEV, in_canonical_database=True), planned(TAG)):
        assert not allowed.refusals and kinds(allowed).count("create-mirror") == 2


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (None, "foreign-table", "a table that is not ours"),
        (marks(instance="other"), "foreign-table", "a table of the metasync instance 'other'"),
        (marks(incarnation=2), "other-incarnation", "another incarnation (2)"),
        (marks(Ref(RefType.BRANCH, "dev_1")), "name-collision", "is the mirror of lake branch/dev_1"),
        (marks(repository="pond"), "name-collision", "is the mirror of pond branch/dev-1"),
        (marks(making="plan-2"), "", ""),
        (marks(), "belongs", ""),
    ],
)
def test_what_stands_at_a_mirrors_name(found: Marks | None, kind: str, words: str) -> None:
    plan = make_plan(observed(new(DEV, source_table()), occupied={MIRROR: Occupant(HEADER, found)}), rules(), SAFE)
    if kind in ("", "belongs"):
        assert plan.refusals == () and kinds(plan) == (MADE[1:] if kind else MADE)
        return
    (refusal,) = plan.refusals
    assert refusal.kind == kind and words in refusal.message and refusal.help and refusal.ref_id == 2
    assert refusal.subject == f"branch/dev-1 {MIRROR}" and plan.changes == ()


def test_a_users_table_on_the_branch_is_no_refusal() -> None:
    own = TableView(MIRROR, ORDERS, HEADER, "belonging")
    plan = make_plan(
        observed(new(DEV, source_table(), tables=(own,)), occupied={MIRROR: Occupant(HEADER, None)}), rules(), SAFE
    )
    assert plan.changes == FINISHED and plan.refusals == ()


def test_limits_of_a_creation() -> None:
    few = Safety(max_partitions_per_table=3, max_tables_per_ref=1)
    assert kinds(make_plan(observed(new(DEV, source_table())), rules(), few)) == MADE
    many = make_plan(observed(new(DEV, source_table(partitions=4), source_table(ITEMS))), rules(), few)
    assert [c.logical for c in many.changes if isinstance(c, CreateMirror)] == [ITEMS]
    (refusal,) = many.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("too-many-partitions", "branch/dev-1 sales.orders", 2)
    assert "has 4 partitions" in refusal.message and "= 3" in refusal.message and "partitions: none" in refusal.help
    two = make_plan(
        observed(new(DEV, source_table(), source_table(ITEMS)), new(TAG, source_table(), id=3)), rules(), few
    )
    assert [c.ref_id for c in two.changes if isinstance(c, CreateMirror)] == [3]
    (refusal,) = two.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("too-many-tables", "branch/dev-1", 2)
    assert "2 mirrors" in refusal.message and "= 1" in refusal.message and refusal.help
    begun = make_plan(observed(new(DEV, source_table(ITEMS), pinned=(pinned(made=True),))), rules(), few)
    assert begun.changes == ()
