"""How data is laid out, as far as merging asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import (
    SerDeInfo,
    StorageDescriptor,
)
from metasync.planning.file_layout import Layout, layout_of
from tests.tables_in_yaml import FORMATS, definition

# Layouts


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        ({"format": "parquet"}, Layout("parquet")),
        ({"format": "orc"}, Layout("orc")),
        ({"format": "avro"}, Layout("avro")),
        ({"format": "json"}, Layout("json")),
        ({"format": "text"}, Layout("text", by_position=True)),
        ({"format": "csv"}, Layout("text", by_position=True)),
        ({"format": "delta"}, Layout("text", schema_in_data=True)),
        ({"format": "hudi"}, Layout("parquet", schema_in_data=True)),
        ({"format": "orc", "parameters": {"orc.force.positional.evolution": "TRUE"}}, Layout("orc", by_position=True)),
        ({"serde": {"parquet.column.index.access": "true"}}, Layout("parquet", by_position=True)),
        ({"serde": {"parquet.column.index.access": "false"}}, Layout("parquet")),
        ({"parameters": {"table_type": "DELTA"}}, Layout("parquet", schema_in_data=True)),
        ({"parameters": {"provider": "delta"}}, Layout("parquet", schema_in_data=True)),
        ({"format": "text", "parameters": {"spark.sql.sources.provider": "csv"}}, Layout("text", by_position=True)),
        ({"format": "text", "parameters": {"spark.sql.sources.provider": "hive"}}, Layout("text", by_position=True)),
        ({"format": "text", "parameters": {"spark.sql.sources.provider": "jdbc"}}, Layout("text")),
    ],
)  # fmt: skip
def test_layouts(words: dict[str, Any], layout: Layout) -> None:
    made = definition(words)
    assert made is not None and layout_of([made.header]) == layout


def test_the_layout_of_a_merge_is_the_strictest_of_its_versions() -> None:
    found = [d.header for d in (definition({"format": form}) for form in FORMATS) if d is not None]
    assert layout_of(found) == Layout("other", True, True)
    assert layout_of([]) == Layout()
    regex = replace(found[0], sd=replace(found[0].sd, serde_info=SerDeInfo(serialization_lib="org.apache.hadoop.hive.serde2.RegexSerDe")))  # fmt: skip
    assert layout_of([regex]) == Layout("text", by_position=True)
    unknown = replace(found[0], sd=StorageDescriptor())
    assert layout_of([unknown]) == Layout("other")
    delta = replace(found[0], sd=replace(found[0].sd, input_format="io.delta.hive.DeltaInputFormat"))
    assert layout_of([delta]).schema_in_data
