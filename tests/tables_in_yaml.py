"""Tables in a few words of YAML, as the merge cases and the documentation write them, and back.

columns: id bigint, addr struct<city:string>, note string 'free text'
keys: dt string
partitions: ["1", "2"]               or {"1": {location: wh/t/x, columns: ..., serde: {...}, parameters: {...}}}
format: parquet                      text, csv, orc, avro, json, delta, hudi
parameters: {comment: orders}        serde: {...}    owner: ana    location: wh/t
buckets: id into 4 sorted by id      skew: id = 1
spark: true                          Spark's own schema beside the columns
avro: true                           the schema as an Avro literal
primary_key: id                      foreign_key: id references other.id
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metasync.model.hms import (
    Constraints,
    FieldSchema,
    ForeignKeyColumn,
    Order,
    PrimaryKeyColumn,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableName,
)
from metasync.planning import spark
from metasync.planning.definition import PartitionDefinition
from metasync.planning.item_tree import Definition, Partial
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.table_type import UNKNOWN_TYPE

_HIVE = "org.apache.hadoop.hive"
FORMATS: dict[str, tuple[str, str, str]] = {
    "parquet": (
        f"{_HIVE}.ql.io.parquet.serde.ParquetHiveSerDe",
        f"{_HIVE}.ql.io.parquet.MapredParquetInputFormat",
        f"{_HIVE}.ql.io.parquet.MapredParquetOutputFormat",
    ),
    "orc": (
        f"{_HIVE}.ql.io.orc.OrcSerde",
        f"{_HIVE}.ql.io.orc.OrcInputFormat",
        f"{_HIVE}.ql.io.orc.OrcOutputFormat",
    ),
    "avro": (
        f"{_HIVE}.serde2.avro.AvroSerDe",
        f"{_HIVE}.ql.io.avro.AvroContainerInputFormat",
        f"{_HIVE}.ql.io.avro.AvroContainerOutputFormat",
    ),
    "text": (
        f"{_HIVE}.serde2.lazy.LazySimpleSerDe",
        "org.apache.hadoop.mapred.TextInputFormat",
        f"{_HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
    "csv": (
        f"{_HIVE}.serde2.OpenCSVSerde",
        "org.apache.hadoop.mapred.TextInputFormat",
        f"{_HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
    "json": (
        "org.apache.hive.hcatalog.data.JsonSerDe",
        "org.apache.hadoop.mapred.TextInputFormat",
        f"{_HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
    # As Spark stores a Delta table through a 2.3.9 metastore (recorded: spark-3.5.json).
    "delta": (
        f"{_HIVE}.serde2.lazy.LazySimpleSerDe",
        "org.apache.hadoop.mapred.SequenceFileInputFormat",
        f"{_HIVE}.ql.io.HiveSequenceFileOutputFormat",
    ),
    # As Hudi's Hive sync registers a copy-on-write table.
    "hudi": (
        f"{_HIVE}.ql.io.parquet.serde.ParquetHiveSerDe",
        "org.apache.hudi.hadoop.HoodieParquetInputFormat",
        f"{_HIVE}.ql.io.parquet.MapredParquetOutputFormat",
    ),
}
_EXTRA = {
    "delta": {"spark.sql.sources.provider": "delta", "spark.sql.partitionProvider": "catalog"},
    "hudi": {"spark.sql.sources.provider": "hudi"},
}
_SPARK_TYPES = {"bigint": "long", "int": "integer", "smallint": "short", "tinyint": "byte"}
_AVRO_TYPES = {"bigint": "long"}


def fields(text: str) -> tuple[FieldSchema, ...]:
    """`id bigint, note string 'free text'` -> columns."""
    pieces, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            pieces.append(text[start:index])
            start = index + 1
    pieces.append(text[start:])
    found = []
    for piece in filter(None, map(str.strip, pieces)):
        match = re.fullmatch(r"(\S+) ([^']+?)(?: '(.*)')?", piece)
        assert match is not None, piece
        found.append(FieldSchema(*match.groups()))
    return tuple(found)


def definition(words: Mapping[str, Any] | None, name: str = "t", at: str = "s3a://lake/{ref}") -> Definition:
    """A definition, its locations below `at`; None stays None: the table is absent."""
    if words is None:
        return None
    columns, keys = fields(words.get("columns", "id bigint")), fields(words.get("keys", ""))
    form = words.get("format", "parquet")
    library, input_format, output_format = FORMATS[form]
    where = words.get("location", f"wh/{name}")
    location = where if "://" in where else f"{at}/{where}"
    buckets = re.fullmatch(r"(.+) into (\d+)(?: sorted by (.+))?", words.get("buckets", "")) or None
    sort = (buckets.group(3) or "").split(", ") if buckets else []
    skew = words.get("skew", "").split(" = ")
    parameters = {**_EXTRA.get(form, {}), **words.get("parameters", {})}
    if words.get("spark"):
        every = [*columns, *keys]
        parameters[spark.SCHEMA] = spark.dump({"type": "struct", "fields": [_spark_field(column) for column in every]})
    if words.get("avro"):
        parameters["avro.schema.literal"] = json.dumps(
            {"type": "record", "name": "r", "fields": [_avro_field(column) for column in columns]}
        )
    header = Table(
        "",
        "",
        StorageDescriptor(
            cols=columns,
            location=location,
            input_format=input_format,
            output_format=output_format,
            num_buckets=int(buckets.group(2)) if buckets else -1,
            bucket_cols=tuple(buckets.group(1).split(", ")) if buckets else (),
            sort_cols=tuple(Order(column, 1) for column in sort if column),
            serde_info=SerDeInfo(
                serialization_lib=library, parameters={"serialization.format": "1", **words.get("serde", {})}
            ),
            skewed_info=SkewedInfo(tuple(skew[:1]), ((skew[1],),)) if len(skew) == 2 else SkewedInfo(),
        ),
        partition_keys=keys,
        parameters={key: str(value) for key, value in parameters.items()},
        table_type=UNKNOWN_TYPE,
        owner=words.get("owner", "ana"),
        constraints=_constraints(words),
    )
    listed = words.get("partitions", [])
    described = listed if isinstance(listed, Mapping) else {value: {} for value in listed}
    made = [_partition(value, more or {}, header.sd, keys, at) for value, more in described.items()]
    return Partial(header, {partition_key(p.values): p for p in made})


def _partition(
    value: str, words: Mapping[str, Any], sd: StorageDescriptor, keys: tuple[FieldSchema, ...], at: str
) -> PartitionDefinition:
    location = sd.location
    values = tuple(str(value).split("/")) if len(keys) > 1 else (str(value),)
    path = "/".join(f"{key.name}={one}" for key, one in zip(keys, values, strict=True))
    where = words.get("location", f"{location}/{path}")
    return PartitionDefinition(
        values,
        where if "://" in where else f"{at}/{where}",
        {key: str(item) for key, item in words.get("parameters", {}).items()},
        fields(words["columns"]) if "columns" in words else None,
        replace(sd, cols=(), location=None, serde_info=replace(sd.serde_info, parameters=words["serde"]))
        if "serde" in words
        else None,
    )


def _constraints(words: Mapping[str, Any]) -> Constraints:
    primary = [name for name in words.get("primary_key", "").split(", ") if name]
    foreign = re.fullmatch(r"(\S+) references (\S+)\.(\S+)\.(\S+)", words.get("foreign_key", "")) or None
    return Constraints(
        primary_key=tuple(PrimaryKeyColumn(name, seq, "") for seq, name in enumerate(primary, 1)),
        foreign_keys=(
            ForeignKeyColumn(
                foreign.group(1), 1, "1", TableName("{ref}." + foreign.group(2), foreign.group(3)), foreign.group(4)
            ),
        )
        if foreign
        else (),
    )


def _spark_field(column: FieldSchema) -> dict[str, Any]:
    metadata = {"comment": column.comment} if column.comment else {}
    return {"name": column.name, "type": _spark_type(column.type), "nullable": True, "metadata": metadata}


def _spark_type(kind: str) -> Any:
    if kind.startswith("struct<"):
        inner = fields(re.sub(r"(\w+):", r"\1 ", kind[7:-1], count=0))
        return {"type": "struct", "fields": [_spark_field(field) for field in inner]}
    return _SPARK_TYPES.get(kind, kind)


def _avro_field(column: FieldSchema) -> dict[str, Any]:
    return {"name": column.name, "type": ["null", _AVRO_TYPES.get(column.type, column.type)], "default": None}
