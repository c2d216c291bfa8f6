"""Constraints that Hive has since 3.1: unique, not null, default and check.

Field numbers are those of Hive 3.1.3's `hive_metastore.thrift`; 4.x has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.metastore.catalog import catalog_of
from metasync.metastore.thrift_messages import FLAG, NUMBER, TEXT, call, list_of, struct
from metasync.model.hms import CheckConstraint, DefaultConstraint, NotNullConstraint, TableName, UniqueColumn

NewerKind = Literal["unique", "not_null", "default", "check"]
NEWER: tuple[NewerKind, ...] = ("unique", "not_null", "default", "check")

_WHERE = {"catName": TEXT, "table_db": TEXT, "table_name": TEXT, "column_name": TEXT}
_FLAGS = {"enable_cstr": FLAG, "validate_cstr": FLAG, "rely_cstr": FLAG}
_STRUCTS = {
    "unique": struct("SQLUniqueConstraint", **_WHERE, key_seq=NUMBER, name=TEXT, **_FLAGS),
    "not_null": struct("SQLNotNullConstraint", **_WHERE, name=TEXT, **_FLAGS),
    "default": struct("SQLDefaultConstraint", **_WHERE, value=TEXT, name=TEXT, **_FLAGS),
    "check": struct("SQLCheckConstraint", **_WHERE, value=TEXT, name=TEXT, **_FLAGS),
}
_REQUEST = struct("ConstraintsRequest", catName=TEXT, db_name=TEXT, tbl_name=TEXT)
_ANSWERS = {kind: struct("ConstraintsResponse", found=list_of(one)) for kind, one in _STRUCTS.items()}
_ADDITIONS = {kind: struct("AddConstraintRequest", some=list_of(one)) for kind, one in _STRUCTS.items()}


def get_newer(client: Any, name: TableName, kind: NewerKind) -> tuple[Any, ...]:
    """The constraints of one kind that a table has."""
    request = _REQUEST(catName=catalog_of(client), db_name=name.database, tbl_name=name.table)
    errors = (ttypes.MetaException, ttypes.NoSuchObjectException)
    answer = call(client, f"get_{kind}_constraints", request, _ANSWERS[kind], errors)
    return tuple(_value(kind, found) for found in answer.found or ())


def _value(kind: NewerKind, found: Any) -> Any:
    flags = {"enable": bool(found.enable_cstr), "validate": bool(found.validate_cstr), "rely": bool(found.rely_cstr)}
    match kind:
        case "unique":
            return UniqueColumn(found.column_name, found.key_seq, found.name, **flags)
        case "not_null":
            return NotNullConstraint(found.column_name, found.name, **flags)
        case "default":
            return DefaultConstraint(found.column_name, found.value or "", found.name, **flags)
    return CheckConstraint(found.column_name or "", found.value or "", found.name, **flags)


def add_newer(client: Any, name: TableName, kind: NewerKind, some: Sequence[Any]) -> None:
    """Adds constraints of one kind under names that the server makes; of unique ones, the columns of one."""
    own = {"unique": "key_seq", "default": "value", "check": "expression"}
    made = []
    for one in some:
        where = {"table_db": name.database, "table_name": name.table, "column_name": one.column}
        values = {"key_seq" if kind == "unique" else "value": getattr(one, own[kind])} if kind in own else {}
        flags = {"enable_cstr": one.enable, "validate_cstr": one.validate, "rely_cstr": one.rely}
        made.append(_STRUCTS[kind](catName=catalog_of(client), **where, **values, **flags))
    errors = (ttypes.NoSuchObjectException, ttypes.MetaException)
    call(client, f"add_{kind}_constraint", _ADDITIONS[kind](some=made), None, errors)
