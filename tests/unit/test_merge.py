"""The laws of merging, over random definitions; and the cases that people think of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metasync.model.hms import FieldSchema
from metasync.planning.file_layout import Layout
from metasync.planning.item_tree import Definition, from_tree, to_tree
from metasync.planning.merge import MergeInput, MergeRules, TableMerge, merge_table
from metasync.planning.policy import is_destructive
from metasync.planning.spark import SCHEMA, dump, joined, split
from metasync.planning.three_way import ABSENT, UNKNOWN, ItemChange, merge_trees, put
from tests.hypothesis_examples import examples
from tests.unit.random_definitions import TEXT, definitions, header, optional_definitions, partial, partition

A, B = {"name": "a", "type": "int", "comment": None}, {"name": "b", "type": "int", "comment": None}
FULL = MergeRules(policy="full")


def merge(base: Definition, source: Definition, destination: Definition, **options: Any) -> TableMerge:
    versions = {1: base, 2: source, 3: destination}
    return merge_table(
        MergeInput({1: (), 2: (1,), 3: (1,)}, versions, 2, 3), MergeRules(**{"policy": "full", **options})
    )


values = st.sampled_from([ABSENT, "x", "y", "z"])


@examples(200)
@given(st.sampled_from([ABSENT, UNKNOWN, "x", "y"]), values, values)
def test_the_matrix_row_by_row(base: object, source: object, destination: object) -> None:
    result = merge_trees({"i": base} if base is not ABSENT else {}, _tree(source), _tree(destination))
    if source in (destination, base):
        assert not result.changes and not result.conflicts
    elif base == destination:
        assert [change.after for change in result.changes] == [None if source is ABSENT else source]
    else:
        assert not result.changes and len(result.conflicts) == 1


def _tree(value: object) -> dict[str, object]:
    return {} if value is ABSENT else {"i": value}


@examples(200)
@given(definitions)
def test_a_definition_survives_being_a_tree(definition: Any) -> None:
    assert from_tree(to_tree(definition, Layout())) == definition


@examples(400)
@given(optional_definitions, optional_definitions)
def test_a_side_that_did_not_change_takes_the_other_sides(base: Definition, other: Definition) -> None:
    taken = merge(base, other, base)
    if not taken.conflicts:
        assert _same(taken.after, other)
        assert not taken.withheld
    assert _same(merge(base, base, other).after, other) and not merge(base, base, other).carried


@examples(400)
@given(optional_definitions, optional_definitions, optional_definitions)
def test_merging_twice_is_empty(base: Definition, source: Definition, destination: Definition) -> None:
    first = merge(base, source, destination)
    assume(not first.conflicts and not first.withheld)
    # The destination's new version has the source's as its second parent.
    graph = {1: (), 2: (1,), 3: (1,), 4: (3, 2)}
    again = merge_table(MergeInput(graph, {2: source, 4: first.after}, 2, 4), FULL)
    assert not again.source_changed and not again.carried
    back = merge_table(MergeInput(graph, {3: destination, 2: source, 4: first.after}, 4, 2), FULL)
    if not back.conflicts:
        assert _same(back.after, first.after)


def edited(definition: Any, data: st.DataObject, side: str) -> Any:
    """The definition after somebody's edits; those of two sides differ but for what both may drop."""
    columns = [c for c in definition.header.sd.cols if c.name == "a" or not data.draw(st.booleans())]
    columns += [FieldSchema(f"{side}{n}", "int") for n in range(data.draw(st.integers(0, 2)))]
    kept = {k: p for k, p in definition.partitions.items() if not data.draw(st.booleans())}
    head = definition.header
    parameters = {**head.parameters, side: data.draw(st.sampled_from("xy"))}
    head = replace(head, sd=replace(head.sd, cols=tuple(columns) or head.sd.cols), parameters=parameters)
    return replace(definition, header=head, partitions=kept)


@examples(400)
@given(definitions, st.data())
def test_what_a_policy_withholds_is_offered_again_and_the_rest_is_not(base: Any, data: st.DataObject) -> None:
    source, destination = edited(base, data, "s"), edited(base, data, "d")
    first = merge(base, source, destination, policy="additive")
    if first.conflicts or not first.withheld:
        assert not first.carried or not first.conflicts
        return
    assert all(is_destructive(change, Layout()) for change in first.withheld)
    # base 1, source 2, destination 3; remainder 4, source again 5, destination after 6
    graph = {1: (), 2: (1,), 3: (1,), 4: (1,), 5: (2, 4), 6: (3, 4)}
    versions = {1: base, 2: source, 4: first.remainder, 5: source, 6: first.after}
    again = merge_table(MergeInput(graph, versions, 5, 6))
    assert not again.carried or {c.path for c in again.carried} <= {("column_order",)}
    assert {c.path for c in again.withheld} == {c.path for c in first.withheld}
    back = merge_table(MergeInput(graph, versions, 6, 5), FULL)
    if not back.conflicts:
        assert not {c.path for c in back.carried} & {c.path for c in first.withheld}


