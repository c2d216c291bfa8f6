"""How a table's data is laid out, as far as that decides how its definition may be merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from metasync.model.hms import Table
from metasync.planning.locations import LOCATION_PARAMETERS
from metasync.planning.types import Family

_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("parquet", "parquet"),
    ("orc", "orc"),
    ("avro", "avro"),
    ("json", "json"),
    ("lazysimple", "text"),
    ("opencsv", "text"),
    ("regex", "text"),
    ("multidelimit", "text"),
)
_PROVIDERS: Mapping[str, Family] = {
    "parquet": "parquet", "orc": "orc", "avro": "avro", "json": "json", "csv": "text", "text": "text",
}  # fmt: skip
"""Spark's data sources. It gives JSON and CSV the SerDe of text, whatever they hold (recorded: `csv_t`)."""
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
_READ_BY_ENGINES = (
    "serialization.*", "field.delim", "collection.delim", "colelction.delim", "mapkey.delim", "line.delim",
    "escape.delim", "separatorchar", "quotechar", "escapechar", "skip.header.line.count", "skip.footer.line.count",
    "textinputformat.*", "timestamp.formats", "input.regex*", "output.format.string", "column.encode.*",
    "ignore.malformed.json", "dots.in.keys", "case.insensitive", "mapping.*", "json.*", "csv.*", "regex*", "avro.*",
    "orc.*", "parquet.*", "proto.*", "serde.*", "schema.location", "hive.schema.url", "hive.serialization.*",
    "storage.*", "projection.*", "partition.filtering*", "partition_filtering*", "bucketing_version", "transactional*",
    "spark.sql.*", "objectsize.*", "exclusions", "recurse", "classification", "arecolumnsquoted", "typeofdata",
    "sep", "delimiter", "header", "escape", "quote", "charset", "encoding", "multiline", "linesep", "mode", "nullvalue",
)  # fmt: skip
"""Parameters of tables that engines read to turn files into rows, or to find files: Hive's SerDes, Athena's partition
projection, Trino's and Spark's options. Every other parameter of a table is somebody's note."""
_HARMLESS = (
    "compression", "*.compress", "*.compress.size", "*.compression", "*.codec", "orc.stripe.size",
    "orc.row.index.stride", "orc.create.index", "orc.bloom.filter.*", "orc.encoding.strategy", "orc.block.padding*",
    "orc.dictionary.*", "parquet.block.size", "parquet.page.*", "parquet.dictionary.*", "parquet.enable.dictionary",
    "parquet.writer.*", "parquet.bloom.filter.*", "spark.sql.create.version", "spark.sql.statistics.*",
)  # fmt: skip
"""Of all that engines read, what decides only how new files are written: files that are there say it themselves."""
_SCHEMA_IN_DATA = ("delta", "hudi")


@dataclass(frozen=True)
class Layout:
    """`by_position`: no column can be merged without the others. `schema_in_data`: the columns are not HMS's to say.
    `keys`: the partition columns, which no file holds."""

    family: Family = "other"
    by_position: bool = False
    schema_in_data: bool = False
    keys: frozenset[str] = frozenset()


def layout_of(headers: Iterable[Table]) -> Layout:
    """The layout that holds for all versions of a table that take part in a merge: the strictest of theirs."""
    every = list(headers)
    families = {_family(header) for header in every}
    return Layout(
        family=families.pop() if len(families) == 1 else "other",
        by_position=any(_by_position(header) for header in every),
        schema_in_data=any(keeps_schema_in_data(header) for header in every),
        keys=frozenset(key.name.lower() for header in every for key in header.partition_keys),
    )


def serde_parameter_decides_reading(key: str) -> bool:
    """Whether a parameter of a SerDe or storage descriptor may decide how files become rows: all but harmless ones."""
    return not _matches(key, _HARMLESS)


def table_parameter_decides_reading(key: str) -> bool:
    """Whether a parameter of a table may decide how files become rows, or which files."""
    return key in LOCATION_PARAMETERS or (_matches(key, _READ_BY_ENGINES) and not _matches(key, _HARMLESS))


@lru_cache(10_000)
def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key.lower(), pattern.lower()) for pattern in patterns)


def keeps_schema_in_data(header: Table) -> bool:
    """Delta and Hudi: their logs say what the columns are, and engines copy them to the metastore as they like."""
    words = [header.parameters.get(key, "") for key in ("spark.sql.sources.provider", "table_type", "provider")]
    classes = [header.sd.input_format or "", header.sd.serde_info.serialization_lib or ""]
    return any(word.lower() in _SCHEMA_IN_DATA for word in words) or any(
        mark in name.lower() for name in classes for mark in ("io.delta.", "org.apache.hudi.")
    )


def _family(header: Table) -> Family:
    provider = header.parameters.get("spark.sql.sources.provider", "").lower()
    if provider in _PROVIDERS:
        return _PROVIDERS[provider]
    name = (header.sd.serde_info.serialization_lib or "").lower()
    return next((family for mark, family in _FAMILIES if mark in name), "other")


def _by_position(header: Table) -> bool:
    settings = {**header.parameters, **header.sd.serde_info.parameters}
    return (header.sd.serde_info.serialization_lib in _BY_POSITION and not _is_placeholder(header)) or any(
        settings.get(key, "").lower() == "true" for key in _POSITION_SETTINGS
    )


def _is_placeholder(header: Table) -> bool:
    """Spark's data sources that Hive has no SerDe for stand as LazySimple over sequence files (recorded: `delta_t`)."""
    provider = header.parameters.get("spark.sql.sources.provider", "").lower()
    return provider not in ("", "hive", "csv", "text")
