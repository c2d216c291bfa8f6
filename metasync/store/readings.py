"""Up to where in the metastore's notification log a table's partitions are known."""

from __future__ import annotations

from sqlalchemy import ColumnElement, insert, select, update

from metasync.model.hms import TableName
from metasync.store.database import Database
from metasync.store.schema import readings


class Readings:
    """The last whole reading of each table of a ref."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, ref_id: int, logical: TableName) -> tuple[str, int] | None:
        """The definition that was read, and the log's position just before; None where there is no such reading."""
        wanted = select(readings.c.definition, readings.c.position).where(*_which(ref_id, logical))
        with self._database.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return (row.definition, row.position) if row is not None else None

    def note(self, ref_id: int, logical: TableName, definition: str, position: int) -> None:
        values = {"definition": definition, "position": position}
        with self._database.transaction() as connection:
            changed = connection.execute(update(readings).where(*_which(ref_id, logical)).values(values))
            if changed.rowcount == 0:
                connection.execute(insert(readings).values(ref_id=ref_id, logical=str(logical), **values))


def _which(ref_id: int, logical: TableName) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return readings.c.ref_id == ref_id, readings.c.logical == str(logical)
