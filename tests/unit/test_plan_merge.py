"""Merges, as they are planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import CopyStatistics, FinishMerge, MergeTable
from metasync.planning.merge import MergeInput
from metasync.planning.observed import DiscoveredTable, MergeTableView, TableView
from metasync.planning.plan import Notice
from metasync.planning.planner import make_plan
from metasync.planning.version_edges import new_versions
from tests.tables_in_yaml import definition
from tests.unit.plans import (
    AFTER,
    BEFORE,
    FOUND,
    HEADER,
    ITEMS,
    MIRROR,
    NOTHING,
    ORDERS,
    SAFE,
    kinds,
    merging,
    new,
    observed,
    rules,
    standing,
    table,
)


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
