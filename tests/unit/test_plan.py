"""`make_plan`: what is seen, in; what shall be done, out. No server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import FieldSchema, StorageDescriptor, Table, TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.changes import (
    CopyStatistics,
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    FinishCreation,
    FinishDeletion,
    FinishDiscovery,
    FinishMerge,
    MergeTable,
    PartitionChange,
)
from metasync.planning.discovery import Directory, discovered, values_of, wanted_values
from metasync.planning.merge import MergeInput
from metasync.planning.observed import (
    DiscoveredTable,
    MergeTableView,
    MergeView,
    Observed,
    Occupant,
    Pinned,
    RefView,
    SourceTable,
    TableView,
)
from metasync.planning.plan import Notice, Plan, plan_from_json, plan_to_json
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.planning.version_edges import new_versions
from metasync.settings.models import Rule, Safety
from tests.tables_in_yaml import definition

LAKE = Repository("lake", 1, "local://lake", "main")
DEV, TAG = Ref(RefType.BRANCH, "dev-1"), Ref(RefType.TAG, "v1")
ORDERS, ITEMS = TableName("sales", "orders"), TableName("sales", "items")
MIRROR = TableName("sales__dev_1", "orders")
SAFE = Safety()
NOTHING = dict.fromkeys(("create", "alter", "drop", "withheld", "conflict", "refused", "held", "failed"), 0)
HEADER = Table("", "", StorageDescriptor(cols=(FieldSchema("id", "int"), FieldSchema("a", "int"))))


def rules(*more: Any, **options: Any) -> RuleSet:
    first = {"name": "dev", "repository": "lake", "branches": ["dev*"], "tags": ["v*"], "tables": ["sales.*"]} | options
    return RuleSet((Rule(**first), *(Rule(**one) for one in more)))


def observed(*refs: RefView, **more: Any) -> Observed:
    return Observed(LAKE, "metasync", "store", refs=refs, **more)


def birth(logical: TableName = ORDERS, **more: Any) -> SourceTable:
    values = {"version": 7, "definition": "d", "header": HEADER, "partitions": 3, "copy_of": logical} | more
    return SourceTable(logical, **values)


def new(ref: Ref = DEV, *tables: SourceTable, **more: Any) -> RefView:
    values: dict[str, Any] = {
        "id": 2,
        "incarnation": 1,
        "state": "new",
        "present": True,
        "head": "c1",
        "to_create": tables,
    }
    return RefView(ref=ref, **(values | more))


def marks(ref: Ref = DEV, name: TableName = MIRROR, **more: Any) -> Marks:
    values = {
        "instance": "metasync", "store": "store", "repository": "lake", "ref": str(ref), "incarnation": 1,
        "name": str(name), "table": "sales.orders", "rule": "dev",
    } | more  # fmt: skip
    return Marks(**values)


def standing(kind: Any = "mirror", logical: TableName = ORDERS, name: TableName = MIRROR, **more: Any) -> TableView:
    return TableView(name, logical, HEADER, kind, None if kind == "belonging" else marks(name=name, **more))


def gone(number: int = 2, ref: Ref = DEV, *tables: TableView, **more: Any) -> RefView:
    values: dict[str, Any] = {
        "incarnation": 1, "state": "live", "present": False, "head": "c1", "confirmed_gone": True,
        "tables": tables, "databases": ("sales__dev_1",),
    }  # fmt: skip
    return RefView(id=number, ref=ref, **(values | more))


def kinds(plan: Plan) -> list[str]:
    return [change.kind for change in plan.changes]


MADE = ["create-mirror", "finish-creation"]
"""The plan of a ref that gets one mirror, of which nothing is refused."""
FINISHED = (FinishCreation(2, DEV),)


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(n.kind, n.subject) for n in (*plan.refusals, *plan.notices)]


# Birth


def test_a_birth_makes_a_mirror_of_every_table_that_a_rule_takes() -> None:
    other = birth(TableName("hr", "people"))
    plan = make_plan(observed(new(DEV, birth(), other, birth(ITEMS, copy_of=None, partitions=0))), rules(), SAFE)
    assert plan.changes == (
        CreateMirror(2, DEV, 1, ORDERS, MIRROR, "dev", 7, "d", ORDERS, 3, 2),
        CreateMirror(2, DEV, 1, ITEMS, TableName("sales__dev_1", "items"), "dev", 7, "d", None, 0, 2),
        *FINISHED,
    )
    assert plan.repository == "lake" and plan.pending and not plan.more and plan.refusal == ""
    assert plan.counts() == NOTHING | {"create": 2}
    again = make_plan(observed(new(DEV, birth(), state="making")), rules(), SAFE)
    assert kinds(again) == MADE
    assert kinds(make_plan(observed(new(DEV, birth(), state="live")), rules(), SAFE)) == []
    ended = new(DEV, birth(), present=False, confirmed_gone=True)
    assert "create-mirror" not in kinds(make_plan(observed(ended), rules(), SAFE))


def test_a_birth_as_of_an_old_commit_says_so_and_a_rule_may_leave_partitions_or_all_out() -> None:
    plan = make_plan(observed(new(TAG, birth(), as_of="live")), rules(partitions="none"), SAFE)
    made, _ = plan.changes
    assert isinstance(made, CreateMirror)
    assert (made.as_of, made.partitions, made.copy_partitions) == ("live", 0, False)
    assert made.physical == TableName("sales__v1", "orders")
    assert make_plan(observed(new(DEV, birth())), rules(create="ignore"), SAFE).changes == FINISHED
    discovering = make_plan(observed(new(DEV, birth())), rules(partitions="discover"), SAFE).changes[0]
    assert discovering.copy_partitions and discovering.partitions == 3  # type: ignore[union-attr]


def test_what_is_skipped_is_said() -> None:
    plan = make_plan(observed(new(DEV, birth(skipped="a view"))), rules(), SAFE)
    assert plan.changes == FINISHED and plan.notices == (Notice("skipped", "branch/dev-1 sales.orders", "a view"),)


@pytest.mark.parametrize("why", [{"waits": True}, {}])
def test_a_birth_waits_and_for_the_end_of_its_former_life(why: dict[str, Any]) -> None:
    views = [new(DEV, birth(), **why)]
    if not why:
        views.append(gone(1, DEV, replaced=True))
    plan = make_plan(observed(*views), rules(), SAFE)
    assert plan.more and "create-mirror" not in kinds(plan)
    elsewhere = make_plan(observed(new(DEV, birth()), gone(1, DEV, state="gone")), rules(), SAFE)
    assert "create-mirror" in kinds(elsewhere)


def pinned(**more: Any) -> Pinned:
    values = {
        "logical": ORDERS, "physical": TableName("old__name", "orders"), "rule": "dev", "version": 5,
        "definition": "p", "copy_of": ITEMS, "as_of": "x", "made": False, "partitions": 4, "columns": 6,
    } | more  # fmt: skip
    return Pinned(**values)


def test_a_birth_that_was_begun_is_finished_as_it_was_planned() -> None:
    plan = make_plan(observed(new(DEV, birth(), pinned=(pinned(),))), rules(), SAFE)
    assert plan.changes == (
        CreateMirror(2, DEV, 1, ORDERS, TableName("old__name", "orders"), "dev", 5, "p", ITEMS, 4, 6, "x", True, False),
        *FINISHED,
    )
    name = pinned().physical
    half = Occupant(HEADER, marks(name=name, making="birth-2"))
    resumed = make_plan(observed(new(DEV, pinned=(pinned(),)), occupied={name: half}), rules(), SAFE).changes[0]
    assert isinstance(resumed, CreateMirror) and resumed.resumed
    assert make_plan(observed(new(DEV, birth(), pinned=(pinned(made=True),))), rules(), SAFE).changes == FINISHED
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
    plan = make_plan(observed(new(DEV, birth()), holder, claims=claims), rules(), SAFE)
    (refusal,) = plan.refusals
    assert plan.changes == () and plan.counts()["refused"] == 1
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("name-collision", "branch/dev-1 sales.orders", 2)
    assert (
        refusal.message == "would be called sales__dev_1.orders, which branch/dev_1 holds"
        and "on_collision" in refusal.help
    )
    far = make_plan(observed(new(DEV, birth()), claims=claims), rules(), SAFE).refusals[0]
    assert "a ref of another repository" in far.message
    mine = make_plan(observed(new(DEV, birth()), claims={MIRROR: 2}), rules(), SAFE)
    assert kinds(mine) == MADE
    hashed = make_plan(
        observed(new(DEV, birth()), claims=claims), rules(target={"on_collision": "hash"}), SAFE
    ).changes[0]
    assert isinstance(hashed, CreateMirror) and hashed.physical != MIRROR
    both = make_plan(
        observed(new(DEV, birth()), claims={MIRROR: 9, hashed.physical: 8}),
        rules(target={"on_collision": "hash"}),
        SAFE,
    )
    assert [n.kind for n in both.refusals] == ["name-collision"]
    two = make_plan(observed(new(DEV, birth()), new(Ref(RefType.BRANCH, "dev_1"), birth(), id=3)), rules(), SAFE)
    assert kinds(two) == MADE and [n.kind for n in two.refusals] == ["name-collision"]


def test_a_canonical_name_is_never_a_target() -> None:
    plan = make_plan(observed(new(DEV, birth()), canonical=frozenset({MIRROR})), rules(), SAFE)
    (refusal,) = plan.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("canonical-name", "branch/dev-1 sales.orders", 2)
    assert "sales__dev_1.orders" in refusal.message and refusal.help == "change the rule's target"
    literal = rules(branches=["dev-1"], tags=[], target={"database": "{database}", "table": "{table}"})
    itself = make_plan(observed(new(DEV, birth())), literal, SAFE)
    assert [n.kind for n in itself.refusals] == ["canonical-name"]


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (None, "foreign-table", "a table that is not ours"),
        (marks(instance="other"), "foreign-table", "a table of the metasync instance 'other'"),
        (marks(incarnation=2), "other-incarnation", "another incarnation (2)"),
        (marks(Ref(RefType.BRANCH, "dev_1")), "name-collision", "is the mirror of lake branch/dev_1"),
        (marks(repository="pond"), "name-collision", "is the mirror of pond branch/dev-1"),
        (marks(making="birth-2"), "", ""),
        (marks(), "belongs", ""),
    ],
)
def test_what_stands_at_a_mirrors_name(found: Marks | None, kind: str, words: str) -> None:
    plan = make_plan(observed(new(DEV, birth()), occupied={MIRROR: Occupant(HEADER, found)}), rules(), SAFE)
    if kind in ("", "belongs"):
        assert plan.refusals == () and kinds(plan) == (MADE[1:] if kind else MADE)
        return
    (refusal,) = plan.refusals
    assert refusal.kind == kind and words in refusal.message and refusal.help and refusal.ref_id == 2
    assert refusal.subject == f"branch/dev-1 {MIRROR}" and plan.changes == ()


def test_a_users_table_on_the_branch_is_no_refusal() -> None:
    own = TableView(MIRROR, ORDERS, HEADER, "belonging")
    plan = make_plan(
        observed(new(DEV, birth(), tables=(own,)), occupied={MIRROR: Occupant(HEADER, None)}), rules(), SAFE
    )
    assert plan.changes == FINISHED and plan.refusals == ()


def test_limits_of_a_birth() -> None:
    few = Safety(max_partitions_per_table=3, max_tables_per_ref=1)
    assert kinds(make_plan(observed(new(DEV, birth())), rules(), few)) == MADE
    many = make_plan(observed(new(DEV, birth(partitions=4), birth(ITEMS))), rules(), few)
    assert [c.logical for c in many.changes if isinstance(c, CreateMirror)] == [ITEMS]
    (refusal,) = many.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("too-many-partitions", "branch/dev-1 sales.orders", 2)
    assert "has 4 partitions" in refusal.message and "= 3" in refusal.message and "partitions: none" in refusal.help
    two = make_plan(observed(new(DEV, birth(), birth(ITEMS)), new(TAG, birth(), id=3)), rules(), few)
    assert [c.ref_id for c in two.changes if isinstance(c, CreateMirror)] == [3]
    (refusal,) = two.refusals
    assert (refusal.kind, refusal.subject, refusal.ref_id) == ("too-many-tables", "branch/dev-1", 2)
    assert "2 mirrors" in refusal.message and "= 1" in refusal.message and refusal.help
    begun = make_plan(observed(new(DEV, birth(ITEMS), pinned=(pinned(made=True),))), rules(), few)
    assert begun.changes == ()


# End


def test_an_end_drops_what_is_ours_and_the_refs_and_then_the_database() -> None:
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
def test_nothing_ends_that_is_not_certainly_gone(why: dict[str, Any]) -> None:
    assert make_plan(observed(gone(2, DEV, standing(), **why)), rules(), SAFE).changes == ()


def test_an_end_waits_and_for_its_grace() -> None:
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
    fresh = new(Ref(RefType.BRANCH, "dev-9"), birth(), id=9)
    plan = make_plan(observed(*views, fresh), rules(), Safety(max_ref_drops=3))
    assert kinds(plan) == MADE and plan.refusal
    assert sum(isinstance(change, DropTable) for change in plan.held) == 4


# Merge


def merging(*tables: MergeTableView, **more: Any) -> MergeView:
    return MergeView(5, "c0ffee", "branch/dev-1", 2, Ref(RefType.BRANCH, "main"), 1, tables=tables, **more)


def table(source: Any, destination: Any, base: Any = None, name: TableName = ORDERS, **more: Any) -> MergeTableView:
    versions = {1: definition(base or destination), 2: definition(source), 3: definition(destination)}
    return MergeTableView(name, "dev", name, MergeInput({1: (), 2: (1,), 3: (1,)}, versions, 2, 3), **more)


BEFORE, AFTER = {"columns": "id int"}, {"columns": "id int, a int"}


def test_a_merge_carries_what_the_source_changed() -> None:
    live = TableView(ORDERS, ORDERS, replace(HEADER, parameters={"transient_lastDdlTime": "9"}), "canonical")
    copy = CopyStatistics(5, ORDERS, "dev", MIRROR, ORDERS)
    view = merging(table(AFTER, BEFORE, live=live), note="guessed", statistics=(copy,), own_commit="c0ffee", head="d4")
    plan = make_plan(observed(merges=(view,)), rules(), SAFE)
    change, copied, finish = plan.changes
    assert isinstance(change, MergeTable) and copied == copy
    assert finish == FinishMerge(5, "c0ffee", "branch/dev-1", Ref(RefType.BRANCH, "main"), 1)
    assert (change.merge_id, change.merge_commit, change.heads, change.source) == (
        5,
        "c0ffee",
        ("c0ffee", "d4"),
        "branch/dev-1",
    )
    assert (change.source_ref_id, change.destination_ref_id, change.stamp, change.edge) == (2, 1, "9", True)
    assert (change.source_version, change.destination_version, change.base_versions) == (2, 3, (1,))
    assert (change.logical, change.physical, change.rule) == (ORDERS, ORDERS, "dev")
    assert change.before is not None and change.after is not None and change.writes and not change.resumed
    assert change.waiting is None and change.remainder is None and change.remainder_partitions == ()
    assert plan.notices == (Notice("merge-note", "branch/dev-1 -> branch/main", "guessed"),)
    assert plan.merges == (change,) and plan.conflicts == () and plan.pending
    assert plan.counts() == NOTHING | {"alter": 1}
    assert make_plan(observed(merges=(replace(view, head="c0ffee"),)), rules(), SAFE).merges[0].heads == ("c0ffee",)
    assert make_plan(observed(merges=(replace(view, own_commit=""),)), rules(), SAFE).merges[0].heads == ("d4",)


def test_a_merge_that_changes_nothing_is_only_closed() -> None:
    plan = make_plan(observed(merges=(merging(table(BEFORE, AFTER, BEFORE)),)), rules(), SAFE)
    assert kinds(plan) == ["finish-merge"] and not plan.pending
    ignored = make_plan(observed(merges=(merging(table(AFTER, BEFORE)),)), rules(merge="ignore"), SAFE)
    assert kinds(ignored) == ["finish-merge"]
    unknown = make_plan(observed(merges=(merging(table(AFTER, BEFORE)),)), rules(name="other"), SAFE)
    assert kinds(unknown) == ["finish-merge"]
    skipped = make_plan(observed(merges=(merging(table(AFTER, BEFORE, skipped="Iceberg")),)), rules(), SAFE)
    assert kinds(skipped) == ["finish-merge"]
    assert skipped.notices == (Notice("skipped", "branch/dev-1 -> branch/main sales.orders", "Iceberg"),)


def test_what_is_withheld_waits_as_a_change_of_its_own() -> None:
    wide = {"columns": "id int, old int", "keys": "dt string", "partitions": ["1", "2"]}
    narrow = {"columns": "id int, new int", "keys": "dt string", "partitions": ["2", "3"]}
    (change,) = make_plan(observed(merges=(merging(table(narrow, wide)),)), rules(), SAFE).merges
    assert [item.path[-1] for item in change.withheld] == ["old", '["1"]']
    assert [p.values for p in change.partitions] == [("3",)]
    assert change.remainder is not None and [c.name for c in change.remainder.sd.cols] == ["id", "new", "old"]
    assert [(p.values, p.after is None) for p in change.remainder_partitions] == [(("1",), False)]
    waiting = change.waiting
    assert waiting is not None and waiting.items == change.withheld and waiting.withheld == ()
    assert waiting.before == change.after and [p.values for p in waiting.partitions] == [("1",)]
    assert waiting.after is not None and [c.name for c in waiting.after.sd.cols] == ["id", "new"]
    assert change.renames == (("old", "new"),)
    assert [v.content for v in new_versions(change, 2)] == ["remainder", "source", "after"]
    assert [v.content for v in new_versions(change, 9)] == ["remainder", "source", "newest", "after"]
    assert new_versions(change, 9)[2].parents == (9, "source")
    assert [v.parents for v in new_versions(change, None)] == [(1,), (2, "remainder"), (3, "remainder")]
    assert [v.parents for v in new_versions(replace(change, source_ref_id=None), None)] == [(3, 2)]
    assert [v.parents for v in new_versions(replace(change, undoes=True), None)] == [(3,)]
    assert new_versions(replace(change, edge=False), None) == ()
    assert new_versions(replace(change, source_version=None), None) == ()
    assert [v.parents for v in new_versions(replace(change, destination_version=None, withheld=()), 2)] == [(2,)]
    assert [v.on for v in new_versions(change, 9)] == ["source", "source", "source", "destination"]


def test_nothing_carried_leaves_no_edge() -> None:
    (change,) = make_plan(observed(merges=(merging(table(AFTER, BEFORE)),)), rules(merge="plan"), SAFE).merges
    assert not change.edge and change.withheld and not change.writes and change.waiting is not None
    assert change.waiting.edge
    settled = make_plan(observed(merges=(merging(table(AFTER, AFTER, BEFORE)),)), rules(), SAFE).merges
    assert [(m.edge, m.writes) for m in settled] == [(True, False)]


@pytest.mark.parametrize("problem", ["foreign-table", "destination-off-ref"])
def test_a_problem_at_the_destination_stops_its_table_and_its_statistics(problem: str) -> None:
    copies = (CopyStatistics(5, ORDERS, "dev", MIRROR, ORDERS), CopyStatistics(5, ITEMS, "dev", MIRROR, ITEMS))
    view = merging(table(AFTER, BEFORE, problem=problem), table(AFTER, BEFORE, name=ITEMS), statistics=copies)
    plan = make_plan(observed(merges=(view,)), rules(), SAFE)
    stopped, other = sorted(plan.merges, key=lambda m: m.logical == ITEMS)
    assert [(c.path, c.reason) for c in stopped.conflicts] == [((), problem)] and not stopped.writes
    assert not stopped.edge and stopped.items == () and stopped.after == stopped.before
    assert other.writes and [c.logical for c in plan.changes if isinstance(c, CopyStatistics)] == [ITEMS]
    assert plan.counts()["conflict"] == 1 and [merge for merge, _ in plan.conflicts] == [stopped]


def test_a_destination_of_a_format_that_is_not_merged_stops() -> None:
    iceberg = TableView(ORDERS, ORDERS, replace(HEADER, parameters={"table_type": "ICEBERG"}), "canonical")
    (change,) = make_plan(observed(merges=(merging(table(AFTER, BEFORE, live=iceberg)),)), rules(), SAFE).merges
    assert [c.reason for c in change.conflicts] == ["format-not-merged"]


def test_a_started_merge_is_finished_and_not_planned_anew() -> None:
    (change,) = make_plan(observed(merges=(merging(table(AFTER, BEFORE)),)), rules(), SAFE).merges
    plan = make_plan(observed(merges=(merging(started=True, unfinished=(change,), note="x"),)), rules(), SAFE)
    assert plan.changes[0] == replace(change, resumed=True) and kinds(plan) == ["merge-table", "finish-merge"]
    assert plan.notices == ()


def test_more_follows_where_merges_wait() -> None:
    assert make_plan(observed(behind=1), rules(), SAFE).more
    assert not make_plan(observed(behind=0), rules(), SAFE).more
    assert make_plan(observed(merges=(merging(),)), rules(partitions="discover"), SAFE).more
    assert not make_plan(observed(merges=(merging(),)), rules(), SAFE).more
    assert not make_plan(observed(), rules(partitions="discover"), SAFE).more


def test_strategies_decide_only_where_the_data_changed() -> None:
    sides = {
        "source": {"parameters": {"k": "2"}},
        "destination": {"parameters": {"k": "3"}},
        "base": {"parameters": {"k": "1"}},
    }
    for strategy, changed, value in (
        ("source-wins", True, "2"), ("dest-wins", True, "3"), ("source-wins", False, None), ("", True, None),
    ):  # fmt: skip
        view = merging(table(**sides, data_changed=changed), strategy=strategy)
        (change,) = make_plan(observed(merges=(view,)), rules(), SAFE).merges
        assert bool(change.conflicts) is (value is None)
        if value is not None:
            assert change.after is not None and change.after.parameters["k"] == value


def test_protected_tables_wait() -> None:
    view = merging(table(AFTER, BEFORE))
    assert make_plan(observed(merges=(view,)), rules(protected=["SALES.*"]), SAFE).merges[0].withheld
    assert not make_plan(observed(merges=(view,)), rules(protected=["hr.*"]), SAFE).merges[0].withheld


@pytest.mark.parametrize(
    ("options", "copied"),
    [({}, True), ({"merge": "full"}, True), ({"merge": "plan"}, False), ({"merge": "ignore"}, False), ({"protected": ["*.*"]}, False), ({"name": "other"}, False)],
)  # fmt: skip
def test_statistics_are_copied_where_the_rule_lets_merges_write(options: dict[str, Any], copied: bool) -> None:
    copy = CopyStatistics(5, ORDERS, "dev", MIRROR, ORDERS)
    plan = make_plan(observed(merges=(merging(statistics=(copy,)),)), rules(**options), SAFE)
    assert (copy in plan.changes) is copied and not plan.pending


def test_the_rule_that_discovers_decides() -> None:
    view = new(
        Ref(RefType.BRANCH, "main"),
        state="live",
        tables=(standing(),),
        discovered=(DiscoveredTable(ORDERS, "second", (FOUND,)),),
    )
    second = {
        "name": "second",
        "repository": "lake",
        "branches": ["x*"],
        "tables": ["sales.*"],
        "partitions": "discover",
    }
    assert kinds(make_plan(observed(view), rules(second, merge="plan"), SAFE)) == [
        "discover-partitions",
        "finish-discovery",
    ]


def test_tables_come_after_those_that_their_keys_refer_to() -> None:
    parent, child = TableName("sales", "z_parent"), TableName("sales", "a_child")
    keyed = {**AFTER, "foreign_key": "id references sales.z_parent.id"}
    view = merging(table(keyed, BEFORE, name=child), table(AFTER, BEFORE, name=parent))
    assert [m.logical for m in make_plan(observed(merges=(view,)), rules(), SAFE).merges] == [parent, child]
    ring = {**AFTER, "foreign_key": "id references sales.a_child.id"}
    view = merging(table(keyed, BEFORE, name=child), table(ring, BEFORE, name=parent))
    assert [m.logical for m in make_plan(observed(merges=(view,)), rules(), SAFE).merges] == [child, parent]
    itself = {**AFTER, "foreign_key": "id references sales.a_child.id"}
    assert len(make_plan(observed(merges=(merging(table(itself, BEFORE, name=child)),)), rules(), SAFE).merges) == 1


def test_a_renamed_table_is_told() -> None:
    old, new_ = TableName("sales", "old"), TableName("sales", "renamed")
    went = MergeTableView(old, "dev", old, MergeInput({1: (), 2: (1,)}, {1: definition(BEFORE), 2: None}, 2, 1))
    came = MergeTableView(new_, "dev", new_, MergeInput({3: ()}, {3: definition(BEFORE)}, 3, None))
    plan = make_plan(observed(merges=(merging(went, came),)), rules(), SAFE)
    (notice,) = plan.notices
    assert (notice.kind, notice.subject) == ("probable-rename", "branch/dev-1 -> branch/main sales.old")
    assert "sales.renamed" in notice.message and "sales.old" in notice.help
    assert make_plan(observed(merges=(merging(went, came),)), rules(merge="full"), SAFE).notices[0].help == ""
    other = MergeTableView(new_, "dev", new_, MergeInput({3: ()}, {3: definition(AFTER)}, 3, None))
    assert make_plan(observed(merges=(merging(went, other),)), rules(), SAFE).notices == ()
    assert plan.counts() == {
        "create": 1,
        "alter": 0,
        "drop": 0,
        "withheld": 1,
        "conflict": 0,
        "refused": 0,
        "held": 0,
        "failed": 0,
    }


# Discovery

FOUND = PartitionChange(("1",), None, None)


def test_discovered_partitions_are_planned_unless_the_rule_only_plans() -> None:
    view = new(DEV, state="live", tables=(standing(),), discovered=(DiscoveredTable(ORDERS, "dev", (FOUND,)),))
    plan = make_plan(observed(view), rules(partitions="discover"), SAFE)
    discovered = DiscoverPartitions(2, DEV, "c1", ORDERS, MIRROR, (FOUND,), "dev")
    assert plan.changes == (discovered, FinishDiscovery(2, DEV, "c1"))
    assert plan.counts()["alter"] == 1 and plan.pending
    for more in ({"merge": "plan"}, {"protected": ["sales.orders"]}):
        held = make_plan(observed(view), rules(partitions="discover", **more), SAFE)
        assert held.changes == () and [n.kind for n in held.notices] == ["partitions-discovered"]
        assert held.notices[0].subject == "branch/dev-1 sales.orders" and "1 directories" in held.notices[0].message
        assert held.notices[0].help
    nowhere = replace(view, tables=())
    assert make_plan(observed(nowhere), rules(partitions="discover"), SAFE).changes == ()
    main = replace(view, ref=Ref(RefType.BRANCH, "main"))
    assert kinds(make_plan(observed(main), rules(partitions="discover"), SAFE)) == [
        "discover-partitions",
        "finish-discovery",
    ]


KEYS = (FieldSchema("dt", "string"), FieldSchema("c", "string"))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("dt=1/c=x", ("1", "x")), ("DT=1/C=x", ("1", "x")), ("dt=2024%3A01/c=", ("2024:01", "")),
        ("c=x/dt=1", None), ("dt=1", None), ("dt=1/c=x/d=y", None), ("dt=1/x", None), ("", None),
    ],
)  # fmt: skip
def test_directories_name_the_keys_in_their_order(path: str, values: tuple[str, ...] | None) -> None:
    assert values_of(path, KEYS) == values


def test_what_directories_make_of_partitions() -> None:
    found = definition({"keys": "dt string", "partitions": {"old": {}, "moved": {"location": "wh/x"}, "kept": {}}})
    assert found is not None
    known = {p.values: p for p in found.partitions.values()}
    looked = [
        Directory(f"dt={name}", filled, not filled)
        for name, filled in (("new", True), ("old", False), ("moved", False), ("kept", True), ("never", False))
    ]
    changes = discovered(found.header, known, [*looked, Directory("odd", True, False)])
    assert [(c.values, c.before is None, c.after is None) for c in changes] == [
        (("new",), True, False), (("old",), False, True),
    ]  # fmt: skip
    assert changes[0].after is not None and changes[0].after.location == "s3a://lake/{ref}/wh/t/dt=new"
    assert changes[1].before == known[("old",)]
    assert wanted_values(found.header, [*looked, Directory("odd", True, False)]) == {
        (n,) for n in ("new", "old", "moved", "kept", "never")
    }
    nowhere = replace(found.header, sd=replace(found.header.sd, location=None))
    assert discovered(nowhere, known, looked) == ()


# Plans as data


def test_a_plan_survives_being_stored() -> None:
    wide = {"columns": "id int, old int", "keys": "dt string", "partitions": ["1"], "primary_key": "id", "spark": True}
    views = (
        new(DEV, birth(), birth(ITEMS, skipped="x")),
        gone(3, TAG, standing("mirror", ITEMS, ITEMS)),
        new(
            Ref(RefType.BRANCH, "dev-2"),
            id=4,
            state="live",
            tables=(standing(),),
            discovered=(DiscoveredTable(ORDERS, "dev", (FOUND,)),),
        ),
    )
    copy = CopyStatistics(5, TableName("sales", "x"), "dev", MIRROR, ORDERS, ("dt=1",))
    view = merging(
        table(BEFORE, wide),
        table({"parameters": {"k": "1"}}, {"parameters": {"k": "2"}}, BEFORE, ITEMS),
        statistics=(copy,),
    )
    plan = make_plan(observed(*views, merges=(view,)), rules(), SAFE)
    assert {c.kind for c in plan.changes} == {
        "create-mirror", "merge-table", "copy-statistics", "discover-partitions", "drop-table", "drop-database", "finish-deletion", "finish-merge",
        "finish-creation", "finish-discovery",
    }  # fmt: skip
    stored = json.loads(json.dumps(plan_to_json(plan)))
    assert next(iter(stored)) == "kind" and stored["kind"] == "metasync.plan/v2"
    assert plan_from_json(stored).changes == plan.changes and plan_from_json(stored).notices == plan.notices
    with pytest.raises(ValueError, match="v3"):
        plan_from_json({**stored, "kind": "metasync.plan/v3"})
    with pytest.raises(ValueError, match="None"):
        plan_from_json({})


def test_a_plan_that_an_earlier_version_stored_is_read() -> None:
    ended = make_plan(observed(gone(2, DEV, standing())), rules(), SAFE)
    merged = make_plan(observed(merges=(merging(table(AFTER, BEFORE, store_only=True)),)), rules(), SAFE)
    for plan in (ended, merged):
        text = json.dumps(plan_to_json(plan))
        before = (
            text.replace("finish-deletion", "end-ref").replace("store_only", "books_only").replace("plan/v2", "plan/v1")
        )
        assert before != text and plan_from_json(json.loads(before)) == plan_from_json(json.loads(text))
