"""HMS's notification log: which partitions changed since a place in it, so that no others have to be read.

The metastore's DbNotificationListener writes an entry with every change, in the change's own transaction, numbered
without gaps. Seen live on 3.1.3 alone, whose messages are plain JSON; Hive 4 can write them as gzip in base64. What is
not understood, or could mean more than some partitions, is answered with None: read everything.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.errors import MetastoreError
from metasync.metastore.base_client import BaseClient
from metasync.model.hms import FieldSchema, PartitionValues, TableName

_LISTENERS = "hive.metastore.transactional.event.listeners"
_LISTENER = "DbNotificationListener"
_AT_ONCE = 500
_MOST = 5000
"""Entries that are read at most; where there are more, every partition is read instead."""

_PARTITIONS = ("ADD_PARTITION", "DROP_PARTITION", "ALTER_PARTITION")
_HARMLESS = ("INSERT", "UPDATE_TBL_COL_STAT", "DELETE_TBL_COL_STAT", "UPDATE_PART_COL_STAT", "DELETE_PART_COL_STAT")


@dataclass(frozen=True)
class LogPosition:
    """An entry of the log: its number, and when it was made (Unix seconds), unlike any in another log."""

    number: int
    at: int


class NotificationClient(BaseClient):
    """Reads the notification log."""

    def log_position(self) -> LogPosition | None:
        """The log's newest entry; None where there is none, or no log that could be trusted."""
        try:
            listeners = self.read("get_config_value", "the listeners", lambda c: c.get_config_value(_LISTENERS, ""))
            if _LISTENER not in str(listeners):
                return None
            call = "get_current_notificationEventId"
            number = int(self.read(call, "the log", lambda c: c.get_current_notificationEventId()).eventId)
            newest = next(self._entries(number - 1, number), None)
        except MetastoreError:
            return None
        return LogPosition(number, newest.eventTime) if newest is not None else None

    def changed_partitions(
        self, name: TableName, keys: Sequence[FieldSchema], since: LogPosition, until: LogPosition
    ) -> frozenset[PartitionValues] | None:
        """The partitions of a table that entries after `since`, up to `until` at least, are about.

        None where the log does not say for certain: it was cut off or begun anew, or the table itself was changed.
        """
        found: set[PartitionValues] = set()
        if until.number < since.number:
            return None
        try:
            entries = self._entries(since.number - 1, until.number)
            first = next(entries, None)
            if first is None or first.eventTime != since.at:
                return None
            for entry in entries:
                values = _partitions_of(entry, name, keys) if entry is not None else None
                if values is None:
                    return None
                found |= values
        except (MetastoreError, ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zlib.error):
            return None
        return frozenset(found)

    def _entries(self, since: int, until: int) -> Iterator[Any | None]:
        """The entries after `since`; None in place of those that are missing or too many."""
        last = since
        while last < until:
            request = ttypes.NotificationEventRequest(lastEvent=last, maxEvents=_AT_ONCE)

            def ask(client: Any, request: Any = request) -> Any:
                return client.get_next_notification(request)

            events = self.read("get_next_notification", "the log", ask).events or []
            if not events or last - since > _MOST:
                yield None
                return
            for event in events:
                if event.eventId <= last:
                    # A log that does not go on would be read for ever.
                    yield None
                    return
                yield event if event.eventId == last + 1 else None
                last = event.eventId


def _partitions_of(entry: Any, name: TableName, keys: Sequence[FieldSchema]) -> set[PartitionValues] | None:
    """The partitions of our table that an entry is about; None where it could be about the table as a whole."""
    about = (str(entry.dbName or "").lower(), str(entry.tableName or "").lower()) == (name.database, name.table)
    if entry.eventType in _HARMLESS or (entry.eventType in _PARTITIONS and not about):
        return set()
    message = _message(entry)
    if entry.eventType not in _PARTITIONS:
        # A table of another name may have been renamed to ours, or our database dropped.
        return None if about or _names(message, name.table) or _is_database(entry, name) else set()
    content = json.loads(message)
    named = content.get("partitions") or ([content["keyValues"]] if content.get("keyValues") else [])
    values = {tuple(str(one[key.name]) for key in keys) for one in named}
    for key in ("partitionObjBeforeJson", "partitionObjAfterJson"):
        if content.get(key):
            # A renamed partition has other values afterwards; field 1 of the struct holds them: ["str", 1, "2024"].
            values.add(tuple(json.loads(content[key])["1"]["lst"][2:]))
    return values or None


def _names(message: str, table: str) -> bool:
    """Whether a message holds a table's name, also within JSON that stands as a string in JSON."""
    return re.search(rf'"{re.escape(table)}\\*"', message) is not None


def _is_database(entry: Any, name: TableName) -> bool:
    return "DATABASE" in str(entry.eventType) and str(entry.dbName or "").lower() == name.database


def _message(entry: Any) -> str:
    if str(entry.messageFormat or "").startswith("gzip"):
        return gzip.decompress(base64.b64decode(entry.message)).decode()
    return str(entry.message)
