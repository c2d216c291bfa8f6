"""What a metastore can and will do that others cannot: asked of it, once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from thrift.Thrift import TApplicationException, TMessageType, TType

from metasync.errors import MetastoreError
from metasync.metastore.calls import Calls
from metasync.planning.types import ColumnCheck

_COLUMN_CHECK = "hive.metastore.disallow.incompatible.col.type.changes"
"""The setting's name on 2.3; 3.1 and later answer to it too."""


class CapabilityCalls(Calls):
    """Reads what the server is."""

    def column_check(self) -> ColumnCheck:
        """Which changes of a column's type the server refuses; the setting is read each time, as it can change."""
        try:
            answer = self.read(
                "get_config_value", "the server's settings", lambda c: c.get_config_value(_COLUMN_CHECK, "true")
            )
        except MetastoreError:
            answer = "true"
        if str(answer).strip().lower() == "false":
            return "none"
        return "kinds" if self.has_catalogs else "exact"

    @cached_property
    def has_catalogs(self) -> bool:
        """Whether it is 3.1 or later; `getVersion` cannot tell."""
        return bool(self.read("get_catalogs", "the server's version", lambda c: _knows(c, "get_catalogs")))


def _knows(client: Any, method: str) -> bool:
    """Whether a server knows a method that takes nothing; an unknown one leaves the connection usable (seen live)."""
    protocol = client._oprot
    protocol.writeMessageBegin(method, TMessageType.CALL, client._seqid)
    protocol.writeStructBegin(f"{method}_args")
    protocol.writeFieldStop()
    protocol.writeStructEnd()
    protocol.writeMessageEnd()
    protocol.trans.flush()
    answer = client._iprot
    _, kind, _ = answer.readMessageBegin()
    if kind != TMessageType.EXCEPTION:
        answer.skip(TType.STRUCT)
        answer.readMessageEnd()
        return True
    error = TApplicationException()
    error.read(answer)
    answer.readMessageEnd()
    return bool(error.type != TApplicationException.UNKNOWN_METHOD)
