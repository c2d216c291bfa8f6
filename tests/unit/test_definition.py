"""Normalising: what of a table counts, where its locations lie, and what comes back when it is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import (
    FieldSchema,
    Order,
    Partition,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableType,
)
from metasync.planning import spark
from metasync.planning.definition import (
    Home,
    PartitionMaker,
    PartitionMover,
    PartitionReader,
    changed_table,
    content_hash,
    header_from_json,
    header_json,
    header_of,
    is_volatile,
    moved_storage,
    partition_from_json,
    partition_json,
    table_from,
)
from metasync.planning.formats import real_location, why_header_off_ref, why_off_ref, why_skipped
from metasync.planning.locations import (
    absolute,
    absolute_parameters,
    is_relative,
    on_ref,
    path_on_ref,
    ref_in,
    ref_root,
    relative,
    relative_parameters,
)
from metasync.planning.table_type import EXTERNAL, TYPE_PARAMETERS, without_type
from tests.hypothesis_examples import examples
from tests.one_partition import partition_from, partition_of

MAIN, DEV = Home("lake", "main"), Home("lake", "dev")
COLUMNS = (FieldSchema("id", "int", ""), FieldSchema("b", "string", "text"))
SD = StorageDescriptor(
    cols=COLUMNS,
    location="s3a://lake/main/wh/t",
    input_format="in",
    output_format="out",
    num_buckets=4,
    serde_info=SerDeInfo("s", "lib", {"path": "s3a://lake/main/wh/t", "x": "s3a://lake/main/wh/t"}),
    bucket_cols=("id",),
    sort_cols=(Order("b", 1),),
    skewed_info=SkewedInfo(("id",), (("1",),), ((("1",), "s3a://lake/main/wh/t/one"),)),
)
TABLE = Table(
    "sales",
    "t",
    SD,
    (FieldSchema("dt", "string", ""),),
    {
        "k": "v", "EXTERNAL": "TRUE", "numRows": "7", "transient_lastDdlTime": "9", "metasync.name": "x", "spark.sql.statistics.size": "1",
        "avro.schema.url": "s3a://lake/main/schemas/t.avsc", spark.SCHEMA: '{"type": "struct", "fields": []}', "impala.events.x": "1",
    },
    TableType.EXTERNAL, "ana", 1, 100, 200, 30,
)  # fmt: skip


def test_a_header_is_a_table_without_what_does_not_count() -> None:
    header = header_of(TABLE, MAIN, ("x",))
    assert (header.database, header.name, header.table_type) == ("", "", TableType.EXTERNAL)
    assert (header.create_time, header.last_access_time) == (0, 0)
    assert (header.owner, header.owner_type, header.retention) == ("ana", 1, 30)
    assert header.parameters == {
        "k": "v", "avro.schema.url": "s3a://lake/{ref}/schemas/t.avsc", spark.SCHEMA: '{"type":"struct","fields":[]}',
    }  # fmt: skip
    assert header.sd.location == "s3a://lake/{ref}/wh/t"
    assert header.sd.cols == (FieldSchema("id", "int"), FieldSchema("b", "string", "text"))
    assert header.partition_keys == (FieldSchema("dt", "string"),)
    assert header.sd.serde_info.parameters == {"path": "s3a://lake/{ref}/wh/t", "x": "s3a://lake/{ref}/wh/t"}
    assert header.sd.skewed_info.locations == ((("1",), "s3a://lake/{ref}/wh/t/one"),)
    managed = header_of(replace(TABLE, table_type=TableType.MANAGED), MAIN)
    assert without_type(managed) == without_type(header) and managed.table_type == TableType.MANAGED
    assert header_of(replace(TABLE, table_type=TableType.VIEW), MAIN).table_type == TableType.VIEW
    assert "k" not in header_of(TABLE, MAIN, ("k*",)).parameters
    nowhere = replace(TABLE, sd=replace(SD, location=None))
    assert header_of(nowhere, MAIN).sd.location is None
    assert header_from_json(header_json(header)) == header


@pytest.mark.parametrize(
    ("key", "volatile"),
    [*((key, True) for key in (EXTERNAL, *TYPE_PARAMETERS)), ("metasync.ref", True), ("numFiles", True), ("spark.sql.statistics.numRows", True),
     ("spark.sql.sources.provider", False), ("comment", False), ("STATS_GENERATED", True), ("trino_version", True), ("com.hotels.bdp.circustrain.replication.event", True), ("UPDATED_BY_CRAWLER", True), ("xnumFiles", False), ("etl.run", True), ("etlx", False)],
)  # fmt: skip
def test_what_is_volatile(key: str, volatile: bool) -> None:
    assert is_volatile(key, ("etl.*",)) is volatile


def test_a_table_of_a_header_lies_on_the_ref_that_it_is_made_for() -> None:
    made = table_from(header_of(TABLE, MAIN), "sales__dev", "t", "dev")
    assert (made.database, made.name) == ("sales__dev", "t")
    assert made.sd.location == "s3a://lake/dev/wh/t"
    assert made.sd.serde_info.parameters == {"path": "s3a://lake/dev/wh/t", "x": "s3a://lake/dev/wh/t"}
    assert made.sd.skewed_info.locations == ((("1",), "s3a://lake/dev/wh/t/one"),)
    assert made.parameters["avro.schema.url"] == "s3a://lake/dev/schemas/t.avsc"
    assert header_of(made, DEV) == header_of(TABLE, MAIN)
    assert moved_storage(SD, MAIN, "dev").location == "s3a://lake/dev/wh/t"
    assert moved_storage(replace(SD, location=None), MAIN, "dev").location is None


def test_a_changed_table_keeps_what_nobody_merged() -> None:
    before = header_of(TABLE, MAIN)
    after = replace(before, parameters={**before.parameters, "k": "new"}, owner="bo")
    live = replace(TABLE, table_type=TableType.MANAGED, parameters={**TABLE.parameters, "own": "kept"})
    made = changed_table(live, before, after, "main")
    assert made.parameters["k"] == "new" and made.owner == "bo"
    assert (
        made.parameters["own"] == "kept" and made.parameters["numRows"] == "7" and made.parameters["EXTERNAL"] == "TRUE"
    )
    assert made.parameters[spark.SCHEMA] == TABLE.parameters[spark.SCHEMA]
    assert (made.database, made.name, made.table_type) == ("sales", "t", TableType.MANAGED)
    assert (made.create_time, made.last_access_time) == (100, 200)
    dropped = changed_table(live, before, replace(before, parameters={}), "main")
    assert (
        "k" not in dropped.parameters and spark.SCHEMA not in dropped.parameters and dropped.parameters["own"] == "kept"
    )


def test_a_schema_that_stays_is_written_as_its_writer_had_it() -> None:
    whole = spark.dump(
        {
            "type": "struct",
            "fields": [{"name": f"c{n}", "type": "long", "nullable": True, "metadata": {}} for n in range(90)],
        }
    )
    parts = {
        f"{spark.SCHEMA}.numParts": "2",
        f"{spark.SCHEMA}.part.0": whole[:100],
        f"{spark.SCHEMA}.part.1": whole[100:],
    }
    live = replace(TABLE, parameters=parts)
    before = header_of(live, MAIN)
    assert before.parameters == {spark.SCHEMA: whole}
    assert changed_table(live, before, replace(before, owner="bo"), "main").parameters == parts
    grown = spark.dump(
        {"type": "struct", "fields": [{"name": "c" * 5000, "type": "long", "nullable": True, "metadata": {}}]}
    )
    changed = changed_table(live, before, replace(before, parameters={spark.SCHEMA: grown}), "main").parameters
    assert changed[f"{spark.SCHEMA}.numParts"] == "2" and len(changed[f"{spark.SCHEMA}.part.0"]) == 4000
    assert spark.joined(changed) == {spark.SCHEMA: grown}
    incomplete = {f"{spark.SCHEMA}.numParts": "2", f"{spark.SCHEMA}.part.0": "{"}
    assert spark.joined(incomplete) == incomplete
    assert spark.split({"k": "v"}) == {"k": "v"} and spark.split({spark.SCHEMA: "x" * 4000}) == {
        spark.SCHEMA: "x" * 4000
    }
    assert (
        spark.is_schema(spark.SCHEMA)
        and spark.is_schema(f"{spark.SCHEMA}.part.3")
        and spark.is_schema(f"{spark.SCHEMA}.numParts")
    )
    assert not spark.is_schema(f"{spark.SCHEMA}.numPartCols")


def test_a_partition_inherits_what_is_its_tables() -> None:
    inherits = Partition(("1",), replace(SD, location="s3a://lake/main/wh/t/dt=1"), {"k": "v", "numRows": "1"}, 5, 6)
    definition = partition_of(inherits, TABLE, MAIN)
    assert definition.columns is None and definition.storage is None
    assert (definition.values, definition.location, definition.parameters) == (
        ("1",),
        "s3a://lake/{ref}/wh/t/dt=1",
        {"k": "v"},
    )
    assert "k" not in partition_of(inherits, TABLE, MAIN, ("k",)).parameters
    own = replace(inherits, sd=replace(inherits.sd, cols=COLUMNS[:1], input_format="other"))
    other = partition_of(own, TABLE, MAIN)
    assert other.columns == (FieldSchema("id", "int"),) and other.storage is not None and other.storage.cols == ()
    assert other.storage.location is None and other.storage.input_format == "other"
    # Spark writes the table's path into the table's SerDe only.
    pathless = replace(
        inherits, sd=replace(inherits.sd, serde_info=SerDeInfo("s", "lib", {"x": "s3a://lake/main/wh/t"}))
    )
    assert partition_of(pathless, TABLE, MAIN).storage is None
    for one in (definition, other):
        assert partition_from_json(partition_json(one)) == one
    table = table_from(header_of(TABLE, MAIN), "sales__dev", "t", "dev")
    made = partition_from(definition, table, "dev")
    assert (
        made.sd.location == "s3a://lake/dev/wh/t/dt=1"
        and made.sd.cols == table.sd.cols
        and made.parameters == {"k": "v"}
    )
    assert partition_from(other, table, "dev").sd.cols == (FieldSchema("id", "int"),)
    assert partition_from(other, table, "dev").sd.input_format == "other"
    assert partition_from(replace(definition, location=None), table, "dev").sd.location is None


def test_hashes_are_of_content() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1}) != content_hash({"a": 1, "b": [3]})
    assert (
        content_hash("ü") == "f5d9a7e27dd2e0bdcc7bb4a1c5ec3c8d1a2ee7ab20f5f4f2d6a1f6ff8dd2e4d0"
        or len(content_hash("ü")) == 64
    )


# Formats


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"table_type": TableType.VIEW}, "a view"),
        ({"table_type": TableType.MATERIALIZED_VIEW}, "a view"),
        ({"parameters": {"table_type": "iceberg"}}, "an Iceberg table"),
        ({"parameters": {"TABLE_TYPE": "ICEBERG"}}, "an Iceberg table"),
        ({"sd": replace(SD, serde_info=SerDeInfo("s", "org.apache.Iceberg.mr.hive.HiveIcebergSerDe"))}, "an Iceberg table"),
        ({"parameters": {"transactional": "TRUE"}}, "a transactional"),
        ({"parameters": {"transactional": "false"}}, None),
        ({"parameters": {"storage_handler": "org.x.HBase"}}, "storage handler org.x.HBase"),
        ({"sd": replace(SD, serde_info=SerDeInfo())}, None),
        ({"parameters": {"table_type": "DELTA"}}, None),
        *(({"parameters": {"spark.sql.sources.provider": p}}, None) for p in ("parquet", "ORC", "hive", "delta", "hudi", "csv")),
        *(({"parameters": {"spark.sql.sources.provider": p}}, f"Spark's provider {p}") for p in ("jdbc", "org.x.Source", "odd")),
    ],
)  # fmt: skip
def test_what_is_never_mirrored(change: dict[str, Any], words: str | None) -> None:
    found = why_skipped(replace(TABLE, **change))
    assert (found is None) if words is None else (found is not None and words in found)


def test_where_a_table_really_lies() -> None:
    assert why_off_ref(TABLE, "lake", "main") is None
    assert "is not on lake/dev" in (why_off_ref(TABLE, "lake", "dev") or "") and "wh/t" in (
        why_off_ref(TABLE, "lake", "dev") or ""
    )
    placed = replace(TABLE, sd=replace(SD, location="file:/x-__PLACEHOLDER__"))
    assert real_location(placed) == SD.location and why_off_ref(placed, "lake", "main") is None
    bare = replace(placed, sd=replace(placed.sd, serde_info=SerDeInfo()))
    assert real_location(bare) == "file:/x-__PLACEHOLDER__" and real_location(TABLE) == SD.location
    assert real_location(replace(TABLE, sd=StorageDescriptor())) is None
    elsewhere = replace(TABLE, parameters={"avro.schema.url": "s3a://lake/dev/t.avsc"})
    assert "avro.schema.url s3a://lake/dev/t.avsc is not on lake/main" in (why_off_ref(elsewhere, "lake", "main") or "")
    in_serde = replace(
        TABLE, parameters={}, sd=replace(SD, serde_info=SerDeInfo(parameters={"avro.schema.url": "hdfs://x"}))
    )
    assert "avro.schema.url hdfs://x" in (why_off_ref(in_serde, "lake", "main") or "")
    assert why_header_off_ref(header_of(TABLE, MAIN)) is None
    assert "location s3a://lake/main/wh/t is not on the ref" in (why_header_off_ref(header_of(TABLE, DEV)) or "")
    assert "avro.schema.url hdfs://x is not on the ref" in (why_header_off_ref(header_of(in_serde, MAIN)) or "")
    assert "avro.schema.url" in (why_header_off_ref(header_of(elsewhere, MAIN)) or "")


TEMPLATE = "storage.location.template"


@pytest.mark.parametrize(
    ("parameters", "serde", "storage", "why"),
    [
        ({TEMPLATE: "s3a://lake/main/wh/t/${dt}/"}, {}, {}, None),
        ({TEMPLATE: "s3a://lake/dev/wh/t/${dt}/"}, {}, {}, TEMPLATE),
        ({TEMPLATE: "s3a://archive/t/${dt}/"}, {}, {}, TEMPLATE),
        ({}, {}, {TEMPLATE: "s3a://archive/t"}, TEMPLATE),
        ({}, {"path": "s3a://archive/t"}, {}, None),
        ({"spark.sql.sources.provider": "parquet"}, {"path": "s3a://archive/t"}, {}, "path"),
        ({"spark.sql.sources.provider": "hive"}, {"path": "s3a://archive/t"}, {}, None),
        ({"avro.schema.url": "https://registry/subjects/t/versions/1/schema"}, {}, {}, None),
        ({}, {"avro.schema.url": "http://registry/t"}, {}, None),
        ({"proto.descriptor.path": "s3a://lake/main/schemas/t.desc"}, {}, {}, None),
        ({"hive.schema.url": "s3a://other/t"}, {}, {}, "hive.schema.url"),
        ({"comment": "see s3a://other/t", "link": "s3a://other/t"}, {}, {}, None),
    ],
)
def test_what_else_names_a_place(
    parameters: dict[str, str], serde: dict[str, str], storage: dict[str, str], why: str | None
) -> None:
    sd = StorageDescriptor(location=SD.location, parameters=storage, serde_info=SerDeInfo(parameters=serde))
    table = Table("sales", "t", sd, parameters=parameters)
    found, of_header = why_off_ref(table, "lake", "main"), why_header_off_ref(header_of(table, MAIN))
    assert (found is None, of_header is None) == (why is None, why is None)
    assert why is None or (why in (found or "") and why in (of_header or ""))


PLACES = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4),
    st.one_of(
        st.text(max_size=8),
        st.builds("s3a://lake/main{}".format, st.sampled_from(("", "/", "/x", "/${dt}/", "/x-__PLACEHOLDER__"))),
    ),
)


@examples(300)
@given(PLACES, PLACES, PLACES, PLACES)
def test_every_location_moves_wherever_it_stands(
    table: dict[str, str], serde: dict[str, str], storage: dict[str, str], of_partition: dict[str, str]
) -> None:
    sd = StorageDescriptor(location="s3a://lake/main/t", parameters=storage, serde_info=SerDeInfo(parameters=serde))
    here = Table("d", "t", sd, parameters=table)
    partition = Partition(("1",), replace(sd, location="s3a://lake/main/t/dt=1"), of_partition)
    there = table_from(header_of(here, MAIN), "d__dev", "t", "dev")
    moved = PartitionMaker(there, "dev")(PartitionReader(here, MAIN)(partition))
    for found in (there.parameters, there.sd.parameters, there.sd.serde_info.parameters, moved.parameters):
        assert not any(value.startswith("s3a://lake/main") for value in found.values())
    again = table_from(header_of(there, DEV), "d", "t", "main")
    assert (again.parameters, again.sd) == (here.parameters, here.sd)
    assert PartitionMaker(again, "main")(PartitionReader(there, DEV)(moved)) == partition
    assert PartitionMover(MAIN, "dev")(partition) == moved


@pytest.mark.parametrize("scheme", ["s3a", "s3", "s3n", "lakefs"])
def test_locations(scheme: str) -> None:
    here, root = f"{scheme}://lake/main/wh/t", f"{scheme}://lake/main"
    assert (
        on_ref(here, "lake", "main")
        and on_ref(root, "lake", "main")
        and not on_ref(here, "lake", "mai")
        and not on_ref(here, "lak", "main")
    )
    assert not on_ref(None, "lake", "main") and not on_ref("hdfs://lake/main/x", "lake", "main")
    assert ref_in(here, "lake") == "main" and ref_in(here, "pond") is None and ref_in("x", "lake") is None
    assert relative(here, "lake", "main") == f"{scheme}://lake/{{ref}}/wh/t" and relative(here, "lake", "dev") == here
    assert relative(here, "pond", "main") == here
    assert relative(f"{here}-__PLACEHOLDER__", "lake", "main") == f"{scheme}://lake/{{ref}}/wh/t-__PLACEHOLDER__"
    assert is_relative(relative(here, "lake", "main")) and not is_relative(here) and not is_relative(None)
    assert (
        absolute(relative(here, "lake", "main"), "dev") == f"{scheme}://lake/dev/wh/t" and absolute(here, "dev") == here
    )
    assert absolute("x", "dev") == "x"
    assert path_on_ref(f"{here}/") == "wh/t" and path_on_ref(root) == "" and path_on_ref("x") is None
    assert ref_root(here, "dev") == f"{scheme}://lake/dev/"
    with pytest.raises(ValueError, match="'x' is not on lakeFS"):
        ref_root("x", "dev")
    parameters = {"path": here, "avro.schema.url": here, "other": here}
    moved = relative_parameters(parameters, "lake", "main")
    assert moved == {
        "path": relative(here, "lake", "main"),
        "avro.schema.url": relative(here, "lake", "main"),
        "other": relative(here, "lake", "main"),
    }
    assert absolute_parameters(moved, "main") == parameters
    assert absolute("s3a://lake/{ref}/a\nb", "dev") == "s3a://lake/dev/a\nb"
