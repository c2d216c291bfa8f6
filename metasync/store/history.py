"""What was done, where, and because of what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from metasync.store.database import Database
from metasync.store.schema import history

_MOST = 100
_NUMBERING = 0x6D657461686973
"""The lock of whoever adds an entry, until the transaction's end."""


@dataclass(frozen=True)
class HistoryRow:
    """One thing that was done; `merge_id` where it was a part of a merge."""

    id: int
    at: float
    repository: str
    ref: str
    logical: str
    physical: str
    action: str
    detail: str
    cause: str
    merge_id: int | None


class History:
    """Notes and lists what was done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self, repository: str, ref: str, logical: str, physical: str, action: str, detail: str, cause: str
    ) -> None:
        with self._database.transaction() as connection:
            note(connection, repository, ref, logical, physical, action, detail, cause, self._database.now())

    def note_once(self, repository: str, ref: str, action: str, detail: str, cause: str) -> None:
        """Notes what was found on a ref, unless the same was noted before: what is found twice was one thing."""
        known = select(history.c.id).where(
            history.c.repository == repository,
            history.c.ref == ref,
            history.c.action == action,
            history.c.cause == cause,
        )
        with self._database.transaction() as connection:
            if connection.execute(known.limit(1)).one_or_none() is None:
                note(connection, repository, ref, "", "", action, detail, cause, self._database.now())

    def rows(
        self, repository: str | None = None, logical: str | None = None, limit: int = 100, ref: str | None = None
    ) -> tuple[HistoryRow, ...]:
        """What was done, the newest first."""
        query = select(history).order_by(history.c.id.desc()).limit(limit)
        if repository:
            query = query.where(history.c.repository == repository)
        if ref:
            query = query.where(history.c.ref == ref)
        if logical:
            query = query.where(history.c.logical == logical)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(_row(row) for row in rows)

    def after(self, history_id: int, limit: int = 100) -> tuple[HistoryRow, ...]:
        """What was done since an entry, the oldest first."""
        query = select(history).where(history.c.id > history_id).order_by(history.c.id).limit(limit)
        with self._database.reading() as connection:
            return tuple(_row(row) for row in connection.execute(query))

    def since(self, actions: Collection[str], at: float) -> tuple[HistoryRow, ...]:
        """What was done of some kinds since a time, the newest first."""
        query = select(history).where(history.c.action.in_(actions), history.c.at > at).order_by(history.c.id.desc())
        with self._database.reading() as connection:
            return tuple(_row(row) for row in connection.execute(query.limit(_MOST)))

    def newest(self) -> int:
        """The number of the newest entry."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.max(history.c.id))).scalar_one() or 0)


Entry = tuple[str, str, str, str, str, str, str]
_ENTRY = ("repository", "ref", "logical", "physical", "action", "detail", "cause")


def note(  # noqa: PLR0913  the columns of a row
    connection: Connection,
    repository: str,
    ref: str,
    logical: str,
    physical: str,
    action: str,
    detail: str,
    cause: str,
    now: float,
    merge_id: int | None = None,
) -> None:
    """As `History.note`, inside a transaction."""
    entry = (repository, ref, logical, physical, action, detail, cause)
    note_all(connection, [entry], now, merge_id)


def note_all(connection: Connection, entries: Sequence[Entry], now: float, merge_id: int | None = None) -> None:
    """Several entries in a transaction. Entries are committed in the order of their numbers."""
    if connection.dialect.name == "postgresql":
        # Else a reader that follows the numbers would pass over one that is committed later than its successor.
        connection.execute(select(func.pg_advisory_xact_lock(_NUMBERING)))
    rows = [dict(zip(_ENTRY, entry, strict=True)) | {"at": now, "merge_id": merge_id} for entry in entries]
    connection.execute(insert(history), rows)


def _row(row: Row[Any]) -> HistoryRow:
    return HistoryRow(
        row.id, row.at, row.repository, row.ref, row.logical, row.physical, row.action, row.detail, row.cause,
        row.merge_id,
    )  # fmt: skip
