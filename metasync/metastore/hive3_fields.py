"""Fields of Hive 3 and 4 laid over hmsclient's bindings, which were generated from Hive 2.3.5's IDL.

The C codec is driven by `thrift_spec`, so appending fields to it (and refreshing the specs that are nested in others)
round-trips them; a 2.3.9 server skips fields that it does not know (all seen live, 2.3.9 to 4.2.1). Two corrections:
`SkewedInfo`'s map of lists needs a hashable key, and bit vectors are binary since 3.0.
"""

from __future__ import annotations

import inspect
from typing import Any

from hmsclient.genthrift.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.Thrift import TType

_TEXT, _I32, _I64, _BOOL, _BYTES = "UTF8", None, None, None, "BINARY"

_FIELDS: dict[str, list[tuple[int, int, str, Any]]] = {
    "Table": [
        (17, TType.STRING, "catName", _TEXT),
        (18, TType.I32, "ownerType", _I32),
        (19, TType.I64, "writeId", _I64),
        (20, TType.BOOL, "isStatsCompliant", _BOOL),
        (22, TType.BYTE, "accessType", None),
        (23, TType.LIST, "requiredReadCapabilities", (TType.STRING, "UTF8", False)),
        (24, TType.LIST, "requiredWriteCapabilities", (TType.STRING, "UTF8", False)),
        (25, TType.I64, "id", _I64),
    ],
    "Partition": [
        (9, TType.STRING, "catName", _TEXT),
        (10, TType.I64, "writeId", _I64),
        (11, TType.BOOL, "isStatsCompliant", _BOOL),
    ],
    "Database": [
        (8, TType.STRING, "catalogName", _TEXT),
        (9, TType.I32, "createTime", _I32),
        (10, TType.STRING, "managedLocationUri", _TEXT),
        (11, TType.I32, "type", _I32),
        (12, TType.STRING, "connector_name", _TEXT),
        (13, TType.STRING, "remote_dbname", _TEXT),
    ],
    "SerDeInfo": [
        (4, TType.STRING, "description", _TEXT),
        (5, TType.STRING, "serializerClass", _TEXT),
        (6, TType.STRING, "deserializerClass", _TEXT),
        (7, TType.I32, "serdeType", _I32),
    ],
}
_CATALOG = {
    "GetTableRequest": 4, "GetTablesRequest": 4, "AddPartitionsRequest": 6, "DropPartitionsRequest": 9,
    "TableStatsRequest": 4, "PartitionsStatsRequest": 5, "ColumnStatisticsDesc": 6, "PrimaryKeysRequest": 3,
    "ForeignKeysRequest": 5, "DropConstraintRequest": 4, "SQLPrimaryKey": 9, "SQLForeignKey": 15,
}  # fmt: skip
"""The structs of requests that a catalog can be named in, and the number of the field."""
_FIELDS |= {struct: [(number, TType.STRING, "catName", _TEXT)] for struct, number in _CATALOG.items()}

_ENGINE = {"delete_table_column_statistics_args": 4, "delete_partition_column_statistics_args": 5}
"""Calls of which 4.0 and later take whose statistics are meant; earlier ones skip the field."""


def apply() -> None:
    """Lays the fields over the bindings. Doing it again changes nothing."""
    for name, fields in _FIELDS.items():
        struct = getattr(ttypes, name)
        present = {field[2] for field in struct.thrift_spec if field}
        specification = list(struct.thrift_spec)
        for number, kind, field, argument in fields:
            if field in present:
                continue
            specification += [None] * (number + 1 - len(specification))
            specification[number] = (number, kind, field, argument, None)
            # An instance that was made by the bindings' own constructor has no such attribute.
            setattr(struct, field, None)
        struct.thrift_spec = tuple(specification)
    for name, number in _ENGINE.items():
        call = getattr(ThriftHiveMetastore, name)
        call.thrift_spec = (*call.thrift_spec[:number], (number, TType.STRING, "engine", _TEXT, None))
        call.engine = "hive"
    _hashable_skew()
    _binary_bit_vectors()
    _refresh()


def _structs(module: Any = ttypes) -> list[Any]:
    return [struct for _, struct in inspect.getmembers(module, inspect.isclass)]


def _hashable_skew() -> None:
    spec = list(ttypes.SkewedInfo.thrift_spec)
    key = (TType.LIST, (TType.STRING, "UTF8", True), TType.STRING, "UTF8", False)
    spec[3] = (3, TType.MAP, "skewedColValueLocationMaps", key, None)
    ttypes.SkewedInfo.thrift_spec = tuple(spec)


def _binary_bit_vectors() -> None:
    for struct in _structs():
        if struct.__name__.endswith("ColumnStatsData"):
            struct.thrift_spec = tuple(
                (field[0], field[1], field[2], _BYTES, field[4]) if field and field[2] == "bitVectors" else field
                for field in struct.thrift_spec
            )


def _refresh() -> None:
    """Points every nested `[struct, specification]` pair at the struct's present specification."""

    def visit(node: Any) -> None:
        if isinstance(node, list) and len(node) == 2 and hasattr(node[0], "thrift_spec"):
            node[1] = node[0].thrift_spec
        elif isinstance(node, tuple):
            for item in node:
                visit(item)

    # The calls' own structs of arguments and results, too: what they lack is neither sent nor read.
    for struct in (*_structs(), *_structs(ThriftHiveMetastore)):
        for field in getattr(struct, "thrift_spec", None) or ():
            if field:
                visit(field[3])
