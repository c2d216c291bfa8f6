"""Between Thrift structs and the values of `metasync.model.hms`.

Going to the server, a value is laid over the struct that the server gave, where there is one, so that fields which
only the server knows are written back as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.model.hms import (
    Database,
    FieldSchema,
    Order,
    Partition,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableName,
)

_KEPT = 1024
"""Values of a kind that are kept to be shared. Partitions by the thousand have the same columns and the same SerDe:
made once, they cost no memory, and are equal at a glance."""


def column_from(struct: Any) -> FieldSchema:
    return FieldSchema(struct.name, struct.type, struct.comment)


def column_to(column: FieldSchema) -> Any:
    return ttypes.FieldSchema(name=column.name, type=column.type, comment=column.comment)


@lru_cache(_KEPT)
def _columns(fields: tuple[tuple[str, str, str | None], ...]) -> tuple[FieldSchema, ...]:
    return tuple(FieldSchema(*one) for one in fields)


@lru_cache(_KEPT)
def _serde(name: str | None, lib: str | None, parameters: tuple[tuple[str, str], ...], *newer: Any) -> SerDeInfo:
    return SerDeInfo(name, lib, dict(parameters), *newer)


_NO_SKEW = SkewedInfo()


def storage_from(struct: Any) -> StorageDescriptor:
    """A storage descriptor; one that the server left out is an empty one."""
    if struct is None:
        return StorageDescriptor()
    serde, skewed = struct.serdeInfo or ttypes.SerDeInfo(), struct.skewedInfo
    return StorageDescriptor(
        cols=_columns(tuple([(column.name, column.type, column.comment) for column in struct.cols or ()])),
        location=struct.location,
        input_format=struct.inputFormat,
        output_format=struct.outputFormat,
        compressed=bool(struct.compressed),
        num_buckets=struct.numBuckets if struct.numBuckets is not None else -1,
        serde_info=_serde(
            serde.name,
            serde.serializationLib,
            tuple((serde.parameters or {}).items()),
            serde.description,
            serde.serializerClass,
            serde.deserializerClass,
            serde.serdeType,
        ),
        bucket_cols=tuple(struct.bucketCols or ()),
        sort_cols=tuple([Order(order.col, order.order) for order in struct.sortCols or ()]),
        parameters=dict(struct.parameters or {}),
        skewed_info=_skew_from(skewed) if skewed is not None and skewed.skewedColNames else _NO_SKEW,
        stored_as_sub_directories=bool(struct.storedAsSubDirectories),
    )


def _skew_from(skewed: Any) -> SkewedInfo:
    return SkewedInfo(
        col_names=tuple(skewed.skewedColNames or ()),
        col_values=tuple(tuple(values) for values in skewed.skewedColValues or ()),
        locations=tuple(sorted((tuple(k), v) for k, v in (skewed.skewedColValueLocationMaps or {}).items())),
    )


Shared = dict[int, Any]
"""Structs of a batch by the identity of the values that they were made of: those are alive as long as the batch."""


def storage_to(sd: StorageDescriptor, shared: Shared | None = None) -> Any:
    """The struct of a storage descriptor; equal parts of a batch are one struct, as nothing changes them."""
    shared = {} if shared is None else shared
    columns = shared.get(id(sd.cols))
    if columns is None:
        columns = shared[id(sd.cols)] = [column_to(column) for column in sd.cols]
    serde = shared.get(id(sd.serde_info))
    if serde is None:
        serde = shared[id(sd.serde_info)] = _serde_to(sd.serde_info)
    skewed = shared.get(id(sd.skewed_info))
    if skewed is None:
        skewed = shared[id(sd.skewed_info)] = _skew_to(sd.skewed_info)
    return ttypes.StorageDescriptor(
        cols=columns,
        location=sd.location,
        inputFormat=sd.input_format,
        outputFormat=sd.output_format,
        compressed=sd.compressed,
        numBuckets=sd.num_buckets,
        serdeInfo=serde,
        bucketCols=list(sd.bucket_cols),
        sortCols=[ttypes.Order(col=order.col, order=order.order) for order in sd.sort_cols],
        parameters=dict(sd.parameters),
        skewedInfo=skewed,
        storedAsSubDirectories=sd.stored_as_sub_directories,
    )


def _serde_to(serde: SerDeInfo) -> Any:
    struct = ttypes.SerDeInfo(
        name=serde.name, serializationLib=serde.serialization_lib, parameters=dict(serde.parameters)
    )
    struct.description = serde.description
    struct.serializerClass = serde.serializer_class
    struct.deserializerClass = serde.deserializer_class
    struct.serdeType = serde.serde_type
    return struct


def _skew_to(skewed: SkewedInfo) -> Any:
    return ttypes.SkewedInfo(
        skewedColNames=list(skewed.col_names),
        skewedColValues=[list(values) for values in skewed.col_values],
        skewedColValueLocationMaps=dict(skewed.locations),
    )


def table_from(struct: Any) -> Table:
    return Table(
        database=struct.dbName,
        name=struct.tableName,
        sd=storage_from(struct.sd),
        partition_keys=tuple(column_from(key) for key in struct.partitionKeys or ()),
        parameters=dict(struct.parameters or {}),
        table_type=struct.tableType or "",
        owner=struct.owner,
        owner_type=struct.ownerType,
        create_time=struct.createTime or 0,
        last_access_time=struct.lastAccessTime or 0,
        retention=struct.retention or 0,
        view_original_text=struct.viewOriginalText,
        view_expanded_text=struct.viewExpandedText,
        rewrite_enabled=bool(struct.rewriteEnabled),
    )


def table_to(table: Table, over: Any = None) -> Any:
    """The struct of a table, laid over the one that the server gave."""
    struct = copy.copy(over) if over is not None else ttypes.Table()
    struct.dbName = table.database
    struct.tableName = table.name
    struct.sd = storage_to(table.sd)
    struct.partitionKeys = [column_to(key) for key in table.partition_keys]
    struct.parameters = dict(table.parameters)
    struct.tableType = table.table_type
    struct.owner = table.owner
    struct.ownerType = table.owner_type
    struct.createTime = table.create_time
    struct.lastAccessTime = table.last_access_time
    struct.retention = table.retention
    struct.viewOriginalText = table.view_original_text
    struct.viewExpandedText = table.view_expanded_text
    struct.rewriteEnabled = table.rewrite_enabled
    return struct


def partition_from(struct: Any) -> Partition:
    return Partition(
        values=tuple(struct.values or ()),
        sd=storage_from(struct.sd),
        parameters=dict(struct.parameters or {}),
        create_time=struct.createTime or 0,
        last_access_time=struct.lastAccessTime or 0,
    )


def partitions_to(partitions: Sequence[Partition], name: TableName) -> list[Any]:
    shared: Shared = {}
    return [_partition_to(partition, name, shared) for partition in partitions]


def _partition_to(partition: Partition, name: TableName, shared: Shared) -> Any:
    return ttypes.Partition(
        values=list(partition.values),
        dbName=name.database,
        tableName=name.table,
        sd=storage_to(partition.sd, shared),
        parameters=dict(partition.parameters),
        createTime=partition.create_time,
        lastAccessTime=partition.last_access_time,
    )


def database_from(struct: Any) -> Database:
    return Database(
        name=struct.name,
        location_uri=struct.locationUri,
        description=struct.description,
        parameters=dict(struct.parameters or {}),
        owner_name=struct.ownerName,
        owner_type=struct.ownerType,
    )


def database_to(database: Database, over: Any = None) -> Any:
    struct = copy.copy(over) if over is not None else ttypes.Database()
    struct.name = database.name
    struct.locationUri = database.location_uri
    struct.description = database.description
    struct.parameters = dict(database.parameters)
    struct.ownerName = database.owner_name
    struct.ownerType = database.owner_type
    return struct
