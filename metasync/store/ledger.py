"""The ledger: every merge into a watched branch, entered once, and what of each table was planned and done."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from metasync.model.hms import TableName
from metasync.planning.changes import MergeTable, TableFailure
from metasync.store.database import Database
from metasync.store.schema import merge_tables, merges, refs

METADATA = "metadata-"


@cache
def _merge_table() -> TypeAdapter[MergeTable]:
    """Built when it is first needed: that takes longer than most commands do."""
    return TypeAdapter(MergeTable)


@dataclass(frozen=True)
class MergeRow:
    """A merge commit of a watched branch, or `metadata-N`. state: pending, source-unknown, started, partial, done.

    partial: open for the tables that failed. `confirmed`: what it was made from does not rest on an event alone.
    """

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
    confirmed: bool = True

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

    def close_as(self, merge_id: int, note: str) -> None:
        """Closes a merge of which nothing is to be carried; `note` says why."""
        self.update_merge(merge_id, state="done", done_at=self._database.now(), note=note)

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

    def start_merge(self, merge_id: int, changes: Sequence[MergeTable], failed: Sequence[TableFailure] = ()) -> None:
        """Stores what is going to be written, and for which tables the merge stays open, before the first write."""
        with self._database.transaction() as connection:
            state = connection.execute(select(merges.c.state).where(merges.c.id == merge_id)).scalar_one()
            if state != "pending":
                return
            for change in changes:
                connection.execute(
                    insert(merge_tables).values(
                        merge_id=merge_id,
                        logical=str(change.logical),
                        change=_merge_table().dump_json(change).decode(),
                        state="planned",
                    )
                )
            for failure in failed:
                row = {"merge_id": merge_id, "logical": str(failure.logical), "change": "", "state": "failed"}
                connection.execute(insert(merge_tables).values(row | {"error": failure.message}))
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
                .where(merge_tables.c.merge_id == merge_id, merge_tables.c.state == state, merge_tables.c.change != "")
                .order_by(merge_tables.c.logical)
            ).all()
        return tuple(merged_table(row) for row in rows)

    def failed_tables(self, destination_ref_id: int) -> dict[TableName, list[int]]:
        """Table -> the merges into a ref that are open for it, as it failed; the oldest first."""
        query = (
            select(merge_tables.c.logical, merges.c.id)
            .join(merges, merges.c.id == merge_tables.c.merge_id)
            .where(
                merges.c.destination_ref_id == destination_ref_id,
                merges.c.state == "partial",
                merge_tables.c.state == "failed",
            )
            .order_by(merges.c.generation, merges.c.id)
        )
        found: dict[TableName, list[int]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found.setdefault(TableName.parse(row.logical), []).append(int(row.id))
        return found

    def failures(self, repository_id: int) -> tuple[TableFailure, ...]:
        """The tables for which merges of a repository are open."""
        query = (
            select(merge_tables.c.logical, merge_tables.c.error, merges.c.id, merges.c.source, refs.c.type, refs.c.name)
            .join(merges, merges.c.id == merge_tables.c.merge_id)
            .join(refs, refs.c.id == merges.c.destination_ref_id)
            .where(
                merges.c.repository_id == repository_id, merges.c.state == "partial", merge_tables.c.state == "failed"
            )
            .order_by(merges.c.generation, merges.c.id, merge_tables.c.logical)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            TableFailure(
                TableName.parse(row.logical), f"{row.source} -> {row.type}/{row.name}", row.error or "", merge_id=row.id
            )
            for row in rows
        )

    def find_merges(self, commit: str, repository_id: int | None = None) -> tuple[MergeRow, ...]:
        """The merges whose commit begins so."""
        query = select(merges).where(merges.c.commit.startswith(commit, autoescape=True)).order_by(merges.c.id)
        if repository_id is not None:
            query = query.where(merges.c.repository_id == repository_id)
        with self._database.reading() as connection:
            return tuple(merge_row(row) for row in connection.execute(query))

    def finish_merge(self, merge_id: int, failed: Sequence[TableFailure] = ()) -> float:
        """Closes a merge, but for the tables that failed; gives when it was committed (Unix seconds)."""
        mine = merges.c.id == merge_id
        with self._database.transaction() as connection:
            for failure in failed:
                which = (merge_tables.c.merge_id == merge_id, merge_tables.c.logical == str(failure.logical))
                state = {"state": "failed", "error": failure.message}
                if connection.execute(update(merge_tables).where(*which).values(state)).rowcount == 0:
                    row = {"merge_id": merge_id, "logical": str(failure.logical), "change": "", **state}
                    connection.execute(insert(merge_tables).values(row))
            still = select(merge_tables.c.merge_id).where(
                merge_tables.c.merge_id == merge_id, merge_tables.c.state == "failed"
            )
            open_for_some = connection.execute(still.limit(1)).one_or_none() is not None
            values = {"state": "partial" if open_for_some else "done", "done_at": self._database.now()}
            statement = update(merges).where(mine).values(values).returning(merges.c.committed_at)
            return float(connection.execute(statement).scalar_one())

    def retry_failed(self, merge_id: int, changes: Sequence[MergeTable], failed: Collection[TableName]) -> None:
        """Stores what is going to be written for the tables that had failed; those not in either are done.

        A table that failed and to which the merge has nothing to bring any more needs nothing. Of a merge that is not
        open for failed tables, nothing is changed: what was begun is finished as it was planned.
        """
        planned = {str(change.logical): _merge_table().dump_json(change).decode() for change in changes}
        still = {str(logical) for logical in failed}
        which = (merge_tables.c.merge_id == merge_id, merge_tables.c.state == "failed")
        now = self._database.now()
        with self._database.transaction() as connection:
            mine = (merges.c.id == merge_id, merges.c.state == "partial")
            if connection.execute(select(merges.c.id).where(*mine)).one_or_none() is None:
                return
            for (logical,) in connection.execute(select(merge_tables.c.logical).where(*which)).all():
                row = (merge_tables.c.merge_id == merge_id, merge_tables.c.logical == logical)
                if logical in planned:
                    values: dict[str, Any] = {"state": "planned", "change": planned[logical]}
                    connection.execute(update(merge_tables).where(*row).values(values))
                elif logical not in still:
                    connection.execute(delete(merge_tables).where(*row, merge_tables.c.change == ""))
                    connection.execute(update(merge_tables).where(*row).values(state="done", done_at=now))
            if planned:
                connection.execute(update(merges).where(merges.c.id == merge_id).values(state="started"))

    def count_unknown(self) -> int:
        """Merges whose source is unknown."""
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
        .values(state=state, done_at=now, change=_merge_table().dump_json(change).decode())
    )


def merged_table(row: Row[Any]) -> MergeTable:
    return _merge_table().validate_json(row.change)


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
        confirmed=bool(row.confirmed),
    )
