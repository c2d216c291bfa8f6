"""`make_plan`: what is seen, in; what shall be done, out. No server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from metasync.model.hms import FieldSchema, TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import CopyStatistics, DiscoverPartitions, FinishDiscovery
from metasync.planning.discovery import Directory, discovered, places, values_of, wanted_values
from metasync.planning.observed import DiscoveredTable
from metasync.planning.plan import plan_from_json, plan_to_json
from metasync.planning.planner import make_plan
from tests.tables_in_yaml import definition
from tests.unit.plans import (
    AFTER,
    BEFORE,
    DEV,
    FOUND,
    ITEMS,
    MIRROR,
    ORDERS,
    SAFE,
    TAG,
    gone,
    kinds,
    merging,
    new,
    observed,
    rules,
    source_table,
    standing,
    table,
)

"""The plan of a ref that gets one mirror, of which nothing is refused."""


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
    at = {"wh/t/dt=old": known[("old",)], "wh/t/dt=kept": known[("kept",)]}
    assert places(found.header, looked) == {f"wh/t/dt={n}" for n in ("new", "old", "moved", "kept", "never")}
    changes = discovered(found.header, known, at, [*looked, Directory("odd", True, False)])
    assert [(c.values, c.before is None, c.after is None) for c in changes] == [
        (("new",), True, False), (("old",), False, True),
    ]  # fmt: skip
    assert changes[0].after is not None and changes[0].after.location == "s3a://lake/{ref}/wh/t/dt=new"
    assert changes[1].before == known[("old",)]
    assert wanted_values(found.header, [*looked, Directory("odd", True, False)]) == {
        (n,) for n in ("new", "old", "moved", "kept", "never")
    }
    nowhere = replace(found.header, sd=replace(found.header.sd, location=None))
    assert discovered(nowhere, known, {}, looked) == () and places(nowhere, looked) == set()


def test_no_second_partition_comes_to_lie_on_a_directory() -> None:
    found = definition({"keys": "month int", "partitions": {"1": {"location": "wh/t/month=01"}}})
    assert found is not None
    (one,) = found.partitions.values()
    at = {"wh/t/month=01": one}
    assert discovered(found.header, {}, at, [Directory("month=01", True, False)]) == ()
    (gone,) = discovered(found.header, {}, at, [Directory("month=01", False, True)])
    assert (gone.values, gone.before, gone.after) == (("1",), one, None)


# Plans as data


def test_a_plan_survives_being_stored() -> None:
    wide = {"columns": "id int, old int", "keys": "dt string", "partitions": ["1"], "primary_key": "id", "spark": True}
    views = (
        new(DEV, source_table(), source_table(ITEMS, skipped="x")),
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
