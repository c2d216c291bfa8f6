"""Tables as Spark 3.5.9 stores them, through a mirror on a real metastore: nothing may differ but what is imposed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from metasync.model.hms import (
    FieldSchema,
    Order,
    Partition,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableName,
)
from tests.conftest import World

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "spark-3.5.json").read_text())["tables"]
SKIPPED = {"ice_t": "Iceberg", "v_orders": "view", "v_qualified": "view"}


def moved(text: Any, repository: str) -> Any:
    return text.replace("s3a://lake/", f"s3a://{repository}/") if isinstance(text, str) else text


def fields(values: list[dict[str, str]]) -> tuple[FieldSchema, ...]:
    return tuple(FieldSchema(v["name"], v["type"], v.get("comment")) for v in values)


def storage(value: dict[str, Any], repository: str) -> StorageDescriptor:
    serde, skew = value.get("serdeInfo", {}), value.get("skewedInfo", {})
    return StorageDescriptor(
        cols=fields(value.get("cols", [])),
        location=moved(value.get("location"), repository),
        input_format=value.get("inputFormat"),
        output_format=value.get("outputFormat"),
        compressed=value.get("compressed", False),
        num_buckets=value.get("numBuckets", -1),
        serde_info=SerDeInfo(
            name=serde.get("name"),
            serialization_lib=serde.get("serializationLib"),
            parameters={k: moved(v, repository) for k, v in serde.get("parameters", {}).items()},
        ),
        bucket_cols=tuple(value.get("bucketCols", [])),
        sort_cols=tuple(Order(o["col"], o["order"]) for o in value.get("sortCols", [])),
        parameters=value.get("parameters", {}),
        skewed_info=SkewedInfo(tuple(skew.get("skewedColNames", []))),
    )


def table(value: dict[str, Any], world: World) -> Table:
    return Table(
        database=world.database,
        name=value["tableName"],
        sd=storage(value["sd"], world.repository),
        partition_keys=fields(value.get("partitionKeys", [])),
        parameters={k: moved(v, world.repository) for k, v in value["parameters"].items()},
        table_type=value["tableType"],
        owner=value.get("owner"),
        last_access_time=value.get("lastAccessTime", 0),
        retention=value.get("retention", 0),
        view_original_text=value.get("viewOriginalText"),
        view_expanded_text=value.get("viewExpandedText"),
    )


def partitions(value: Any, world: World) -> list[Partition]:
    rows = value.values() if isinstance(value, dict) else value
    return [Partition(tuple(p["values"]), storage(p["sd"], world.repository), p.get("parameters", {})) for p in rows]


def as_on_main(mirror: Table, world: World) -> Table:
    """The mirror without its marks, at the original's place."""

    def back(text: str | None) -> str | None:
        return text.replace(f"s3a://{world.repository}/dev-1/", f"s3a://{world.repository}/main/") if text else text

    serde = mirror.sd.serde_info
    path = {k: back(v) or "" for k, v in serde.parameters.items()}
    sd = replace(mirror.sd, location=back(mirror.sd.location), serde_info=replace(serde, parameters=path))
    parameters = {k: v for k, v in mirror.parameters.items() if not k.startswith("metasync.")}
    return replace(mirror, database=world.database, sd=sd, parameters=parameters, create_time=0)


def test_every_table_of_spark_survives_a_mirror(world: World) -> None:
    store = world.tables.metastore
    originals: dict[str, Table] = {}
    for name, recorded in RECORDED.items():
        made = table(recorded["table"], world)
        store.create_table(made)
        some = partitions(recorded.get("partitions", {}), world)
        if some:
            store.add_partitions(made.table_name, some)
        found = store.get_table(made.table_name)
        assert found is not None
        originals[name] = found
    world.branch("dev-1")
    before = world.directories()
    result = world.sync()
    assert not result.failures and world.directories() == before
    said = {one.logical.table: one.reason for plan in result.plans for one in plan.not_mirrored}
    assert set(said) == set(SKIPPED) and all(word in said[name] for name, word in SKIPPED.items())
    mirrored = f"{world.database}__dev_1"
    assert set(world.tables.tables(mirrored)) == set(RECORDED) - set(SKIPPED)
    for name in set(RECORDED) - set(SKIPPED):
        mirror, original = world.tables.table(f"{mirrored}.{name}"), originals[name]
        assert as_on_main(mirror, world) == replace(original, create_time=0), name
        ours = list(store.iter_partitions(TableName(mirrored, name), mirror.partition_keys))
        theirs = list(store.iter_partitions(original.table_name, original.partition_keys))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one.values == other.values and one.parameters == other.parameters
            location = (one.sd.location or "").replace("/dev-1/", "/main/")
            path = {k: v.replace("/dev-1/", "/main/") for k, v in one.sd.serde_info.parameters.items()}
            serde = replace(one.sd.serde_info, parameters=path)
            assert replace(one.sd, location=location, serde_info=serde) == other.sd
    assert not world.sync().plans[0].pending
