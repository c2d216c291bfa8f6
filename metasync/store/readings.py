"""Up to where in the metastore's notification log a table's partitions are known."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, insert, select, update

from metasync.model.hms import TableName
from metasync.store.database import Database
from metasync.store.schema import readings


@dataclass(frozen=True)
class WholeReading:
    """A table as it was wholly read: its definition, the log's newest entry just before, and what it was read by."""

    definition: str
    position: int
    logged_at: int
    fingerprint: str


class Readings:
    """The last whole reading of each table of a ref."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, ref_id: int, logical: TableName) -> WholeReading | None:
        wanted = select(readings).where(*_which(ref_id, logical))
        with self._database.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return WholeReading(row.definition, row.position, row.logged_at, row.fingerprint) if row is not None else None

    def note(self, ref_id: int, logical: TableName, reading: WholeReading) -> None:
        values = vars(reading)
        with self._database.transaction() as connection:
            changed = connection.execute(update(readings).where(*_which(ref_id, logical)).values(values))
            if changed.rowcount == 0:
                connection.execute(insert(readings).values(ref_id=ref_id, logical=str(logical), **values))


def _which(ref_id: int, logical: TableName) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return readings.c.ref_id == ref_id, readings.c.logical == str(logical)
