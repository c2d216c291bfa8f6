"""Definitions as trees of items, which is what the matrix merges; and back.

columns/NAME/{type, comment}     or, for a SerDe that reads by position, columns/* as one item
column_order                     names in order; decided by `columns.merged_order`, not by the matrix
partition_keys                   one item
location, formats/..., serde/..., serde_parameters/KEY, sd_parameters/KEY, buckets, skew
parameters/KEY                   spark_schema/NAME instead of the parameter that holds the schema
table/{owner, owner_type, retention, type, view}
partitions/[VALUES]/{columns, location, storage, parameters/KEY}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from metasync.model.hms import (
    FieldSchema,
    Order,
    PartitionValues,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
)
from metasync.planning import spark
from metasync.planning.definition import PartitionDefinition, partition_from_json, partition_json
from metasync.planning.matrix import ABSENT

Tree = dict[str, Any]

_BY_POSITION = (
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    "org.apache.hadoop.hive.serde2.OpenCSVSerde",
    "org.apache.hadoop.hive.serde2.RegexSerDe",
    "org.apache.hadoop.hive.contrib.serde2.RegexSerDe",
    "org.apache.hadoop.hive.serde2.MultiDelimitSerDe",
    "org.apache.hadoop.hive.contrib.serde2.MultiDelimitSerDe",
    "org.apache.hadoop.hive.serde2.columnar.ColumnarSerDe",
    "org.apache.hadoop.hive.serde2.columnar.LazyBinaryColumnarSerDe",
    "org.apache.hadoop.hive.serde2.lazybinary.LazyBinarySerDe",
)
_POSITION_SETTINGS = ("orc.force.positional.evolution", "parquet.column.index.access")


def by_position(header: Table) -> bool:
    """Whether the SerDe reads columns by position, so that no column can be merged without the others."""
    settings = {**header.parameters, **header.sd.serde_info.parameters}
    return header.sd.serde_info.serialization_lib in _BY_POSITION or any(
        settings.get(key, "").lower() == "true" for key in _POSITION_SETTINGS
    )


def partition_key(values: PartitionValues) -> str:
    """The item name of a partition: its values as a JSON list, so that no separator can make two lists equal."""
    return json.dumps(list(values), ensure_ascii=False)


def partition_values(key: str) -> PartitionValues:
    """The inverse of `partition_key`."""
    return tuple(json.loads(key))


def _set(**values: Any) -> Tree:
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [], "")}


def to_tree(header: Table, partitions: Iterable[PartitionDefinition], *, positional: bool) -> Tree:
    """The items of a definition; `partitions` may be only those that take part in a merge."""
    sd, serde = header.sd, header.sd.serde_info
    schema = spark.parse(header.parameters.get(spark.SCHEMA)) if not positional else None
    parameters = {key: value for key, value in header.parameters.items() if schema is None or key != spark.SCHEMA}
    tree: Tree = {
        "partition_keys": [asdict(key) for key in header.partition_keys],
        "formats": _set(input=sd.input_format, output=sd.output_format, compressed=sd.compressed or None),
        "serde": _set(
            library=serde.serialization_lib,
            name=serde.name,
            description=serde.description,
            serializer=serde.serializer_class,
            deserializer=serde.deserializer_class,
            type=serde.serde_type,
        ),
        "serde_parameters": dict(serde.parameters),
        "sd_parameters": dict(sd.parameters),
        "buckets": {
            "columns": list(sd.bucket_cols),
            "number": sd.num_buckets,
            "sort": [[order.col, order.order] for order in sd.sort_cols],
        },
        "skew": {
            "columns": list(sd.skewed_info.col_names),
            "values": [list(values) for values in sd.skewed_info.col_values],
            "locations": [[list(values), where] for values, where in sd.skewed_info.locations],
            "directories": sd.stored_as_sub_directories,
        },
        "parameters": parameters,
        "table": _set(
            owner=header.owner,
            owner_type=header.owner_type,
            retention=header.retention or None,
            type=header.table_type,
            view_original=header.view_original_text,
            view_expanded=header.view_expanded_text,
        ),
        "partitions": {partition_key(p.values): _partition_tree(p) for p in partitions},
    }
    # Bucketing and skew are one item each: half of one means something else.
    tree["buckets"] = json.dumps(tree["buckets"])
    tree["skew"] = json.dumps(tree["skew"], ensure_ascii=False)
    if sd.location is not None:
        tree["location"] = sd.location
    if positional:
        tree["columns"] = {"*": [asdict(column) for column in sd.cols]}
        tree["column_order"] = []
    else:
        tree["columns"] = {c.name.lower(): _set(type=c.type, comment=c.comment) for c in sd.cols}
        tree["column_order"] = [c.name.lower() for c in sd.cols]
    if schema is not None:
        tree["spark_schema"] = {field["name"].lower(): json.dumps(field) for field in schema["fields"]}
        tree["spark_order"] = [field["name"].lower() for field in schema["fields"]]
    return tree


def _partition_tree(partition: PartitionDefinition) -> Tree:
    value = partition_json(partition)
    value.pop("values")
    if "storage" in value:
        value["storage"] = json.dumps(value["storage"], sort_keys=True)
    return value


def partition_from_tree(key: str, tree: Mapping[str, Any]) -> PartitionDefinition:
    """The definition of the partition `key` of a tree."""
    value = dict(tree)
    if "storage" in value:
        value["storage"] = json.loads(value["storage"])
    return partition_from_json(value | {"values": list(partition_values(key))})


def header_from_tree(tree: Mapping[str, Any]) -> Table:
    """The header that a tree describes."""
    serde, formats, table = tree.get("serde", {}), tree.get("formats", {}), tree.get("table", {})
    buckets, skew = json.loads(tree["buckets"]), json.loads(tree["skew"])
    if "*" in tree["columns"]:
        columns = tuple(FieldSchema(**column) for column in tree["columns"]["*"])
    else:
        columns = tuple(
            FieldSchema(name, tree["columns"][name].get("type", ""), tree["columns"][name].get("comment"))
            for name in tree["column_order"]
        )
    parameters = dict(tree.get("parameters", {}))
    if "spark_schema" in tree:
        fields = [json.loads(tree["spark_schema"][name]) for name in tree["spark_order"]]
        parameters[spark.SCHEMA] = spark.dump({"type": "struct", "fields": fields})
    sd = StorageDescriptor(
        cols=columns,
        location=tree.get("location"),
        input_format=formats.get("input"),
        output_format=formats.get("output"),
        compressed=formats.get("compressed", False),
        num_buckets=buckets["number"],
        serde_info=SerDeInfo(
            name=serde.get("name"),
            serialization_lib=serde.get("library"),
            parameters=dict(tree.get("serde_parameters", {})),
            description=serde.get("description"),
            serializer_class=serde.get("serializer"),
            deserializer_class=serde.get("deserializer"),
            serde_type=serde.get("type"),
        ),
        bucket_cols=tuple(buckets["columns"]),
        sort_cols=tuple(Order(col, order) for col, order in buckets["sort"]),
        parameters=dict(tree.get("sd_parameters", {})),
        skewed_info=SkewedInfo(
            col_names=tuple(skew["columns"]),
            col_values=tuple(tuple(values) for values in skew["values"]),
            locations=tuple((tuple(values), where) for values, where in skew["locations"]),
        ),
        stored_as_sub_directories=skew["directories"],
    )
    return Table(
        database="",
        name="",
        sd=sd,
        partition_keys=tuple(FieldSchema(**key) for key in tree["partition_keys"]),
        parameters=parameters,
        table_type=table.get("type", "TABLE"),
        owner=table.get("owner"),
        owner_type=table.get("owner_type"),
        retention=table.get("retention", 0),
        view_original_text=table.get("view_original"),
        view_expanded_text=table.get("view_expanded"),
    )


def column_names(tree: Any) -> list[str]:
    """The column names of a tree in order; none for what is absent."""
    return list(tree["column_order"]) if tree is not ABSENT and isinstance(tree, Mapping) else []
