"""Types as trees, what widens in which format, and what a metastore takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import FieldSchema
from metasync.planning.accepted_types import ColumnCheck, metastore_accepts
from metasync.planning.kinds.columns import halfway, refused_positions
from metasync.planning.ordering import arrange, in_order, merged_order, names_in, renames
from metasync.planning.types import is_widening, type_text, type_tree
from tests.hypothesis_examples import examples

primitives = st.sampled_from(
    ["int", "bigint", "string", "decimal(10,2)", "varchar(5)", "timestamp with local time zone"]
)
names = st.sampled_from(["a", "b", "c_1"])
trees: st.SearchStrategy[Any] = st.recursive(
    primitives,
    lambda inner: st.one_of(
        inner.map(lambda t: {"array": t}),
        st.tuples(primitives, inner).map(lambda kv: {"map": {"key": kv[0], "value": kv[1]}}),
        st.dictionaries(names, inner, min_size=1, max_size=3).map(lambda fields: {"struct": fields}),
    ),
    max_leaves=8,
)


@examples(500)
@given(trees)
def test_a_type_survives_being_a_tree(tree: Any) -> None:
    assert type_tree(type_text(tree)) == tree
    assert in_order(type_tree(type_text(tree))) == in_order(tree)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("int", "int"),
        ("array<int>", {"array": "int"}),
        ("map<string,array<int>>", {"map": {"key": "string", "value": {"array": "int"}}}),
        ("struct<a:int,b:decimal(10,2)>", {"struct": {"a": "int", "b": "decimal(10,2)"}}),
    ],
)  # fmt: skip
def test_trees(text: str, tree: Any) -> None:
    assert type_tree(text) == tree


@pytest.mark.parametrize(
    "text",
    ["", "array<int", "array<int>>", "array<>", "map<int>", "map<int,int,int>", "struct<>", "struct<a>",
     "struct<a:int,a:int>", "struct<a:int,>", "struct<a:>", "uniontype<int,string>", "odd<int>", "int,int", "<", "a:b", "struct<a,int>",
     "struct<a:int;b:int>", "map<int:int>"],
)  # fmt: skip
def test_what_cannot_be_read_stays_as_it_is(text: str) -> None:
    assert type_tree(text) == text
    assert type_text(type_tree(text)) == text


FAMILIES = ("parquet", "orc", "avro", "text", "json", "other")
EVERYWHERE = """
tinyint smallint|tinyint int|tinyint bigint|smallint int|smallint bigint|int bigint|integer bigint|int integer|float double
int int|varchar(3) varchar(4)|varchar(3) varchar(3)|varchar(3) string|INT BIGINT|string string|decimal decimal(10,0)
struct<a:int> struct<a:bigint>|struct<a:int> struct<a:int,b:int>|array<int> array<bigint>|map<int,int> map<int,bigint>
map<int,int> map<bigint,int>|array<struct<a:int>> array<struct<a:int,b:string>>|char(3) char(3)
"""
NOWHERE = """
bigint int|int smallint|smallint tinyint|double float|varchar(4) varchar(3)|string varchar(3)|string int|string date|date timestamp
timestamp date|boolean int|int boolean|decimal(10,2) decimal(9,2)|decimal(10,2) decimal(12,3)|decimal(10,2) decimal(10,1)|bigint double
struct<a:int,b:int> struct<a:int>|struct<a:bigint> struct<a:int>|array<int> int|int array<int>|array<int> map<int,int>|map<int,bigint> map<int,int>
array<bigint> array<int>|struct<a:int> array<int>|binary string|char(3) char(4)|bigint float|float int|double decimal(30,2)|int float
"""
SOME = {
    "decimal(10,2) decimal(12,2)": {"parquet", "orc", "text", "json", "other"},
    "decimal decimal(12,0)": {"parquet", "orc", "text", "json", "other"},
    "int double": {"avro", "text", "json"}, "smallint double": {"avro", "text", "json"}, "tinyint double": {"avro", "text", "json"},
    "int decimal(10,0)": {"text", "json"}, "bigint decimal(19,0)": {"text", "json"}, "int decimal(12,2)": {"text", "json"},
    "tinyint decimal(3,0)": {"text", "json"}, "smallint decimal(5,0)": {"text", "json"},
    "int decimal(9,0)": set(), "int decimal(11,2)": set(), "bigint decimal(18,0)": set(), "smallint decimal(4,0)": set(), "tinyint decimal(2,0)": set(),
    "int string": {"text"}, "date string": {"text"}, "boolean string": {"text"}, "char(3) string": {"text"},
    "struct<a:int,b:int> struct<b:int,a:int>": {"parquet", "orc", "avro", "json", "other"},
    "struct<a:int> struct<b:int,a:int>": {"parquet", "orc", "avro", "json", "other"},
    "struct<a:int,b:int> struct<a:int,b:int,c:int>": set(FAMILIES),
}  # fmt: skip


def pairs(text: str) -> list[tuple[str, str]]:
    found = [pair.split() for line in text.strip().splitlines() for pair in line.split("|")]
    return [(one, other) for one, other in found]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_widens(family: Any) -> None:
    for one, other in pairs(EVERYWHERE):
        assert is_widening(one, other, family), (one, other)
    for one, other in pairs(NOWHERE):
        assert not is_widening(one, other, family), (one, other)
    for pair, families in SOME.items():
        one, other = pair.split()
        assert is_widening(one, other, family) is (family in families), pair
    assert is_widening({"array": "int"}, {"array": "bigint"}, family)
    assert not is_widening({"array": "int"}, "int", family)
    assert not is_widening("int", {"array": "int"}, family)


@examples(300)
@given(trees)
def test_every_type_widens_to_itself(tree: Any) -> None:
    assert all(is_widening(tree, tree, family) for family in FAMILIES)  # type: ignore[arg-type]
    assert metastore_accepts(type_text(tree), type_text(tree))


# Seen live on 2.3.9, 3.1.3, 4.0.1, 4.1.0 and 4.2.1: tests/integration/test_metastore.py asks every pair of a server.
ACCEPTED = "int bigint|int string|float double|timestamp string|decimal(10,2) decimal(4,1)|varchar(3) string|string varchar(3)|varchar(9) varchar(3)|int int|INTEGER int|tinyint decimal(3,0)|char(3) string|date string|int double|bigint float|decimal(10,2) double|decimal(10,2) float|void binary|void interval_day_time"
REFUSED = "bigint int|string int|string struct<a:int>|double float|date timestamp|string date|int date|boolean int|array<int> string|map<int,int> array<int>|binary string|string binary|boolean string|float decimal(10,2)|double decimal(10,2)|struct<a:int> int|decimal(10,2) int|timestamp date|interval_day_time string|void array<int>|string float|a b"
SINCE_3 = "struct<a:int> struct<b:string>|array<int> array<string>|map<int,int> map<string,string>|uniontype<int> uniontype<string>|timestamp zoned|zoned string|void zoned"
UNTIL_4 = "string double|varchar(3) double|char(3) double"


def test_what_a_metastore_takes() -> None:
    versions: tuple[ColumnCheck, ...] = ("2.3", "3.1", "4.0")
    for some, taken in (
        (ACCEPTED, versions),
        (REFUSED, ()),
        (SINCE_3, ("3.1", "4.0")),
        (UNTIL_4, ("2.3", "3.1")),
    ):
        for pair in pairs(some):
            one, other = (word.replace("zoned", "timestamp with local time zone") for word in pair)
            assert [v for v in versions if metastore_accepts(one, other, v)] == list(taken), (one, other)
            assert metastore_accepts(one, other, "none")


def test_refused_positions_are_pairs() -> None:
    old = (FieldSchema("a", "bigint"), FieldSchema("b", "string"), FieldSchema("c", "int"))
    assert refused_positions(old, old, "2.3") == []
    assert refused_positions(old, old[:2], "4.0") == []
    assert refused_positions(old[:2], old, "4.0") == []
    assert refused_positions(old[1:], old, "4.0") == [(old[1], old[0])]
    assert refused_positions(old[1:], old, "none") == []


def test_what_is_refused_at_once_and_taken_in_two_steps() -> None:
    old = (FieldSchema("a", "bigint"), FieldSchema("b", "string"), FieldSchema("c", "int"))
    assert halfway(old, old, "4.0") is None and halfway(old[1:], old, "4.0") is None
    assert halfway(old, old[1:], "4.0") == (old[1],) and refused_positions(old, old[1:], "4.0") == []
    assert halfway(old, old[1:], "none") is None
    # Of a column that stays, the metastore must take the new type by itself.
    narrowed = (old[1], FieldSchema("C", "tinyint"))
    assert halfway(old, narrowed, "4.0") is None
    assert refused_positions(old, narrowed, "4.0") == [(old[1], narrowed[1])]


@examples(300)
@given(st.lists(st.tuples(names, primitives), max_size=4), st.lists(st.tuples(names, primitives), max_size=4))
def test_both_steps_are_ones_that_the_metastore_takes(before: Any, after: Any) -> None:
    old, new = ([FieldSchema(*column) for column in dict(columns).items()] for columns in (before, after))
    between = halfway(old, new, "4.0")
    if between is not None:
        for one, other in ((old, between), (between, new)):
            assert all(metastore_accepts(w.type, n.type) for w, n in zip(one, other, strict=False))


# Order


@pytest.mark.parametrize(
    ("base", "source", "destination", "merged", "both"),
    [
        ("a b", "a b c", "a b", "a b c", False),
        ("a b", "a b c", "a b d", "a b d c", False),
        ("a b", "a c b", "a b", "a b c", False),
        ("a b", "c a b", "a b d", "a b d c", False),
        ("a b", "b a", "a b", "b a", False),
        ("a b", "b a", "a b d", "b a d", False),
        ("a b", "a b", "b a", "b a", False),
        ("a b", "b a", "b a", "b a", False),
        ("a b c", "c a b", "b a c", "b a c", True),
        ("a b c", "a b", "c b a", "b a", False),
        ("a b c", "a x c", "a b c", "a x c", False),
        ("a b c", "a x c", "d a b c", "d a x c", False),
        ("a b c", "x b c", "a b c", "x b c", False),
        ("a b c", "x b c", "d a b c", "d x b c", False),
        ("a b c", "x y c", "a b c", "x y c", False),
        ("", "a b", "b c", "b c a", False),
    ],
)  # fmt: skip
def test_merged_order(base: str, source: str, destination: str, merged: str, both: bool) -> None:
    sides = [text.split() for text in (base, source, destination)]
    gone = {name for name in sides[0] if name not in sides[1] or name not in sides[2]}
    names_ = [name for name in dict.fromkeys([*sides[2], *sides[1]]) if name not in gone]
    assert merged_order(*sides, names_) == (merged.split(), both)


def test_what_was_withheld_keeps_its_place_and_partition_columns_stay_last() -> None:
    assert merged_order(["a", "b"], ["a", "c"], ["a", "b"], ["a", "b", "c"]) == (["a", "b", "c"], False)
    assert merged_order(["a", "dt"], ["a", "b", "dt"], ["a", "c", "dt"], ["a", "b", "c", "dt"], last=1) == (
        ["a", "c", "b", "dt"],
        False,
    )
    assert merged_order(["a", "dt"], ["dt", "a", "b"], ["a", "dt"], ["a", "b", "dt"], last=1) == (
        ["dt", "a", "b"],
        False,
    )
    assert merged_order(["a"], ["a"], ["a"], ["a", "new"]) == (["a", "new"], False)


def test_renames_stand_in_one_place() -> None:
    assert renames(["a", "b"], ["a", "c"]) == [("b", "c")]
    assert renames(["a", "b"], ["b", "c"]) == []
    assert renames(["a", "b"], ["a", "b"]) == []
    assert renames(["a"], ["a", "b"]) == []
    assert renames(["a", "b"], ["x", "y"]) == [("a", "x"), ("b", "y")]


def test_arranging_goes_down() -> None:
    base = {"s": {"x": 1, "y": 1}, "t": 1}
    source = {"s": {"y": 1, "x": 1}, "t": 1}
    after, conflicts = arrange({"t": 1, "s": {"x": 1, "y": 1}}, base, base, source, base)
    assert in_order(after) == [["s", [["y", 1], ["x", 1]]], ["t", 1]] and conflicts == []
    other = {"s": {"x": 1, "z": 1, "y": 1}, "t": 1}
    three = {"s": {"x": 1, "y": 1, "z": 1}, "t": 1}
    turned = {"s": {"y": 1, "x": 1, "z": 1}, "t": 1}
    after, conflicts = arrange(other, three, three, turned, other)
    assert conflicts == [("s",)] and list(after["s"]) == ["x", "z", "y"]
    after, conflicts = arrange(other, three, three, turned, other, prefer_source=True)
    assert conflicts == [] and list(after["s"]) == ["y", "x", "z"]
    assert arrange(1, None, None, None, None) == (1, [])
    assert names_in(None) == [] and names_in({"a": 1}) == ["a"]
