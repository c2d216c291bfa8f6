"""Definitions: a table's metadata without what differs between refs for no reason of the user's.

A *header* is a `Table` without name, times and volatile parameters, of its own type (`planning.table_type`), with
relative locations; a *partition
definition* is the same for a partition, with columns and storage left out where they are the table's ("inherits").
Normalising comes before every comparison, else fields that servers and engines write would differ for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter

from metasync.model.hms import FieldSchema, Partition, PartitionValues, StorageDescriptor, Table
from metasync.model.marks import PREFIX
from metasync.planning import spark
from metasync.planning.locations import (
    absolute,
    absolute_parameters,
    relative,
    relative_parameters,
)
from metasync.planning.patterns import matches
from metasync.planning.table_type import EXTERNAL, TYPE_PARAMETERS, own_type

STATISTICS = (
    "numFiles", "numFilesErasureCoded", "totalSize", "numRows", "rawDataSize", "numPartitions", "COLUMN_STATS_ACCURATE",
    "STATS_GENERATED", "STATS_GENERATED_VIA_STATS_TASK", "spark.sql.statistics.*", "recordCount", "averageRecordSize",
    "sizeKey", "objectCount", "impala.lastComputeStatsTime", "impala.computeStatsSnapshotIds",
)  # fmt: skip
"""Parameters that tell of a table's or a partition's data, as Hive, Spark, Impala and Glue's crawlers write them."""
VOLATILE = (
    *STATISTICS, "transient_lastDdlTime", "last_modified_by", "last_modified_time", "DO_NOT_UPDATE_STATS",
    "impala.events.*", "trino_query_id", "presto_query_id", "trino_version", "presto_version",
    "com.hotels.bdp.circustrain.*", "UPDATED_BY_CRAWLER", "CrawlerSchema*",
)  # fmt: skip
"""Parameters that servers and engines write by themselves; rules extend the list with `ignore_parameters`."""


@cache
def _table() -> TypeAdapter[Table]:
    """Built when it is first needed: that takes longer than most commands do."""
    return TypeAdapter(Table)


@dataclass(frozen=True, slots=True)
class PartitionDefinition:
    """A partition. `columns` None: it inherits the table's. `storage` None: formats and SerDe are the table's."""

    values: PartitionValues
    location: str | None
    parameters: Mapping[str, str]
    columns: tuple[FieldSchema, ...] | None = None
    storage: StorageDescriptor | None = None


@cache
def _partition() -> TypeAdapter[PartitionDefinition]:
    """Built when it is first needed: that takes longer than most commands do."""
    return TypeAdapter(PartitionDefinition)


@dataclass(frozen=True, slots=True)
class Home:
    """The ref that the relative locations of a definition are relative to."""

    repository: str
    ref: str


@lru_cache(10_000)
def is_volatile(key: str, ignored: tuple[str, ...] = ()) -> bool:
    """Whether a parameter is never compared or merged; but for those of a table's type, it is not stored either."""
    named = key == EXTERNAL or key in TYPE_PARAMETERS or key.startswith(PREFIX)
    return named or matches(key, VOLATILE) or matches(key, ignored)


@lru_cache(10_000)
def is_statistic(key: str) -> bool:
    """Whether a parameter tells of the data that a table or a partition has."""
    return matches(key, STATISTICS)


def _steady(parameters: Mapping[str, str], ignored: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if not is_volatile(key, ignored)}


def _columns(columns: Iterable[FieldSchema]) -> tuple[FieldSchema, ...]:
    return tuple(replace(column, comment=None) if column.comment == "" else column for column in columns)


def _relative_storage(sd: StorageDescriptor, home: Home) -> StorageDescriptor:
    at = (home.repository, home.ref)
    skewed = replace(
        sd.skewed_info,
        locations=tuple((values, relative(where, *at)) for values, where in sd.skewed_info.locations),
    )
    serde = replace(sd.serde_info, parameters=relative_parameters(sd.serde_info.parameters, *at))
    return replace(
        sd,
        cols=_columns(sd.cols),
        location=relative(sd.location, *at) if sd.location else None,
        serde_info=serde,
        skewed_info=skewed,
        parameters=relative_parameters(sd.parameters, *at),
    )


