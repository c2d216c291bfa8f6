"""The ledger: every merge into a watched branch, entered once, and what of each table was planned and done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, func, insert, select, update

from metasync.planning.plan import MergeTable
from metasync.store.database import Database
from metasync.store.schema import merge_tables, merges

METADATA = "metadata-"
_MERGE_TABLE: TypeAdapter[MergeTable] = TypeAdapter(MergeTable)


@dataclass(frozen=True)
class MergeRow:
    """A merge commit of a watched branch, or `metadata-N`. state: pending, source-unknown, started, done."""

    id: int
    repository_id: int
    commit: str
    destination_ref_id: int
    parents: tuple[str, ...]
    generation: int
    source: str
    source_ref_id: int | None
    source_commit: str
    strategy: str
    committer: str
    message: str
    state: str
    note: str
    seen_at: float

    @property
    def is_metadata(self) -> bool:
        """Whether somebody asked for it here, and no commit of lakeFS stands for it."""
        return self.commit.startswith(METADATA)


class Ledger:
    """Reads and writes of merges."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_merge(self, **values: Any) -> None:
        """Enters a merge commit; one that is entered already stays as it is."""
        with self._database.transaction() as connection:
            known = connection.execute(
                select(merges.c.id).where(
                    merges.c.repository_id == values["repository_id"], merges.c.commit == values["commit"]
                )
            ).one_or_none()
            if known is None:
                now = self._database.now()
                row = {"committed_at": now, **values, "parents": json.dumps(values["parents"]), "seen_at": now}
                connection.execute(insert(merges).values(row))

    def update_merge(self, merge_id: int, **values: Any) -> None:
        with self._database.transaction() as connection:
            connection.execute(update(merges).where(merges.c.id == merge_id).values(**values))

    def open_merges(self, repository_id: int) -> tuple[MergeRow, ...]:
        """The merges that are not done, in lakeFS's order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(merges)
                .where(merges.c.repository_id == repository_id, merges.c.state != "done")
                .order_by(merges.c.generation, merges.c.id)
            ).all()
        return tuple(merge_row(row) for row in rows)

    def merge(self, merge_id: int) -> MergeRow:
        with self._database.reading() as connection:
            return merge_row(connection.execute(select(merges).where(merges.c.id == merge_id)).one())

    def start_merge(self, merge_id: int, changes: Sequence[MergeTable]) -> None:
        """Stores what is going to be written, before the first write."""
        with self._database.transaction() as connection:
            state = connection.execute(select(merges.c.state).where(merges.c.id == merge_id)).scalar_one()
            if state != "pending":
                return
            for change in changes:
                connection.execute(
                    insert(merge_tables).values(
                        merge_id=merge_id,
                        logical=str(change.logical),
                        change=_MERGE_TABLE.dump_json(change).decode(),
                        state="planned",
                    )
                )
            connection.execute(update(merges).where(merges.c.id == merge_id).values(state="started"))

    def unfinished(self, merge_id: int) -> tuple[MergeTable, ...]:
        """What of a merge was planned and is not done."""
        return self._tables(merge_id, "planned")

    def merged_tables(self, merge_id: int) -> tuple[MergeTable, ...]:
        """What a merge has done, table by table."""
        return self._tables(merge_id, "done")

    def _tables(self, merge_id: int, state: str) -> tuple[MergeTable, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(
                select(merge_tables.c.change)
                .where(merge_tables.c.merge_id == merge_id, merge_tables.c.state == state)
                .order_by(merge_tables.c.logical)
            ).all()
        return tuple(merged_table(row) for row in rows)

    def find_merges(self, commit: str, repository_id: int | None = None) -> tuple[MergeRow, ...]:
        """The merges whose commit begins so."""
        query = select(merges).where(merges.c.commit.startswith(commit, autoescape=True)).order_by(merges.c.id)
        if repository_id is not None:
            query = query.where(merges.c.repository_id == repository_id)
        with self._database.reading() as connection:
            return tuple(merge_row(row) for row in connection.execute(query))

    def finish_merge(self, merge_id: int) -> float:
        """Closes a merge; gives when it was committed (Unix seconds)."""
        values = {"state": "done", "done_at": self._database.now()}
        statement = update(merges).where(merges.c.id == merge_id).values(values).returning(merges.c.committed_at)
        with self._database.transaction() as connection:
            return float(connection.execute(statement).scalar_one())

    def count_unknown(self) -> int:
        """Merges whose source nobody could tell."""
        query = select(func.count()).select_from(merges).where(merges.c.state == "source-unknown")
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())


def close_table(connection: Connection, change: MergeTable, state: str, now: float) -> None:
    """One table of a merge is done, or stopped by a conflict; what was written is kept, to undo it.

    A table that is done stays so: what is applied to it later is in the plan that waited for it.
    """
    connection.execute(
        update(merge_tables)
        .where(
            merge_tables.c.merge_id == change.merge_id,
            merge_tables.c.logical == str(change.logical),
            merge_tables.c.state != "done",
        )
        .values(state=state, done_at=now, change=_MERGE_TABLE.dump_json(change).decode())
    )


def merged_table(row: Row[Any]) -> MergeTable:
    return _MERGE_TABLE.validate_json(row.change)


def merge_row(row: Row[Any]) -> MergeRow:
    return MergeRow(
        id=row.id,
        repository_id=row.repository_id,
        commit=row.commit,
        destination_ref_id=row.destination_ref_id,
        parents=tuple(json.loads(row.parents)),
        generation=row.generation,
        source=row.source,
        source_ref_id=row.source_ref_id,
        source_commit=row.source_commit,
        strategy=row.strategy,
        committer=row.committer,
        message=row.message,
        state=row.state,
        note=row.note,
        seen_at=row.seen_at,
    )
