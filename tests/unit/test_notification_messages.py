"""What an entry of HMS's notification log says about the partitions of a table: shapes of 3.1.3 as seen live, and odd ones."""

from __future__ import annotations

import base64
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest

from metasync.metastore import Metastore
from metasync.metastore.notification_log import LogPosition, _partitions_of
from metasync.model.hms import FieldSchema, TableName

NAME = TableName("sales", "orders")
KEYS = (FieldSchema("day", "string"), FieldSchema("hour", "string"))


def entry(kind: str, message: Any = None, table: str | None = "orders", number: int = 1, **more: Any) -> Any:
    text = message if isinstance(message, str) else json.dumps(message or {})
    return SimpleNamespace(
        eventId=number,
        eventTime=100,
        eventType=kind,
        dbName="Sales",
        tableName=table,
        message=text,
        messageFormat="json-0.2",
        **more,
    )


def struct(*values: str) -> str:
    return json.dumps({"1": {"lst": ["str", len(values), *values]}})


ONE = {"day": "d1", "hour": "a/b"}
CASES: list[tuple[str, Any, set[tuple[str, str]] | None]] = [
    ("added", entry("ADD_PARTITION", {"partitions": [ONE, {"day": "d2", "hour": "1"}]}), {("d1", "a/b"), ("d2", "1")}),
    ("dropped", entry("DROP_PARTITION", {"partitions": [ONE]}), {("d1", "a/b")}),
    ("altered", entry("ALTER_PARTITION", {"keyValues": ONE, "partitionObjAfterJson": struct("d1", "a/b")}), {("d1", "a/b")}),
    ("renamed", entry("ALTER_PARTITION", {"keyValues": ONE, "partitionObjAfterJson": struct("d9", "1")}), {("d1", "a/b"), ("d9", "1")}),
    ("says nothing", entry("ADD_PARTITION", {"partitions": []}), None),
    ("another table's", entry("ADD_PARTITION", "no JSON", table="others"), set()),
    ("statistics", entry("UPDATE_PART_COL_STAT", "no JSON"), set()),
    ("rows", entry("INSERT", "no JSON"), set()),
    ("the table", entry("ALTER_TABLE", {}), None),
    ("another one, renamed to ours", entry("ALTER_TABLE", {"tableObjAfterJson": '{"1":{"str":"orders"}}'}, table="others"), None),
    ("another one", entry("ALTER_TABLE", {"x": ["others"]}, table="others"), set()),
    ("our database", entry("DROP_DATABASE", {}, table=None), None),
    ("a kind that nobody knows, of ours", entry("ALTER_PARTITIONS", {}), None),
]  # fmt: skip


@pytest.mark.parametrize(("about", "said", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_what_an_entry_says(about: str, said: Any, wanted: set[tuple[str, str]] | None) -> None:
    assert _partitions_of(said, NAME, KEYS) == wanted


def test_messages_of_four_are_packed() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps({"partitions": [ONE]}).encode())).decode()
    said = entry("ADD_PARTITION", packed)
    said.messageFormat = "gzip(json-2.0)"
    assert _partitions_of(said, NAME, KEYS) == {("d1", "a/b")}


class Log(Metastore):
    """A metastore of which only the log is asked."""

    def __init__(self, *entries: Any) -> None:
        self.entries = entries

    def read(self, call: str, subject: str, do: Any) -> Any:
        return SimpleNamespace(events=list(self.entries))


def at(number: int, seconds: int = 100) -> LogPosition:
    return LogPosition(number, seconds)


def test_what_is_missing_or_not_understood_is_everything() -> None:
    seen = entry("INSERT", number=7)
    whole = Log(seen, entry("ADD_PARTITION", {"partitions": [ONE]}, number=8), entry("INSERT", number=9))
    assert whole.changed_partitions(NAME, KEYS, at(7), at(9)) == {("d1", "a/b")}
    assert whole.changed_partitions(NAME, KEYS, at(6), at(9)) is None, "entry 6 was cleaned away"
    assert whole.changed_partitions(NAME, KEYS, at(7, 99), at(9)) is None, "another log's entry 7"
    assert whole.changed_partitions(NAME, KEYS, at(9), at(5)) is None, "the log was begun anew"
    assert Log().changed_partitions(NAME, KEYS, at(7), at(9)) is None
    for odd in ("no JSON", "null", "[]", '{"partitions": [{"other": "1"}]}', '{"keyValues": 5}'):
        log = Log(seen, entry("ADD_PARTITION", odd, number=8))
        assert log.changed_partitions(NAME, KEYS, at(7), at(8)) is None, odd
    damaged = entry("ADD_PARTITION", base64.b64encode(gzip.compress(b"{}")[:-9]).decode(), number=8)
    damaged.messageFormat = "gzip(json-2.0)"
    assert Log(seen, damaged).changed_partitions(NAME, KEYS, at(7), at(8)) is None