@examples(300)
@given(definitions, st.data())
def test_disjoint_changes_commute(base: Any, data: st.DataObject) -> None:
    left = replace(base, header=replace(base.header, parameters={**base.header.parameters, "left": "1"}))
    columns = (*base.header.sd.cols, FieldSchema("right", "int"))
    right = replace(base, header=replace(base.header, sd=replace(base.header.sd, cols=columns)))
    one, other = merge(base, left, right), merge(base, right, left)
    assert not one.conflicts and not other.conflicts
    assert _same(one.after, other.after)


@examples(300)
@given(optional_definitions, optional_definitions, optional_definitions)
def test_a_conflict_changes_nothing_and_resolving_settles_it(base: Any, source: Any, destination: Any) -> None:
    found = merge(base, source, destination)
    assume(found.conflicts)
    assert _same(found.after, destination) and not found.carried
    ours = merge(base, source, destination, choose=lambda _: "ours", approved=True)
    assert not [c for c in ours.conflicts if c.reason not in ("metastore-refuses", "partition-keys-changed")]


def _same(one: Definition, other: Definition) -> bool:
    if one is None or other is None:
        return one is other
    return _sorted(one) == _sorted(other)


def _sorted(definition: Any) -> Any:
    head = definition.header
    columns = tuple(sorted(head.sd.cols, key=lambda column: column.name))
    return replace(head, sd=replace(head.sd, cols=columns)), definition.partitions


def columns_after(base: str, source: str, destination: str, **options: Any) -> str:
    outcome = merge(partial(header(base)), partial(header(source)), partial(header(destination)), **options)
    if outcome.conflicts:
        return "conflict " + ",".join(sorted({c.reason for c in outcome.conflicts}))
    assert outcome.after is not None
    return " ".join(f"{c.name}:{c.type}" for c in outcome.after.header.sd.cols)


@pytest.mark.parametrize(
    ("base", "source", "destination", "policy", "after"),
    [
        ("id:int", "id:int b:int", "id:int a:int", "additive", "id:int a:int b:int"),
        ("id:int a:int", "id:int", "id:int a:int", "full", "id:int"),
        ("id:int a:int", "id:int", "id:int a:int", "additive", "id:int a:int"),
        ("id:int a:int", "id:int", "id:int a:bigint", "full", "conflict dropped-here-changed-there"),
        ("id:int", "id:bigint", "id:int", "additive", "id:int"),
        ("id:int", "id:bigint", "id:int", "full", "id:bigint"),
        ("id:varchar(3)", "id:string", "id:varchar(3)", "additive", "id:string"),
        ("id:bigint", "id:int", "id:bigint", "full", "conflict type-not-widened"),
        ("id:int", "id:int a:int", "id:int a:string", "full", "conflict added-on-both"),
        ("id:int", "id:int a:int", "id:int a:int", "full", "id:int a:int"),
        ("id:string a:int", "a:int", "id:string a:int", "full", "conflict metastore-refuses"),
        ("id:int a:int", "a:int id:int", "id:int a:int b:int", "full", "a:int id:int b:int"),
    ],
)
def test_columns(base: str, source: str, destination: str, policy: str, after: str) -> None:
    assert columns_after(base, source, destination, policy=policy) == after


def test_columns_of_a_text_table_are_one_item() -> None:
    sides = [partial(header(text, serde=TEXT)) for text in ("id:int", "id:int b:int", "id:int a:int")]
    assert [c.path for c in merge(*sides).conflicts] == [("columns", "ALL")]


def test_two_branches_that_add_columns_by_spark_do_not_conflict() -> None:
    def side(names: str) -> Any:
        fields = [{"name": name, "type": "long", "nullable": True, "metadata": {}} for name in names.split()]
        keyed = [*fields, {"name": "dt", "type": "date", "nullable": True, "metadata": {}}]
        schema = dump({"type": "struct", "fields": keyed})
        return partial(header(" ".join(f"{n}:bigint" for n in names.split()), {SCHEMA: schema}, keys="dt:date"))

    outcome = merge(side("id"), side("id b"), side("id a"), policy="additive")
    assert outcome.after is not None and not outcome.conflicts
    order = [f["name"] for f in json.loads(outcome.after.header.parameters[SCHEMA])["fields"]]
    assert order == ["id", "a", "b", "dt"]