def _absolute_storage(sd: StorageDescriptor, ref: str) -> StorageDescriptor:
    skewed = replace(
        sd.skewed_info,
        locations=tuple((values, absolute(where, ref)) for values, where in sd.skewed_info.locations),
    )
    serde = replace(sd.serde_info, parameters=absolute_parameters(sd.serde_info.parameters, ref))
    return replace(
        sd,
        location=absolute(sd.location, ref) if sd.location else None,
        serde_info=serde,
        skewed_info=skewed,
        parameters=absolute_parameters(sd.parameters, ref),
    )


def moved_storage(sd: StorageDescriptor, home: Home, ref: str) -> StorageDescriptor:
    """A storage descriptor with what lies on `home` moved to another ref."""
    return _absolute_storage(_relative_storage(sd, home), ref)


def header_of(table: Table, home: Home, ignored: tuple[str, ...] = ()) -> Table:
    """The header of a table as the metastore holds it."""
    kind, of_type = own_type(table)
    parameters = spark.joined(_steady(table.parameters, ignored)) | of_type
    return replace(
        table,
        database="",
        name="",
        table_type=kind,
        create_time=0,
        last_access_time=0,
        sd=_relative_storage(table.sd, home),
        partition_keys=_columns(table.partition_keys),
        parameters=relative_parameters(parameters, home.repository, home.ref),
    )


class PartitionReader:
    """Partitions of one table, as the metastore holds them, to definitions; what they share is worked out once."""

    def __init__(self, table: Table, home: Home, ignored: tuple[str, ...] = ()) -> None:
        self._home, self._ignored = home, ignored
        self._columns = _columns(table.sd.cols)
        self._storage = _bare(_relative_storage(table.sd, home))
        self._last: tuple[Any, ...] = ()
        self._shared: tuple[tuple[FieldSchema, ...] | None, StorageDescriptor | None] = (None, None)

    def __call__(self, partition: Partition) -> PartitionDefinition:
        sd = partition.sd
        last = _all_but_location(sd)
        if last != self._last:
            self._last, self._shared = last, self._own(sd)
        columns, storage = self._shared
        return PartitionDefinition(
            values=partition.values,
            location=relative(sd.location, self._home.repository, self._home.ref) if sd.location else None,
            parameters=relative_parameters(
                _steady(partition.parameters, self._ignored), self._home.repository, self._home.ref
            ),
            columns=columns,
            storage=storage,
        )

    def _own(self, sd: StorageDescriptor) -> tuple[tuple[FieldSchema, ...] | None, StorageDescriptor | None]:
        """Columns and storage of a partition where they are not the table's."""
        found = _relative_storage(sd, self._home)
        storage = _bare(found)
        # Spark writes the table's own `path` into the table's SerDe only; that is no difference of the format.
        same = storage == self._storage or _without_path(storage) == _without_path(self._storage)
        return None if found.cols == self._columns else found.cols, None if same else storage


class PartitionMover:
    """Live partitions from their home to another ref, volatile parameters and all."""

    def __init__(self, home: Home, ref: str) -> None:
        self._home, self._ref = home, ref
        self._last: tuple[Any, ...] = ()
        self._moved = StorageDescriptor()

    def __call__(self, partition: Partition) -> Partition:
        sd = partition.sd
        last = _all_but_location(sd)
        if last != self._last:
            self._last, self._moved = last, moved_storage(replace(sd, location=None), self._home, self._ref)
        where = relative(sd.location, self._home.repository, self._home.ref) if sd.location else None
        at = relative_parameters(partition.parameters, self._home.repository, self._home.ref)
        return replace(
            partition,
            sd=replace(self._moved, location=absolute(where, self._ref) if where else None),
            parameters=absolute_parameters(at, self._ref),
        )


_all_but_location = attrgetter(*(field.name for field in fields(StorageDescriptor) if field.name != "location"))


def _bare(sd: StorageDescriptor) -> StorageDescriptor:
    """Formats and SerDe alone."""
    return replace(sd, cols=(), location=None)


def _without_path(sd: StorageDescriptor) -> StorageDescriptor:
    parameters = {key: value for key, value in sd.serde_info.parameters.items() if key != "path"}
    return replace(sd, serde_info=replace(sd.serde_info, parameters=parameters))


