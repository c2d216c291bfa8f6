"""What of a merge the cases do not show: values of conflicts, criss-cross bases, remainders, undo, inherited columns."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import FieldSchema
from metasync.planning.changes import MergeTable, PartitionChange
from metasync.planning.item_tree import Definition, Partial, normalised
from metasync.planning.merge import MergeInput, MergeRules, merge_table
from metasync.planning.table_merges import undo_change
from metasync.planning.three_way import ABSENT, UNKNOWN, Variant, get, merge_trees, plain, put
from metasync.planning.version_graph import bases_needed, entry, is_ancestor, merge_bases
from tests.tables_in_yaml import definition, fields
from tests.unit.simulation import Lake, a_rule

FULL = MergeRules(policy="full")


def merged(base: Any, source: Any, destination: Any, rules: MergeRules = FULL) -> Any:
    versions = {n: definition(words) for n, words in ((1, base), (2, source), (3, destination))}
    return merge_table(MergeInput({1: (), 2: (1,), 3: (1,)}, versions, 2, 3), rules)


def columns(found: Definition) -> str:
    assert found is not None
    return " ".join(f"{c.name}:{c.type}" for c in found.header.sd.cols)


# Conflicts


def test_a_conflict_shows_all_three() -> None:
    outcome = merged({"columns": "id int 'was'"}, {"columns": "id int 'theirs'"}, {"columns": "id int 'ours'"})
    (found,) = outcome.conflicts
    assert (found.path, found.base, found.ours, found.theirs, found.reason) == (
        ("columns", "id", "comment"), "was", "ours", "theirs", "changed-on-both",
    )  # fmt: skip
    (narrowed,) = merged({"columns": "id bigint"}, {"columns": "id int"}, {"columns": "id bigint, b int"}).conflicts
    assert (narrowed.base, narrowed.ours, narrowed.theirs) == ("bigint", "bigint", "int")
    (order,) = merged(
        {"columns": "a int, b int, c int"}, {"columns": "c int, a int, b int"}, {"columns": "b int, a int, c int"}
    ).conflicts
    assert (order.path, order.base, order.ours, order.theirs) == (
        ("column_order",),
        ["a", "b", "c"],
        ["b", "a", "c"],
        ["c", "a", "b"],
    )
    (refused,) = merged(
        {"columns": "a string, id bigint"}, {"columns": "id bigint"}, {"columns": "a string, id bigint"}
    ).conflicts
    assert (refused.path, refused.base, refused.ours, refused.theirs) == (("columns", "id"), None, "string", "bigint")
    (missing,) = merged(
        {"columns": "id int, a int"}, {"columns": "id int"}, {"columns": "id int, a int", "buckets": "a into 4"}
    ).conflicts
    assert (missing.path, missing.base, missing.ours, missing.theirs) == (("buckets",), None, None, "a")
    assert (
        merged(
            {"columns": "id int, a int"}, {"columns": "id int, a int"}, {"columns": "id int", "buckets": "a into 4"}
        ).conflicts
        == ()
    )
    born = merge_table(MergeInput({2: ()}, {2: definition({"location": "hdfs://x/t"})}, 2, None), FULL)
    (off,) = born.conflicts
    assert (off.path, off.base, off.ours, off.reason) == ((), None, None, "location-off-ref") and off.theirs[
        "location"
    ] == "hdfs://x/t"
    gone = merged({"columns": "id int"}, None, {"columns": "id int, a int"})
    assert gone.conflicts[0].theirs is None and gone.conflicts[0].ours["columns"]
    changed = merge_table(
        MergeInput({1: (), 2: (1,), 3: (1,)}, {1: definition({}), 2: definition({"format": "delta"}), 3: None}, 2, 3),
        FULL,
    )
    assert "~columns" in changed.conflicts[0].theirs


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_what_a_choice_makes_of_a_table_that_one_side_dropped(side: Any) -> None:
    rules = MergeRules(policy="full", choose=lambda _: side)
    outcome = merged({"columns": "id int"}, None, {"columns": "id int, a int"}, rules)
    assert (outcome.after is None) is (side == "theirs") and not outcome.conflicts
    back = merged(
        {"format": "delta"}, {"format": "delta", "columns": "id int, a int", "parameters": {"k": "v"}}, None, rules
    )
    assert (back.after is None) is (side == "ours")
    if back.after is not None:
        assert columns(back.after) == "id:int a:int"


def test_theirs_never_leaves_the_ref_however_the_conflict_came() -> None:
    rules = MergeRules(policy="full", choose=lambda _: "theirs")
    away = merged({"location": "wh/a"}, {"location": "s3a://else/x"}, {"location": "wh/c"}, rules)
    assert [c.path for c in away.conflicts] == [("location",)] and away.carried == ()
    table = merged({"columns": "id int"}, {"columns": "id int", "location": "s3a://else/x"}, None, rules)
    assert [c.path for c in table.conflicts] == [()]
    keys = merged({"keys": "dt string"}, {"keys": "dt string, h int"}, {"keys": "dt string, r int"}, rules)
    assert [c.path for c in keys.conflicts] == [("partition_keys",)]


def test_a_choice_of_some_leaves_the_rest_in_conflict() -> None:
    rules = MergeRules(policy="full", choose=lambda c: "theirs" if c.path[-1] == "a" else None)
    outcome = merged(
        {"parameters": {"a": "1", "b": "1"}},
        {"parameters": {"a": "2", "b": "2"}},
        {"parameters": {"a": "3", "b": "3"}},
        rules,
    )
    assert (
        [c.path for c in outcome.conflicts] == [("parameters", "b")]
        and outcome.carried == ()
        and outcome.after == outcome.before
    )


# Bases


def crossed(*contents: Any) -> MergeInput:
    """1 forks to 2 and 3, which are merged into each other as 4 and 5, which go on as 6 and 7."""
    versions = {n: definition(words) for n, words in zip((1, 2, 3, 6, 7), contents, strict=True)}
    return MergeInput({1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: (3, 2), 6: (4,), 7: (5,)}, versions, 6, 7)


def test_a_criss_cross_is_merged_over_its_merged_bases() -> None:
    one = {"columns": "id int, a int"}
    other = {"columns": "id int, b int"}
    both = {"columns": "id int, a int, b int"}
    assert columns(merge_table(crossed({"columns": "id int"}, one, other, one, both), FULL).after) == "id:int a:int"
    assert merge_bases(crossed(None, None, None, None, None).parents, 6, 7) == (3, 2)
    assert bases_needed(crossed(None, None, None, None, None).parents, 6, 7) == {1, 2, 3}
    dropped = merge_table(crossed(both, one, other, {"columns": "id int"}, {"columns": "id int, c int"}), FULL)
    assert columns(dropped.after) == "id:int c:int"


def test_what_conflicts_between_bases_is_unknown_here() -> None:
    base, left, right = ({"parameters": {"k": value, "x": "1"}} for value in "abc")
    same = merge_table(
        crossed(base, left, right, {"parameters": {"k": "b", "x": "2"}}, {"parameters": {"k": "b", "x": "1"}}), FULL
    )
    assert same.conflicts == () and same.after.header.parameters == {"k": "b", "x": "2"}
    (differs,) = merge_table(crossed(base, left, right, left, right), FULL).conflicts
    assert (differs.path, differs.reason, differs.base) == (("parameters", "k"), "base-unknown", None)
    tables = merge_table(
        crossed({"columns": "id int"}, None, {"columns": "id bigint"}, None, {"columns": "id bigint"}), FULL
    )
    assert [(c.path, c.reason) for c in tables.conflicts] == [((), "base-unknown")]
    keys = crossed(
        {"spark": True},
        {"keys": "a int", "spark": True},
        {"keys": "b int", "spark": True},
        {"keys": "a int", "spark": True},
        {"keys": "b int", "spark": True},
    )
    assert ("partition_keys",) in {c.path for c in merge_table(keys, FULL).conflicts}
    types = crossed(
        {"columns": "a int"},
        {"columns": "a bigint"},
        {"columns": "a string"},
        {"columns": "b int"},
        {"columns": "a string"},
    )
    assert all(plain(c.base) == c.base for c in merge_table(types, FULL).conflicts)


def test_the_order_of_merged_bases_counts() -> None:
    base, left = {"columns": "a int, b int, c int"}, {"columns": "b int, a int, c int"}
    after = merge_table(
        crossed(base, left, base, {"columns": "b int, a int, c int, d int"}, {"columns": "b int, a int, c int, e int"}),
        FULL,
    )
    assert columns(after.after) == "b:int a:int c:int e:int d:int" and [c.path for c in after.carried] == [
        ("columns", "d")
    ]


def test_without_a_version_on_a_side_there_is_no_history() -> None:
    only = {2: definition({"columns": "id int"})}
    assert columns(merge_table(MergeInput({2: ()}, only, 2, None), FULL).after) == "id:int"
    assert merge_table(MergeInput({2: ()}, only, None, 2), FULL).source_changed is False
    unrelated = MergeInput(
        {2: (), 3: ()}, {2: definition({"columns": "id int, a int"}), 3: definition({"columns": "id int"})}, 2, 3
    )
    assert [c.reason for c in merge_table(unrelated, FULL).conflicts] == ["base-unknown"]
    known = replace(unrelated, versions={**unrelated.versions, 9: definition({"columns": "id int"})}, fallback_base=9)
    assert columns(merge_table(known, FULL).after) == "id:int a:int"
    assert is_ancestor({1: (), 2: (1,), 3: (1,)}, 1, 2) and not is_ancestor({1: (), 2: (1,), 3: (1,)}, 2, 3)


# What is withheld


def test_the_remainder_is_the_source_without_what_was_withheld() -> None:
    base = {"columns": "id int, a int, b int", "parameters": {"k": "1"}, "keys": "dt string", "partitions": ["1", "2"]}
    source = {**base, "columns": "id int, b int, c int", "parameters": {"k": "2"}, "partitions": ["2", "3"]}
    outcome = merged(base, source, base, MergeRules())
    assert columns(outcome.remainder) == "id:int b:int c:int a:int" and outcome.remainder.header.parameters == {
        "k": "2"
    }
    assert sorted(outcome.remainder.partitions) == ['["1"]', '["2"]', '["3"]']
    assert columns(outcome.after) == "id:int a:int b:int c:int" and outcome.source_changed
    planned = merged(
        {"columns": "a int, b int"},
        {"columns": "b int, a int, c int"},
        {"columns": "a int, b int"},
        MergeRules(policy="plan"),
    )
    assert [c.path for c in planned.withheld] == [("columns", "c"), ("column_order",)] and columns(
        planned.after
    ) == "a:int b:int"
    assert columns(planned.remainder) == "a:int b:int"
    ignored = merged(base, source, base, MergeRules(policy="ignore"))
    assert ignored.withheld == () and ignored.carried == () and ignored.source_changed
    both = {"columns": "a int, b int"}
    kept = merged(both, {"columns": "b int, a int"}, {"columns": "a int, b int, d int"}, MergeRules(protected=True))
    assert columns(kept.after) == "a:int b:int d:int"
    assert [(c.before, c.after) for c in kept.withheld] == [(["a", "b", "d"], ["b", "a", "d"])]


def test_what_a_merge_left_in_another_order_is_no_reordering() -> None:
    """dev -> main, main -> dev: both have all columns, each its own first."""
    base, left, right = {"columns": "id int"}, {"columns": "id int, d int"}, {"columns": "id int, m int"}
    main, dev = {"columns": "id int, m int, d int"}, {"columns": "id int, d int, m int"}
    graph = {1: (), 2: (1,), 3: (1,), 4: (3, 2), 5: (2, 4), 6: (5,), 7: (4,)}
    contents = (
        base,
        left,
        right,
        main,
        dev,
        {"columns": "id int, d int, m int, x int"},
        {"columns": "id int, m int, d int, y int"},
    )
    versions = {n: definition(words) for n, words in enumerate(contents, 1)}
    outcome = merge_table(MergeInput(graph, versions, 6, 7), FULL)
    assert columns(outcome.after) == "id:int m:int d:int y:int x:int" and [c.path for c in outcome.carried] == [
        ("columns", "x")
    ]
    assert not merge_table(MergeInput(graph, versions, 5, 7), FULL).source_changed
    assert [entry(graph, 4, tip) for tip in (6, 7, 4)] == [5, 4, 4] and entry(graph, 1, 6) == 1
    turned = {**versions, 6: definition({"columns": "m int, d int, id int"})}
    assert columns(merge_table(MergeInput(graph, turned, 6, 7), FULL).after) == "m:int d:int id:int y:int"


def test_spark_keeps_partition_columns_last_through_a_reordering() -> None:
    base = {"columns": "a int, b int", "keys": "dt date", "spark": True}
    source = {**base, "columns": "b int, a int, c int"}
    whole = merged(base, source, base, MergeRules())
    names = [f["name"] for f in json.loads(whole.after.header.parameters["spark.sql.sources.schema"])["fields"]]
    assert names == ["b", "a", "c", "dt"]


# Partitions that inherit


def test_a_partition_that_gets_its_own_columns_keeps_what_the_destination_gave_to_all() -> None:
    base = {"columns": "id int, old int", "keys": "dt string", "partitions": ["1"]}
    source = {**base, "columns": "id int, old int, s int", "partitions": {"1": {"columns": "id int, old int"}}}
    destination = {**base, "columns": "id int, old int, d int"}
    outcome = merged(base, source, destination)
    assert columns(outcome.after) == "id:int old:int d:int s:int"
    assert outcome.after.partitions['["1"]'].columns == fields("id int, old int, d int")
    lost = merged(base, source, {**base, "columns": "id int"})
    assert lost.after.partitions['["1"]'].columns == fields("id int")
    same = merged(base, source, base)
    assert same.after.partitions['["1"]'].columns == fields("id int, old int")
    text = {**base, "format": "text"}
    listed = merged(text, {**text, "partitions": {"1": {"columns": "id int"}}}, text)
    assert listed.after.partitions['["1"]'].columns == fields("id int")


def test_a_partition_whose_columns_become_the_tables_inherits() -> None:
    base = {"columns": "id int", "keys": "dt string", "partitions": {"1": {"columns": "id int, a int"}}}
    outcome = merged(base, {**base, "columns": "id int, a int"}, base)
    assert outcome.after.partitions['["1"]'].columns is None


# Undo


def done() -> MergeTable:
    """A merge that added a column, a parameter and a partition."""
    lake = Lake()
    base = {"columns": "id int", "keys": "dt string", "partitions": ["1"], "parameters": {"k": "1"}}
    lake.ddl("main", definition(base))
    lake.branch("dev")
    lake.ddl(
        "dev", definition({**base, "columns": "id int, a int", "partitions": ["1", "2"], "parameters": {"k": "2"}})
    )
    change = lake.merge("dev", "main", a_rule(merge="full"))
    assert change is not None
    return change


def test_an_undo_is_the_merge_turned_round() -> None:
    change = done()
    now = definition(
        {
            "columns": "id int, a int, later int",
            "keys": "dt string",
            "partitions": ["2"],
            "parameters": {"k": "2", "mine": "x"},
        }
    )
    turned = undo_change(replace(change, resumed=True, renames=(("x", "y"),)), now, 9, column_check="4.0")
    assert turned.undoes and not turned.resumed and turned.conflicts == () and turned.destination_version == 9
    assert turned.before == now.header and turned.after is not None  # type: ignore[union-attr]
    assert [c.name for c in turned.after.sd.cols] == ["id", "later"] and turned.after.parameters == {
        "k": "1",
        "mine": "x",
    }
    assert turned.partitions == (PartitionChange(("2",), now.partitions['["2"]'], None),)  # type: ignore[union-attr]
    assert {item.path for item in turned.items} == {("columns", "a"), ("parameters", "k"), ("partitions", '["2"]')}
    assert (turned.withheld, turned.remainder, turned.remainder_partitions, turned.renames, turned.waiting) == (
        (),
        None,
        (),
        (),
        None,
    )
    assert turned.merge_commit == change.merge_commit and turned.logical == change.logical


def test_an_undo_stops_at_what_somebody_changed_since() -> None:
    now = definition(
        {"columns": "id int, a bigint", "keys": "dt string", "partitions": ["2"], "parameters": {"k": "3"}}
    )
    turned = undo_change(done(), now, 9, column_check="4.0")
    assert {c.path for c in turned.conflicts} == {("columns", "a"), ("parameters", "k")}
    assert turned.after == turned.before == now.header and turned.partitions == () and turned.items == ()  # type: ignore[union-attr]
    strict = replace(
        done(), before=replace(done().before, sd=replace(done().before.sd, cols=(FieldSchema("id", "string"),)))
    )  # type: ignore[union-attr, type-var]
    lax = definition({"columns": "id int, a int", "keys": "dt string", "partitions": ["2"], "parameters": {"k": "2"}})
    assert undo_change(strict, lax, 9, column_check="none").conflicts
    gone = undo_change(done(), None, 9, column_check="4.0")
    assert [c.path for c in gone.conflicts] == [()]


def test_an_undo_of_a_birth_drops_and_of_a_drop_makes_again() -> None:
    born = replace(
        done(),
        before=None,
        partitions=(
            PartitionChange(("2",), None, definition({"keys": "dt string", "partitions": ["2"]}).partitions['["2"]']),
        ),
    )  # type: ignore[union-attr]
    there = Partial(born.after, {'["2"]': born.partitions[0].after})  # type: ignore[arg-type, dict-item]
    turned = undo_change(born, there, 9, column_check="4.0")
    assert turned.after is None and turned.conflicts == () and turned.before is not None
    more = replace(there, partitions=definition({"keys": "dt string", "partitions": ["2", "3"]}).partitions)  # type: ignore[union-attr]
    assert undo_change(born, more, 9, column_check="4.0").conflicts
    dropped = replace(done(), after=None, partitions=(PartitionChange(("2",), born.partitions[0].after, None),))
    again = undo_change(dropped, None, 9, column_check="4.0")
    assert (
        again.before is None
        and again.after == normalised(dropped.before)
        and [p.values for p in again.partitions] == [("2",)]
    )  # type: ignore[arg-type]


# Trees


def test_kinds_of_one_thing_are_never_mixed() -> None:
    one, other = Variant(struct={"a": 1}), Variant(array="x")
    result = merge_trees({"t": Variant(struct={})}, {"t": one}, {"t": other})
    assert [c.path for c in result.conflicts] == [("t",)]
    taken = merge_trees({"t": other}, {"t": one}, {"t": other})
    assert [(c.path, c.after) for c in taken.changes] == [(("t",), one)]
    inside = merge_trees({"t": Variant(struct={})}, {"t": one}, {"t": Variant(struct={"b": 2})})
    assert [c.path for c in inside.changes] == [("t", "struct", "a")]
    kept = put({"t": one}, [(("t", "struct", "b"), 2)])
    assert isinstance(kept["t"], Variant) and kept["t"] == {"struct": {"a": 1, "b": 2}} and one == {"struct": {"a": 1}}


def test_what_both_made_is_one_thing_but_in_a_container() -> None:
    assert [c.path for c in merge_trees({}, {"i": {"a": 1}}, {"i": {"b": 1}}).conflicts] == [("i",)]
    open_ = merge_trees({}, {"i": {"a": 1}}, {"i": {"b": 1}}, is_container=lambda path: True)
    assert [c.path for c in open_.changes] == [("i", "a")]
    assert [c.path for c in merge_trees(UNKNOWN, {"i": {"a": 1}}, {"i": {"b": 1}}).conflicts] == [
        ("i", "a"),
        ("i", "b"),
    ]
    assert merge_trees({"i": "x"}, {"i": {"a": 1}}, {"i": {"b": 1}}).conflicts[0].reason == "changed-on-both"


def test_paths() -> None:
    assert get({"a": {"b": 1}}, ("a", "b")) == 1 and get({"a": 1}, ("a", "b")) is ABSENT and get({}, ("a",)) is ABSENT
    assert (
        plain({"a": {"b": UNKNOWN, "c": 1}, "d": ABSENT}) == {"a": {"b": None, "c": 1}, "d": None}
        and plain(ABSENT) is None
    )
    assert repr(ABSENT) == "absent" and repr(UNKNOWN) == "unknown"
    assert put({"a": 1}, [((), None)]) is ABSENT and put({"a": 1}, [((), {"b": 2})]) == {"b": 2}
    assert put({"a": {"b": 1}}, [(("a", "b"), ABSENT)]) == {"a": {}} and put({"a": 1}, [(("a", "b"), 2)]) == {
        "a": {"b": 2}
    }