def test_partitions_go_by_their_list_of_values() -> None:
    base = partial(header(keys="a:string b:string"), partition("a-b", "c"), partition("k", "k"))
    source = partial(
        header(keys="a:string b:string"), partition("a-b", "c"), partition("a", "b-c"), partition("k", "k")
    )
    assert [p.values for p in merge(base, source, base).after.partitions.values()].count(("a", "b-c")) == 1  # type: ignore[union-attr]
    dropped = partial(header(keys="a:string b:string"), partition("a-b", "c"))
    withheld = merge(base, dropped, base, policy="additive").withheld
    assert [change.path[1] for change in withheld] == ['["k", "k"]']


def test_a_table_that_leaves_the_ref_is_a_conflict() -> None:
    away = partial(header(location="s3a://other/x"))
    assert merge(None, away, None).conflicts[0].reason == "location-off-ref"
    assert merge(partial(header()), away, partial(header())).conflicts[0].reason == "location-off-ref"


def test_without_a_base_everything_that_differs_is_a_conflict_but_for_additions_where_these_are_allowed() -> None:
    versions = {2: partial(header("id:int b:int")), 3: partial(header("id:int a:int"))}
    unrelated = MergeInput({2: (), 3: ()}, versions, 2, 3)
    assert {c.reason for c in merge_table(unrelated).conflicts} == {"base-unknown"}
    assert not merge_table(unrelated, MergeRules(additive_when_unknown=True)).conflicts
    same = MergeInput({2: (), 3: ()}, {2: versions[2], 3: versions[2]}, 2, 3)
    assert merge_table(same).source_changed and not merge_table(same).carried
    assert not merge_table(replace(unrelated, fallback_base=9, versions={**versions, 9: partial(header())})).conflicts


def test_criss_cross_bases_are_merged_first() -> None:
    graph = {1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: (3, 2), 6: (4,), 7: (5,)}
    both = partial(header("id:int a:int b:int"))
    versions = {
        1: partial(header("id:int")), 2: partial(header("id:int a:int")), 3: partial(header("id:int b:int")),
        6: partial(header("id:int a:int")), 7: both,
    }  # fmt: skip
    outcome = merge_table(MergeInput(graph, versions, 6, 7), FULL)
    assert outcome.after is not None and [c.name for c in outcome.after.header.sd.cols] == ["id", "a"]


@pytest.mark.parametrize(
    ("change", "destructive"),
    [
        (ItemChange((), None, {"columns": {}}), False),
        (ItemChange((), {"columns": {}}, None), True),
        (ItemChange(("columns", "a"), None, {"type": "int"}), False),
        (ItemChange(("columns", "a"), {"type": "int"}, None), True),
        (ItemChange(("columns", "a", "type"), "int", "bigint"), False),
        (ItemChange(("columns", "a", "type"), "bigint", "int"), True),
        (ItemChange(("columns", "a", "comment"), "x", None), False),
        (ItemChange(("columns", "ALL"), [A], [A, B]), False),
        (ItemChange(("columns", "ALL"), [A, B], [A]), True),
        (ItemChange(("parameters", "k"), "x", None), False),
        (ItemChange(("partitions", '["1"]'), None, {}), False),
        (ItemChange(("partitions", '["1"]'), {}, None), True),
        (ItemChange(("partitions", '["1"]', "location"), "x", "y"), True),
        (ItemChange(("partitions", '["1"]', "parameters", "k"), "x", "y"), False),
        (ItemChange(("location",), "x", "y"), True),
        (ItemChange(("serde", "library"), "x", "y"), True),
        (ItemChange(("serde_parameters", "field.delim"), ",", ";"), True),
        (ItemChange(("table", "owner"), "a", "b"), False),
    ],
)
def test_what_is_destructive(change: ItemChange, destructive: bool) -> None:
    assert is_destructive(change, Layout()) is destructive


def test_a_protected_table_only_gets_plans() -> None:
    outcome = merge(
        partial(header("id:int")), partial(header("id:int a:int")), partial(header("id:int")), protected=True
    )
    assert not outcome.carried and len(outcome.withheld) == 1


@examples(200)
@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), st.integers(0, 400))
def test_sparks_schema_is_the_same_whole_and_in_parts(others: dict[str, str], size: int) -> None:
    fields = [{"name": f"c{n}", "type": "long", "nullable": True, "metadata": {}} for n in range(size)]
    whole = {**others, SCHEMA: dump({"type": "struct", "fields": fields})}
    assert joined(split(whole)) == whole
    assert all(len(value) <= 4000 for key, value in split(whole).items() if key.startswith(SCHEMA))


def test_put_makes_and_removes() -> None:
    assert put({"a": {"b": 1}}, [(("a", "c"), 2), (("a", "b"), None)]) == {"a": {"c": 2}}
    assert put(ABSENT, [((), {"a": 1})]) == {"a": 1}
