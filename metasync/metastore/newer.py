"""Constraints that Hive has since 3.1 and the bindings, made from 2.3's IDL, know nothing of.

Unique, not null, default and check. Field numbers are those of Hive 3.1.3's `hive_metastore.thrift`; 4.x has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes
from thrift.protocol.TBase import TBase
from thrift.Thrift import TApplicationException, TMessageType, TType

from metasync.model.hms import (
    CheckConstraint,
    Constraints,
    DefaultConstraint,
    NotNullConstraint,
    TableName,
    UniqueColumn,
)

_TEXT, _NUMBER, _FLAG = (TType.STRING, "UTF8"), (TType.I32, None), (TType.BOOL, None)
CATALOG = "hive"
"""The catalog that a metastore without further ones has."""


def _struct(called: str, /, **fields: tuple[int, Any]) -> Any:
    """A thrift struct whose fields are numbered from 1 in their order."""
    numbered = enumerate(fields.items(), 1)
    spec = [None, *((number, kind, field, more, None) for number, (field, (kind, more)) in numbered)]

    def init(self: Any, **values: Any) -> None:
        for field in fields:
            setattr(self, field, values.get(field))

    return type(called, (TBase,), {"thrift_spec": tuple(spec), "__init__": init})


def _of(struct: Any) -> tuple[int, Any]:
    return TType.STRUCT, [struct, struct.thrift_spec]


def _list_of(struct: Any) -> tuple[int, Any]:
    return TType.LIST, (TType.STRUCT, [struct, struct.thrift_spec], False)


_WHERE = {"catName": _TEXT, "table_db": _TEXT, "table_name": _TEXT, "column_name": _TEXT}
_FLAGS = {"enable_cstr": _FLAG, "validate_cstr": _FLAG, "rely_cstr": _FLAG}
_KINDS = {
    "unique": _struct("SQLUniqueConstraint", **_WHERE, key_seq=_NUMBER, name=_TEXT, **_FLAGS),
    "not_null": _struct("SQLNotNullConstraint", **_WHERE, name=_TEXT, **_FLAGS),
    "default": _struct("SQLDefaultConstraint", **_WHERE, value=_TEXT, name=_TEXT, **_FLAGS),
    "check": _struct("SQLCheckConstraint", **_WHERE, value=_TEXT, name=_TEXT, **_FLAGS),
}
_REQUEST = _struct("ConstraintsRequest", catName=_TEXT, db_name=_TEXT, tbl_name=_TEXT)


def get_newer(client: Any, name: TableName) -> Constraints:
    """The constraints of these kinds that a table has."""

    def read(kind: str) -> Sequence[Any]:
        answer = _struct("ConstraintsResponse", found=_list_of(_KINDS[kind]))
        request = _REQUEST(catName=CATALOG, db_name=name.database, tbl_name=name.table)
        return _call(client, f"get_{kind}_constraints", request, answer).found or ()

    def flags(one: Any) -> dict[str, bool]:
        return {"enable": bool(one.enable_cstr), "validate": bool(one.validate_cstr), "rely": bool(one.rely_cstr)}

    return Constraints(
        unique=tuple(UniqueColumn(o.column_name, o.key_seq, o.name, **flags(o)) for o in read("unique")),
        not_null=tuple(NotNullConstraint(o.column_name, o.name, **flags(o)) for o in read("not_null")),
        default=tuple(DefaultConstraint(o.column_name, o.value or "", o.name, **flags(o)) for o in read("default")),
        check=tuple(CheckConstraint(o.column_name or "", o.value or "", o.name, **flags(o)) for o in read("check")),
    )


def add_newer(client: Any, name: TableName, kind: str, some: Sequence[Any]) -> None:
    """Adds constraints of one kind under names that the server makes; of unique ones, the columns of one."""
    struct = _KINDS[kind]
    made = []
    for one in some:
        where = {"catName": CATALOG, "table_db": name.database, "table_name": name.table, "column_name": one.column}
        value = {"key_seq": one.key_seq} if kind == "unique" else {}
        if kind in ("default", "check"):
            value = {"value": one.value if kind == "default" else one.expression}
        flags = {"enable_cstr": one.enable, "validate_cstr": one.validate, "rely_cstr": one.rely}
        made.append(struct(**where, **value, **flags))
    request = _struct("AddConstraintRequest", some=_list_of(struct))
    _call(client, f"add_{kind}_constraint", request(some=made), None)


def _call(client: Any, method: str, request: Any, answer: Any) -> Any:
    """One call of a method that takes a request and may raise what these methods raise."""
    args = _struct(f"{method}_args", request=_of(type(request)))
    out, back = client._oprot, client._iprot
    out.writeMessageBegin(method, TMessageType.CALL, client._seqid)
    args(request=request).write(out)
    out.writeMessageEnd()
    out.trans.flush()
    _, kind, _ = back.readMessageBegin()
    if kind == TMessageType.EXCEPTION:
        error = TApplicationException()
        error.read(back)
        back.readMessageEnd()
        raise error
    # Reads declare MetaException first, additions NoSuchObjectException.
    errors = [ttypes.MetaException, ttypes.NoSuchObjectException]
    result = _struct(f"{method}_result", o1=_of(errors[answer is None]), o2=_of(errors[answer is not None]))
    if answer is not None:
        result.thrift_spec = ((0, TType.STRUCT, "success", [answer, answer.thrift_spec], None), *result.thrift_spec[1:])
    found = result()
    found.success = None
    found.read(back)
    back.readMessageEnd()
    for raised in (found.o1, found.o2):
        if raised is not None:
            raise raised
    return found.success
