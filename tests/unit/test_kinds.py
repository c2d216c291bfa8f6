"""Every kind of thing in a definition: into items and back, what is destructive, what is refused, how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import (
    CheckConstraint,
    Constraints,
    DefaultConstraint,
    FieldSchema,
    ForeignKeyColumn,
    NotNullConstraint,
    Order,
    PrimaryKeyColumn,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableName,
    UniqueColumn,
)
from metasync.planning import spark
from metasync.planning.definition import PartitionDefinition, header_from_json, header_json
from metasync.planning.descriptions import describe, describe_item, item_name
from metasync.planning.file_layout import Layout
from metasync.planning.item_tree import Partial, dangling, from_tree, merged_view, order_of, to_tree
from metasync.planning.kinds import KINDS, kind_of
from metasync.planning.kinds.partitions import partition_key, partition_values
from metasync.planning.kinds.storage import off_ref
from metasync.planning.merge import diff
from metasync.planning.policy import allowed, is_destructive
from metasync.planning.three_way import ItemChange
from tests.tables_in_yaml import definition

HERE = "s3a://lake/{ref}/wh/t"
AVRO = {
    "type": "record",
    "name": "r",
    "namespace": "n",
    "fields": [{"name": "id", "type": "int"}, {"name": "b", "type": "long"}],
}
SCHEMA = {
    "type": "struct",
    "fields": [
        {"name": "Id", "type": "long", "nullable": True, "metadata": {"comment": "key"}},
        {"name": "tags", "type": {"type": "array", "elementType": "string", "containsNull": True}, "nullable": True, "metadata": {}},
        {
            "name": "m",
            "type": {"type": "map", "keyType": "string", "valueType": "long", "valueContainsNull": False},
            "nullable": False,
            "metadata": {},
        },
        {
            "name": "addr",
            "type": {
                "type": "struct",
                "fields": [{"name": "City", "type": "string", "nullable": True, "metadata": {}, "odd": 1}],
            },
            "nullable": True,
            "metadata": {},
        },
        {"name": "point", "type": {"type": "udt", "class": "x.Point", "sqlType": "double"}, "nullable": True, "metadata": {}},
        {
            "name": "twins",
            "type": {
                "type": "struct",
                "fields": [
                    {"name": "a", "type": "long", "nullable": True, "metadata": {}},
                    {"name": "A", "type": "long", "nullable": True, "metadata": {}},
                ],
            },
            "nullable": True,
            "metadata": {},
        },
        {"name": "dt", "type": "date", "nullable": True, "metadata": {}},
    ],
}  # fmt: skip
CONSTRAINTS = Constraints(
    primary_key=(PrimaryKeyColumn("id", 1, "", rely=True), PrimaryKeyColumn("b", 2, "", rely=True)),
    foreign_keys=(
        ForeignKeyColumn("b", 1, "1", TableName("{ref}.sales", "parent"), "pid", enable=True, update_rule=1),
        ForeignKeyColumn("id", 2, "1", TableName("{ref}.sales", "parent"), "qid", enable=True, update_rule=1),
        ForeignKeyColumn("id", 1, "2", TableName("else", "where"), "x", delete_rule=2),
    ),
    unique=(UniqueColumn("b", 1, "1"), UniqueColumn("id", 1, "2", validate=True), UniqueColumn("b", 2, "2", validate=True)),
    not_null=(NotNullConstraint("b", ""), NotNullConstraint("id", "", enable=True)),
    default=(DefaultConstraint("b", "7", "", rely=True),),
    check=(CheckConstraint("", "b > 1", ""), CheckConstraint("id", "id > 0", "", enable=True)),
)  # fmt: skip
STORAGE = StorageDescriptor(
    cols=(FieldSchema("id", "bigint", "key"), FieldSchema("b", "struct<x:int,y:array<map<string,double>>>")),
    location=HERE,
    input_format="in.Format",
    output_format="out.Format",
    compressed=True,
    num_buckets=8,
    serde_info=SerDeInfo(
        "serde name", "lib.Parquet", {"path": HERE, "serialization.format": "1", "avro.schema.literal": json.dumps(AVRO)},
        "a description", "Ser", "De", 3,
    ),
    bucket_cols=("id",),
    sort_cols=(Order("b", 0), Order("id", 1)),
    parameters={"sd": "x"},
    skewed_info=SkewedInfo(("id", "b"), (("1", "2"), ("3", "4")), ((("1", "2"), f"{HERE}/skewed"),)),
    stored_as_sub_directories=True,
)  # fmt: skip
EVERYTHING = Partial(
    Table(
        "",
        "",
        STORAGE,
        partition_keys=(FieldSchema("dt", "date", "day"), FieldSchema("country", "string")),
        parameters={
            "comment": "all of it",
            spark.SCHEMA: spark.dump(SCHEMA),
            f"{spark.SCHEMA}.numBuckets": "8",
            f"{spark.SCHEMA}.bucketCol.0": "id",
            f"{spark.SCHEMA}.numSortCols": "1",
            f"{spark.SCHEMA}.partCol.0": "dt",
            f"{spark.SCHEMA}.numPartCols": "2",
            "spark.sql.sources.provider": "parquet",
        },
        table_type="TABLE",
        owner="ana",
        owner_type=2,
        retention=30,
        view_original_text="select 1",
        view_expanded_text="select 1 as one",
        constraints=CONSTRAINTS,
    ),
    {
        '["2024", "de"]': PartitionDefinition(("2024", "de"), f"{HERE}/a", {"k": "v"}, STORAGE.cols[:1], STORAGE),
        '["2025", "fr"]': PartitionDefinition(("2025", "fr"), f"{HERE}/b", {}),
        '["2026", "it"]': PartitionDefinition(("2026", "it"), None, {}),
    },
)
PLAIN = Partial(Table("", "", StorageDescriptor(), table_type="TABLE"))


@pytest.mark.parametrize("layout", [Layout(), Layout(by_position=True), Layout(schema_in_data=True)], ids=str)
@pytest.mark.parametrize("whole", [EVERYTHING, PLAIN], ids=["everything", "plain"])
def test_nothing_is_lost_between_a_definition_and_its_items(whole: Partial, layout: Layout) -> None:
    again = from_tree(to_tree(whole, layout))
    assert again is not None
    assert json.loads(again.header.parameters.get(spark.SCHEMA, "{}")) == json.loads(
        whole.header.parameters.get(spark.SCHEMA, "{}")
    )
    assert again == whole
    assert list(again.header.sd.cols) == list(whole.header.sd.cols)
    assert header_from_json(header_json(again.header)) == whole.header


def test_the_items_of_everything() -> None:
    tree = to_tree(EVERYTHING, Layout())
    assert list(tree["columns"]) == ["id", "b"]
    assert tree["columns"]["id"] == {"type": "bigint", "comment": "key"}
    assert tree["columns"]["b"] == {
        "type": {"struct": {"x": "int", "y": {"array": {"map": {"key": "string", "value": "double"}}}}}
    }
    assert tree["spark_schema"]["addr"]["type"] == {
        "struct": {"city": {"name": "City", "type": "string", "nullable": True, "metadata": {}, "odd": 1}}
    }
    assert tree["spark_schema"]["tags"]["type"]["array"]["elementType"] == "string"
    assert tree["spark_schema"]["m"]["type"]["map"]["valueType"] == "long"
    assert tree["spark_schema"]["twins"]["type"] == [SCHEMA["fields"][5]["type"]]  # type: ignore[index]
    assert set(tree["spark_layout"]) == {"buckets", "partitions"}
    assert set(tree["parameters"]) == {"comment", "spark.sql.sources.provider"}
    assert "avro.schema.literal" not in tree["serde_parameters"]
    assert set(tree["avro_schema"]["serde_parameters"]["fields"]) == {"id", "b"}
    assert tree["constraints"]["primary_key"] == {"columns": ["id", "b"], "rely": True}
    assert list(tree["constraints"]["foreign_keys"]) == [
        '[["b", "id"], "{ref}.sales.parent", ["pid", "qid"]]',
        '[["id"], "else.where", ["x"]]',
    ]
    assert tree["constraints"]["check"] == {"b > 1": {"column": ""}, "id > 0": {"column": "id", "enable": True}}
    assert tree["partitions"]['["2025", "fr"]'] == {"location": f"{HERE}/b"}
    assert set(tree["partitions"]['["2024", "de"]']) == {"columns", "location", "parameters", "storage"}
    names = {name for kind in KINDS for name in kind.names}
    assert set(merged_view(tree)) <= names  # type: ignore[arg-type]
    assert all(kind_of((name,)) for name in merged_view(tree))  # type: ignore[union-attr]


def test_what_rides_along_is_not_merged() -> None:
    tree = to_tree(EVERYTHING, Layout(schema_in_data=True))
    assert "columns" not in tree and "spark_schema" not in tree and "spark_layout" not in tree
    assert {key for key in tree if key.startswith("~")} == {"~columns", "~spark", "~type"}
    assert not any(key.startswith("~") for key in merged_view(tree))
    placed = replace(STORAGE, location="file:/warehouse/t-__PLACEHOLDER__")
    tree = to_tree(Partial(replace(EVERYTHING.header, sd=placed)), Layout())
    assert "location" not in tree and not off_ref(tree)
    assert from_tree(tree) == Partial(replace(EVERYTHING.header, sd=placed))


def test_the_order_of_a_tree_is_that_of_its_columns_and_fields() -> None:
    one = definition({"columns": "a int, s struct<x:int,y:int>", "spark": True})
    other = definition({"columns": "a int, s struct<y:int,x:int>", "spark": True})
    assert to_tree(one, Layout()) == to_tree(other, Layout())
    assert order_of(to_tree(one, Layout())) != order_of(to_tree(other, Layout()))
    assert order_of(to_tree(None, Layout())) is None


A, B = {"name": "a", "type": "int", "comment": None}, {"name": "b", "type": "int", "comment": None}
LONG_A, NARROW_A = {**A, "type": "bigint"}, {**A, "type": "smallint"}


@pytest.mark.parametrize(
    ("path", "before", "after", "destructive", "refusal", "words"),
    [
        ("columns/a", None, {"type": "int"}, False, None, "+column a int"),
        ("columns/a", {"type": "int"}, None, True, None, "-column a"),
        ("columns/a/comment", "x", "y", False, None, "~column a comment"),
        ("columns/a/comment", "x", None, False, None, "-column a comment"),
        ("columns/a/type", "int", "bigint", False, None, "~column a type int -> bigint"),
        ("columns/a/type", "bigint", "int", True, "type-not-widened", "~column a type bigint -> int"),
        ("columns/a/type", "int", None, True, "type-not-widened", "-column a type int"),
        ("columns/a/type", "int", {"array": "int"}, True, "type-not-widened", "~column a type int -> array<int>"),
        ("columns/a/type/struct/x", None, "int", False, None, "+column a.x int"),
        ("columns/a/type/struct/x", "int", None, True, None, "-column a.x int"),
        ("columns/a/type/struct/x", "int", "bigint", False, None, "~column a.x int -> bigint"),
        ("columns/a/type/struct/x/struct/y", "bigint", "int", True, "type-not-widened", "~column a.x.y bigint -> int"),
        ("columns/type", None, {"type": "int"}, False, None, "+column type int"),
        ("columns/type", {"type": "int"}, None, True, None, "-column type"),
        ("spark_schema/type", None, {}, False, None, "+spark column type"),
        ("spark_schema/type", {}, None, True, None, "-spark column type"),
        ("spark_schema/a/type/struct/type", None, {}, False, None, "+spark column a.type"),
        ("spark_schema/a/type/struct/type/type", "long", "integer", True, "type-not-widened", "~spark column a.type type"),
        ("spark_schema/a/type/array/containsNull", True, False, False, None, "~spark column a type array containsNull"),
        ("columns/a/type/struct/struct", "int", None, True, None, "-column a.struct int"),
        ("columns/a/type/map/value/struct/x", "int", None, True, None, "-column a type map value struct x int"),
        ("columns/a/type/map/value", "bigint", "int", True, "type-not-widened", "~column a type map value bigint -> int"),
        ("parameters/skip.header.line.count", None, "1", True, None, "+parameter skip.header.line.count"),
        ("columns/a/type/array/struct/x", None, "int", False, None, "+column a type array struct x int"),
        ("columns/ALL", [A], [A, B], False, None, "~columns"),
        ("columns/ALL", [A, B], [A], True, None, "~columns"),
        ("columns/ALL", [A], [B], True, None, "~columns"),
        ("columns/ALL", [A], [LONG_A], False, None, "~columns"),
        ("columns/ALL", [A], [NARROW_A], True, "type-not-widened", "~columns"),
        ("columns/ALL", None, [A], False, None, "+columns"),
        ("column_order", ["a", "b"], ["b", "a"], False, None, "~order of columns"),
        ("partition_keys", [A], [{**A, "comment": "x"}], False, None, "~partition keys"),
        ("partition_keys", [A], [LONG_A], True, "partition-keys-changed", "~partition keys"),
        ("partition_keys", [A], [A, B], True, "partition-keys-changed", "~partition keys"),
        ("location", HERE, f"{HERE}2", True, None, "~location"),
        ("location", HERE, "s3a://else/x", True, "location-off-ref", "~location"),
        ("location", HERE, None, True, "location-off-ref", "-location"),
        ("formats/input", "x", "y", True, None, "~formats input"),
        ("serde/library", "x", "y", True, None, "~serde library"),
        ("serde/name", "x", "y", False, None, "~serde name"),
        ("serde/description", "x", "y", False, None, "~serde description"),
        ("serde_parameters/field.delim", ",", ";", True, None, "~serde parameters field.delim"),
        ("serde_parameters/separatorChar", ",", ";", True, None, "~serde parameters separatorChar"),
        ("serde_parameters/sep", ",", ";", True, None, "~serde parameters sep"),
        ("serde_parameters/input.regex", ",", ";", True, None, "~serde parameters input.regex"),
        ("serde_parameters/x", ",", ";", True, None, "~serde parameters x"),
        ("serde_parameters/orc.compress", "ZLIB", "SNAPPY", False, None, "~serde parameters orc.compress"),
        ("serde_parameters/path", HERE, f"{HERE}2", True, None, "~serde parameters path"),
        ("serde_parameters/path", HERE, "s3a://else/x", True, "location-off-ref", "~serde parameters path"),
        ("serde_parameters/path", HERE, None, True, None, "-serde parameters path"),
        ("sd_parameters/x", ",", ";", True, None, "~sd parameters x"),
        ("sd_parameters/storage.location.template", HERE, "s3a://else/x", True, "location-off-ref", "~sd parameters storage.location.template"),
        ("buckets", "x", "y", True, None, "~buckets"),
        ("skew", "x", "y", True, None, "~skew"),
        ("parameters/k", "x", "y", False, None, "~parameter k x -> y"),
        ("parameters/k", "x" * 41, "y" * 40, False, None, f"~parameter k {'x' * 37}... -> {'y' * 40}"),
        ("parameters/k", None, "y", False, None, "+parameter k"),
        ("parameters/avro.schema.url", None, "s3a://else/x", True, "location-off-ref", "+parameter avro.schema.url"),
        ("parameters/avro.schema.url", HERE, None, True, None, "-parameter avro.schema.url"),
        ("parameters/avro.schema.url", HERE, f"{HERE}2", True, None, f"~parameter avro.schema.url {HERE} -> {HERE}2"),
        ("table/owner", "ana", "bo", False, None, "~table owner ana -> bo"),
        ("table/type", "TABLE", "X", True, None, "~table type TABLE -> X"),
        ("constraints/primary_key", None, {}, False, None, "+primary key"),
        ("constraints/primary_key", {}, None, True, None, "-primary key"),
        ("constraints/not_null/id", {}, None, True, None, "-not null id"),
        ("constraints/default/id/value", "1", "2", False, None, "~default id value"),
        ("avro_schema/parameters/fields/a", None, "{}", False, None, "+avro schema parameters fields a"),
        ("avro_schema/parameters/fields/a", "{}", None, True, None, "-avro schema parameters fields a"),
        ("spark_schema/a", None, {}, False, None, "+spark column a"),
        ("spark_schema/a", {}, None, True, None, "-spark column a"),
        ("spark_schema/a/type", "integer", "long", False, None, "~spark column a type"),
        ("spark_schema/a/type", "byte", "short", False, None, "~spark column a type"),
        ("spark_schema/a/type", "long", "integer", True, "type-not-widened", "~spark column a type"),
        ("spark_schema/a/type", None, "integer", True, None, "+spark column a type"),
        ("spark_schema/a/type/struct/x", {}, None, True, None, "-spark column a.x"),
        ("spark_schema/a/type/struct/x", None, {}, False, None, "+spark column a.x"),
        ("spark_schema/a/type/array/elementType", "integer", "string", True, "type-not-widened", "~spark column a type array elementType"),
        ("spark_schema/a/type/map/valueType", "integer", "long", False, None, "~spark column a type map valueType"),
        ("spark_schema/a/nullable", True, False, False, None, "~spark column a nullable"),
        ("spark_schema/ALL", [A, B], [A, B, {**A, "name": "c"}], False, None, "~spark columns"),
        ("spark_schema/ALL", [A, B], [A, {**A, "name": "c"}, B], True, None, "~spark columns"),
        ("spark_schema/ALL", [A, B], [B, A], True, None, "~spark columns"),
        ("spark_schema/ALL", [A, B], [A], True, None, "~spark columns"),
        ("spark_schema/ALL", [LONG_A], [A], True, "type-not-widened", "~spark columns"),
        ("spark_layout/buckets", "x", "y", True, None, "~spark layout buckets"),
        ('partitions/["1"]', None, {"location": HERE}, False, None, "+partition (1)"),
        ('partitions/["1"]', None, {"location": "s3a://else/x"}, False, "location-off-ref", "+partition (1)"),
        ('partitions/["1", "de"]', {}, None, True, None, "-partition (1, de)"),
        ('partitions/["1"]/location', HERE, f"{HERE}2", True, None, "~partition (1) location"),
        ('partitions/["1"]/location', HERE, "s3a://else/x", True, "location-off-ref", "~partition (1) location"),
        ('partitions/["1"]/storage', "x", "y", True, None, "~partition (1) storage"),
        ('partitions/["1"]/columns', None, {}, True, None, "+partition (1) columns"),
        ('partitions/["1"]/columns/a', {"type": "int"}, None, True, None, "-partition (1) columns a"),
        ('partitions/["1"]/columns/a', None, {"type": "int"}, False, None, "+partition (1) columns a"),
        ('partitions/["1"]/columns/a/type', "bigint", "int", True, "type-not-widened", "~partition (1) columns a type"),
        ('partitions/["1"]/parameters/k', "x", "y", False, None, "~partition (1) parameters k"),
    ],
)  # fmt: skip
def test_what_a_change_means(
    path: str, before: Any, after: Any, destructive: bool, refusal: str | None, words: str
) -> None:
    change = ItemChange(tuple(path.split("/")), before, after)
    assert is_destructive(change, Layout()) is destructive
    assert kind_of(change.path).refusal(change, Layout()) == refusal
    assert describe_item(change) == words
    assert allowed(change, "additive", Layout(), protected=False) is not destructive
    assert allowed(change, "full", Layout(), protected=False)
    assert not allowed(change, "full", Layout(), protected=True)
    assert not allowed(change, "plan", Layout(), protected=False)
    assert not allowed(change, "ignore", Layout(), protected=False)


def test_a_partition_without_data_is_no_loss() -> None:
    dropped = ItemChange(("partitions", '["1"]'), {}, None)
    assert allowed(dropped, "additive", Layout(), protected=False, emptied={'["1"]'})
    assert not allowed(dropped, "additive", Layout(), protected=False, emptied={'["2"]'})
    moved = ItemChange(("partitions", '["1"]', "location"), HERE, f"{HERE}2")
    assert not allowed(moved, "additive", Layout(), protected=False, emptied={'["1"]'})
    assert not allowed(dropped, "plan", Layout(), protected=False, emptied={'["1"]'})


def test_whole_tables_and_lists_of_changes_are_told() -> None:
    born, gone = ItemChange((), None, {}), ItemChange((), {}, None)
    assert is_destructive(gone, Layout()) and not is_destructive(born, Layout())
    assert (describe_item(born), describe_item(gone), item_name(())) == ("+table", "-table", "table")
    assert describe([born, gone, born], most=2) == "+table, -table and 1 more"
    assert describe([born, gone], most=2) == "+table, -table"
    assert describe([ItemChange((f"parameters/{n}").partition("/")[::2], None, "x") for n in range(7)]).endswith(
        "+parameter 5 and 1 more"
    )


def test_positions_are_read_with_the_familys_widening() -> None:
    change = ItemChange(("columns", "ALL"), [A], [{**A, "type": "string"}])
    assert not is_destructive(change, Layout("text", by_position=True))
    assert is_destructive(change, Layout("parquet", by_position=True))


def test_what_refers_to_a_column_that_is_not_there() -> None:
    assert dangling(to_tree(None, Layout())) == []
    tree = to_tree(EVERYTHING, Layout())
    assert dangling(tree) == []
    without = {**tree, "columns": {"id": tree["columns"]["id"]}}
    assert {(path[0], name) for path, name in dangling(without)} == {
        ("buckets", "b"),
        ("skew", "b"),
        ("constraints", "b"),
    }
    assert {path[1:] for path, _ in dangling(without) if path[0] == "constraints"} == {
        ("primary_key",),
        ("foreign_keys", '[["b", "id"], "{ref}.sales.parent", ["pid", "qid"]]'),
        ("unique", '["b"]'), ("unique", '["id", "b"]'), ("not_null", "b"), ("default", "b"),
    }  # fmt: skip
    listed = to_tree(EVERYTHING, Layout(by_position=True))
    assert dangling(listed) == []
    assert dangling({**listed, "columns": {"ALL": []}})


# Differences of two definitions


def test_a_diff_leads_from_one_to_the_other() -> None:
    one = definition({"columns": "id int, a int, b int", "keys": "dt string", "partitions": ["1"]})
    other = definition({"columns": "b int, id int", "keys": "dt string", "partitions": ["2"]})
    words = [describe_item(item) for item in diff(one, other)]
    assert words == ["-column a", "+partition (2)", "-partition (1)", "~order of columns"]
    assert diff(one, one) == ()
    assert [describe_item(item) for item in diff(None, one)] == ["+table"]
    assert [describe_item(item) for item in diff(one, None)] == ["-table"]


def test_partition_keys_of_items_survive() -> None:
    for values in ((), ("a-b", "c"), ('"', "\\"), ("ü", "")):
        assert partition_values(partition_key(values)) == values
    assert partition_key(("ü",)) == '["ü"]'


@pytest.mark.parametrize("literal", ["", "{", '{"type": "string"}', "[]", '{"type": "record"}', '{"type": "record", "fields": [{"name": "a"}, {"name": "a"}]}', '{"type":"record","fields":[1]}'])  # fmt: skip
def test_an_avro_schema_that_is_no_record_stays_a_parameter(literal: str) -> None:
    made = definition({"format": "avro", "parameters": {"avro.schema.literal": literal}})
    tree = to_tree(made, Layout("avro"))
    assert "avro_schema" not in tree and tree["parameters"]["avro.schema.literal"] == literal
    assert from_tree(tree) == made


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type":"struct"}', '{"type":"struct","fields":[{"name":"a"},{"name":"A"}]}', '{"type":"array","fields":[]}'])  # fmt: skip
def test_a_spark_schema_that_cannot_be_read_stays_a_parameter(text: str) -> None:
    made = definition({"parameters": {spark.SCHEMA: text}})
    tree = to_tree(made, Layout())
    assert "spark_schema" not in tree and from_tree(tree) == made
