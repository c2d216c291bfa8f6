"""The mirrors of refs: pinned before they are made, so that what was begun is finished as it was planned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from metasync.model.hms import TableName
from metasync.model.marks import Marks
from metasync.planning.changes import CreateMirror
from metasync.planning.observed import Pinned
from metasync.planning.plan import NotMirrored
from metasync.store.database import Database, insert_new
from metasync.store.schema import mirrors, not_mirrored, refs

_NAMES_AT_ONCE = 500
V = TypeVar("V")


class MirrorStore:
    """Reads and writes of pinned mirrors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pin(self, changes: Iterable[CreateMirror]) -> None:
        """Pins the mirrors of new refs before the first of them is made."""
        wanted = list(changes)
        if not wanted:
            return
        of_refs = {change.ref_id for change in wanted}
        pinned = select(mirrors.c.ref_id, mirrors.c.logical).where(mirrors.c.ref_id.in_(of_refs))
        with self._database.transaction() as connection:
            known = {(row.ref_id, row.logical) for row in connection.execute(pinned)}
            rows = [
                {
                    "ref_id": change.ref_id,
                    "logical": str(change.logical),
                    "physical": str(change.physical),
                    "rule": change.rule,
                    "version": change.version,
                    "definition": change.definition,
                    "copy_of": str(change.copy_of) if change.copy_of else None,
                    "as_of": change.as_of,
                    "partitions": change.partitions,
                    "columns": change.columns,
                }
                for change in wanted
                if (change.ref_id, str(change.logical)) not in known
            ]
            if rows:
                connection.execute(insert(mirrors), rows)
                begun = refs.c.id.in_({row["ref_id"] for row in rows})
                connection.execute(update(refs).where(begun, refs.c.state == "new").values(state="making"))

    def note_not_mirrored(self, tables: Iterable[NotMirrored]) -> None:
        """Keeps which tables a new ref has no mirror of, in place of what was known of the ref."""
        rows = [{"ref_id": one.ref_id, "logical": str(one.logical), "reason": one.reason} for one in tables]
        if not rows:
            return
        with self._database.transaction() as connection:
            known = not_mirrored.c.ref_id.in_({row["ref_id"] for row in rows})
            connection.execute(delete(not_mirrored).where(known))
            connection.execute(insert(not_mirrored), rows)

    def not_mirrored(self, ref_id: int) -> dict[TableName, str]:
        """The tables that a ref has no mirror of, with the reason."""
        query = select(not_mirrored).where(not_mirrored.c.ref_id == ref_id).order_by(not_mirrored.c.logical)
        with self._database.reading() as connection:
            return {TableName.parse(row.logical): row.reason for row in connection.execute(query)}

    def adopt(self, ref_id: int, logical: TableName, marks: Marks) -> None:
        """Takes over a mirror that stands, and that an earlier store knew of."""
        with self._database.transaction() as connection:
            connection.execute(
                insert_new(connection, mirrors).values(
                    ref_id=ref_id,
                    logical=str(logical),
                    physical=marks.name,
                    rule=marks.rule,
                    version=marks.version,
                    definition="",
                    as_of=marks.as_of,
                    partitions=0,
                    columns=0,
                )
            )
        self.made(ref_id, logical)

    def made(self, ref_id: int, logical: TableName) -> None:
        with self._database.transaction() as connection:
            mark_made(connection, [(ref_id, logical)], self._database.now())

    def known_names(self, names: Iterable[str]) -> set[str]:
        """Those of some physical names at which this store made a mirror, or is making one, for whatever ref."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for some in _parts(sorted(set(names))):
                query = select(mirrors.c.physical).where(mirrors.c.physical.in_(some))
                found |= set(connection.execute(query).scalars())
        return found

    def pinned(self, ref_id: int) -> tuple[Pinned, ...]:
        return self.pinned_of([ref_id])[ref_id]

    def pinned_of(self, ref_ids: Iterable[int]) -> dict[int, tuple[Pinned, ...]]:
        """Ref -> its mirrors by their logical names; an empty tuple for one that has none."""
        found: dict[int, list[Pinned]] = {ref_id: [] for ref_id in ref_ids}
        with self._database.reading() as connection:
            for some in _parts(found):
                query = select(mirrors).where(mirrors.c.ref_id.in_(some)).order_by(mirrors.c.ref_id, mirrors.c.logical)
                for row in connection.execute(query):
                    found[row.ref_id].append(_pinned(row))
        return {ref_id: tuple(pins) for ref_id, pins in found.items()}

    def of_repository(self, repository_id: int) -> set[int]:
        """The living refs of a repository that have a mirror, or are to get one."""
        has_one = select(mirrors.c.logical).where(mirrors.c.ref_id == refs.c.id).exists()
        query = select(refs.c.id).where(refs.c.repository_id == repository_id, refs.c.state != "gone", has_one)
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def claims(self, names: Iterable[TableName]) -> dict[TableName, int]:
        """Those of some physical names that living refs hold, of whatever repository, and which."""
        found: dict[TableName, int] = {}
        with self._database.reading() as connection:
            for some in _parts({str(name): None for name in names}):
                rows = connection.execute(
                    select(mirrors.c.physical, mirrors.c.ref_id)
                    .join(refs, refs.c.id == mirrors.c.ref_id)
                    .where(refs.c.state != "gone", mirrors.c.physical.in_(some))
                )
                found |= {TableName.parse(row.physical): row.ref_id for row in rows}
        return found


def _pinned(row: Row[Any]) -> Pinned:
    return Pinned(
        logical=TableName.parse(row.logical),
        physical=TableName.parse(row.physical),
        rule=row.rule,
        version=row.version,
        definition=row.definition,
        copy_of=TableName.parse(row.copy_of) if row.copy_of else None,
        as_of=row.as_of,
        made=row.made_at is not None,
        partitions=row.partitions,
        columns=row.columns,
    )


def _parts(values: Collection[V]) -> Iterator[list[V]]:
    """The values in parts that one statement can name."""
    wanted = list(values)
    for start in range(0, len(wanted), _NAMES_AT_ONCE):
        yield wanted[start : start + _NAMES_AT_ONCE]


def pin_again(connection: Connection, ref_id: int, logical: TableName, version: int, definition: str | None) -> None:
    """A mirror that is pinned and not made yet is to be made of another version; none where the table is gone in it."""
    which = (mirrors.c.ref_id == ref_id, mirrors.c.logical == str(logical), mirrors.c.made_at.is_(None))
    if definition is None:
        connection.execute(delete(mirrors).where(*which))
    else:
        connection.execute(update(mirrors).where(*which).values(version=version, definition=definition, copy_of=None))


def mark_made(connection: Connection, made: Iterable[tuple[int, TableName]], now: float) -> None:
    """As `MirrorStore.made`, of several mirrors, inside a transaction."""
    its_own = (mirrors.c.ref_id == bindparam("of_ref"), mirrors.c.logical == bindparam("of_table"))
    rows = [{"of_ref": ref_id, "of_table": str(logical)} for ref_id, logical in made]
    connection.execute(update(mirrors).where(*its_own).values(made_at=now), rows)
