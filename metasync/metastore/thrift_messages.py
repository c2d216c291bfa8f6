"""Calls that the bindings, made from Hive 2.3's IDL, do not have: structs and messages made here, on the same codec."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from thrift.protocol.TBase import TBase
from thrift.Thrift import TApplicationException, TMessageType, TType

TEXT, NUMBER, FLAG = (TType.STRING, "UTF8"), (TType.I32, None), (TType.BOOL, None)


def struct(called: str, first: int = 1, /, **fields: tuple[int, Any]) -> Any:
    """A thrift struct whose fields are numbered in their order, from `first` on."""
    numbered = enumerate(fields.items(), first)
    spec = [*[None] * first, *((number, kind, field, more, None) for number, (field, (kind, more)) in numbered)]

    def init(self: Any, **values: Any) -> None:
        for field in fields:
            setattr(self, field, values.get(field))

    return type(called, (TBase,), {"thrift_spec": tuple(spec), "__init__": init})


def of(one: Any) -> tuple[int, Any]:
    """The type of a field that holds a struct."""
    return TType.STRUCT, [one, one.thrift_spec]


def list_of(one: Any) -> tuple[int, Any]:
    """The type of a field that holds a list of structs."""
    return TType.LIST, (TType.STRUCT, [one, one.thrift_spec], False)


@cache
def _messages(request: Any, answer: Any, errors: tuple[Any, ...]) -> tuple[Any, Any]:
    """The structs of a call's arguments and of its result: what it gives is field 0, what it raises follows."""
    arguments = struct("arguments", **({"request": of(request)} if request is not None else {}))
    raised = {f"error{number}": of(error) for number, error in enumerate(errors)}
    if answer is None:
        return arguments, struct("result", **raised)
    return arguments, struct("result", 0, success=of(answer), **raised)


def call(client: Any, method: str, request: Any = None, answer: Any = None, errors: Sequence[Any] = ()) -> Any:
    """Calls `method` with a request struct, or with nothing; gives what it answers as `answer`, a struct's class.

    `errors` are the exceptions that the method declares, in their order. Raises these, and TApplicationException, of
    type UNKNOWN_METHOD where the server has no such method; the connection stays usable then (seen live).
    """
    kind_of_request: Any = type(request) if request is not None else None
    arguments, result = _messages(kind_of_request, answer, tuple(errors))
    out, back = client._oprot, client._iprot
    out.writeMessageBegin(method, TMessageType.CALL, client._seqid)
    arguments(request=request).write(out)
    out.writeMessageEnd()
    out.trans.flush()
    _, kind, _ = back.readMessageBegin()
    found = TApplicationException() if kind == TMessageType.EXCEPTION else result()
    found.read(back)
    back.readMessageEnd()
    if kind == TMessageType.EXCEPTION:
        raise found
    for number in range(len(errors)):
        raised = getattr(found, f"error{number}")
        if raised is not None:
            raise raised
    return found.success if answer is not None else None