def table_from(header: Table, database: str, name: str, ref: str) -> Table:
    """A table of a header at home on `ref`, its type as the header has it."""
    return replace(
        header,
        database=database,
        name=name,
        sd=_absolute_storage(header.sd, ref),
        parameters=spark.split(absolute_parameters(header.parameters, ref)),
    )


class PartitionMaker:
    """Definitions to partitions of one table (absolute, at home on `ref`); what they share is worked out once."""

    def __init__(self, table: Table, ref: str) -> None:
        self._columns, self._ref = table.sd.cols, ref
        self._storage = _absolute_storage(_bare(table.sd), ref)

    def __call__(self, definition: PartitionDefinition) -> Partition:
        own = definition.storage
        sd = replace(
            self._storage if own is None else _absolute_storage(own, self._ref),
            cols=self._columns if definition.columns is None else definition.columns,
            location=absolute(definition.location, self._ref) if definition.location else None,
        )
        return Partition(
            values=definition.values, sd=sd, parameters=absolute_parameters(definition.parameters, self._ref)
        )


def changed_table(live: Table, before: Table, after: Table, ref: str) -> Table:
    """The live table with the difference between two headers applied and all else kept, volatile parameters too."""
    target = table_from(after, live.database, live.name, ref)
    unmanaged = {
        key: value
        for key, value in live.parameters.items()
        if key in TYPE_PARAMETERS or (key not in before.parameters and not spark.is_schema(key))
    }
    written = {key: value for key, value in target.parameters.items() if key not in TYPE_PARAMETERS}
    if before.parameters.get(spark.SCHEMA) == after.parameters.get(spark.SCHEMA):
        # The same schema stays as it was stored: whole, or in the pieces that its writer chose.
        schema = {key: value for key, value in live.parameters.items() if spark.is_schema(key)}
        written = {key: value for key, value in written.items() if not spark.is_schema(key)} | schema
    same = _unchanged(before.parameters, after.parameters)
    written |= {key: value for key, value in live.parameters.items() if key in same}
    serde, live_serde = target.sd.serde_info, live.sd.serde_info.parameters
    same = _unchanged(before.sd.serde_info.parameters, after.sd.serde_info.parameters)
    serde = replace(serde, parameters={**serde.parameters, **{k: v for k, v in live_serde.items() if k in same}})
    return replace(
        target,
        sd=replace(target.sd, serde_info=serde),
        parameters=unmanaged | written,
        table_type=live.table_type,
        create_time=live.create_time,
        last_access_time=live.last_access_time,
    )


def _unchanged(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The keys whose values no merge changed: their text stays as its writer had it."""
    return {key for key, value in before.items() if after.get(key) == value and not spark.is_schema(key)}


def header_json(header: Table) -> dict[str, Any]:
    """A header as JSON values, without what is empty."""
    return dict(_pruned(_table().dump_python(header, mode="json")))


def header_from_json(value: Any) -> Table:
    """The inverse of `header_json`."""
    return _table().validate_python({"database": "", "name": "", **value, "sd": value.get("sd", {})})


def partition_json(partition: PartitionDefinition) -> dict[str, Any]:
    """A partition definition as JSON values, without what is empty."""
    kept: dict[str, Any] = {"values": list(partition.values)}
    if partition.location is not None:
        kept["location"] = partition.location
    if partition.parameters:
        kept["parameters"] = dict(partition.parameters)
    if partition.columns is not None or partition.storage is not None:
        value = _partition().dump_python(partition, mode="json")
        kept |= {key: value[key] for key in ("columns", "storage") if value[key] is not None}
    return kept


def partition_from_json(value: Any) -> PartitionDefinition:
    """The inverse of `partition_json`."""
    if "columns" in value or "storage" in value:
        return _partition().validate_python({"location": None, "parameters": {}, **value})
    return PartitionDefinition(tuple(value["values"]), value.get("location"), value.get("parameters") or {})


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None and item not in ([], {})}
    return value


def canonical(value: Any) -> bytes:
    """JSON that is the same for equal values, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def content_hash(value: Any) -> str:
    """The address of a JSON value."""
    return hashlib.sha256(canonical(value)).hexdigest()
