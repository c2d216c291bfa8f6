"""What tells the versions apart, asked of a server that runs: the rows of docs/compatibility.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metasync.errors import ChangedMeanwhile, Incompatible, MetastoreError
from metasync.metastore import ConnectionPool, Metastore
from metasync.model.hms import FieldSchema, Table, TableName, TableType
from metasync.sandbox.user import TableUser
from metasync.settings.models import Metastore as MetastoreSettings

NAME = TableName("probe", "t")


def answers(uri: str, location: str) -> dict[str, str]:
    """Question -> answer, in the order in which the page shows them. `location` is a folder of the server's lake."""
    store = Metastore(ConnectionPool(MetastoreSettings(uris=[uri])))
    user = TableUser(uri)
    user.create_database(NAME.database, location)
    try:
        return {question: ask(store, user, f"{location}/t") for question, ask in QUESTIONS.items()}
    finally:
        store.close()


def _fresh(store: Metastore, user: TableUser, location: str) -> Table:
    if store.get_table(NAME) is not None:
        store.drop_table(NAME)
    return user.create_table(str(NAME), location, [("id", "int"), ("a", "string")], [("dt", "string")])


def _version(store: Metastore, user: TableUser, location: str) -> str:
    return f"`{store.ping()}`"


def _catalogs(store: Metastore, user: TableUser, location: str) -> str:
    return _yes(store.has_catalogs)


def _get_table(store: Metastore, user: TableUser, location: str) -> str:
    _fresh(store, user, location)
    try:
        store.read("get_table", str(NAME), lambda client: client.get_table(NAME.database, NAME.table))
    except MetastoreError:
        return "no"
    return "yes"


def _external(store: Metastore, user: TableUser, location: str) -> str:
    made = _fresh(store, user, location)
    managed = replace(made, name="managed", table_type=TableType.MANAGED, parameters={})
    store.create_table(managed)
    found = store.get_table(TableName(NAME.database, "managed"))
    store.drop_table(TableName(NAME.database, "managed"))
    return _yes(found is not None and found.table_type == TableType.EXTERNAL)


def _column_check(store: Metastore, user: TableUser, location: str) -> str:
    words = {"2.3": "exactly equal, or widened", "none": "anything"}
    return words.get(store.column_check(), "of one kind, or widened")


def _partition_keys(store: Metastore, user: TableUser, location: str) -> str:
    made = _fresh(store, user, location)
    try:
        store.alter_table(replace(made, partition_keys=(FieldSchema("dt", "int"),)))
    except (Incompatible, MetastoreError):
        return "no"
    return "yes"


def _compare_and_set(store: Metastore, user: TableUser, location: str) -> str:
    made = _fresh(store, user, location)
    try:
        store.alter_table(replace(made, owner="bo"), expected=("transient_lastDdlTime", "1"))
    except ChangedMeanwhile:
        return "yes"
    return "no"


def _notifications(store: Metastore, user: TableUser, location: str) -> str:
    try:
        store.read("notification log", "the server", lambda c: c.get_current_notificationEventId())
    except MetastoreError:
        return "asks for a right"
    return "answers"


def _yes(true: bool) -> str:
    return "yes" if true else "no"


Ask = Callable[[Metastore, TableUser, str], str]
QUESTIONS: dict[str, Ask] = {
    "`getVersion` says": _version,
    "has catalogs": _catalogs,
    "`get_table` is there": _get_table,
    "makes every table EXTERNAL that is not transactional": _external,
    "a column's new type must be": _column_check,
    "lets the type of a key change (no partitions yet)": _partition_keys,
    "compares and sets (`expected_parameter_key`)": _compare_and_set,
    "notification log": _notifications,
}
