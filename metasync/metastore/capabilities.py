"""What a metastore can and will do that others cannot: asked of it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from thrift.Thrift import TApplicationException

from metasync.errors import MetastoreError
from metasync.metastore.base_client import BaseClient
from metasync.metastore.thrift_messages import call
from metasync.planning.accepted_types import ColumnCheck

_COLUMN_CHECK = "hive.metastore.disallow.incompatible.col.type.changes"
"""The setting's name on 2.3; 3.1 and later answer to it too."""


class CapabilityClient(BaseClient):
    """Reads what the server is."""

    def ping(self) -> str:
        """The version that the server reports; 2.3 has only a number for the protocol. Raises when it is away."""
        return str(self.read("getVersion", "the version", lambda c: c.getVersion()))

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
        if not self.has_catalogs:
            return "2.3"
        # 3.1 says what 2.3 says, and no number that is its own.
        return "4.0" if self._major >= 4 else "3.1"

    @cached_property
    def _major(self) -> int:
        """The number before the first point of what the server calls its version; 0 where it says something else."""
        said = re.match(r"\d+", self.ping())
        return int(said.group()) if said else 0

    @cached_property
    def has_catalogs(self) -> bool:
        """Whether it is 3.1 or later, asked once: `getVersion` does not show it, and an unknown method does no harm."""

        def probe(client: Any) -> bool:
            try:
                call(client, "get_catalogs")
            except TApplicationException as error:
                if error.type != TApplicationException.UNKNOWN_METHOD:
                    raise
                return False
            return True

        return bool(self.read("get_catalogs", "the server's version", probe))
