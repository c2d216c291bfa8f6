"""The refs: every incarnation, where it forked, and the heads at which its tables were read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.observed import RefState
from metasync.store.database import Database, new_id
from metasync.store.schema import heads, mirrors, readings, refs, repositories


@dataclass(frozen=True)
class RefRow:
    """One incarnation of a ref. `watermark`: the newest version of the parent's history that it inherits.

    Its log is in the ledger up to `ledger_head`; a walk from `walk_head` that was not finished goes on at `walk_at`.
    `waited`: its creation had to wait for merges into its parent. `looked_last`: it has ended, and its tables were
    read after that. `listed_at`: when lakeFS first listed this incarnation, by its own clock. `suspected_at`: since
    when events say, and lakeFS does not confirm, that it was deleted and created again. `unread`: its parent's tables
    that could not be read when its mirrors were created.
    """

    id: int
    repository_id: int
    ref: Ref
    incarnation: int
    parent_id: int | None
    watermark: int
    born_commit: str
    head: str
    state: RefState
    source: str
    as_of: str
    born_event_time: float | None
    first_seen: float
    missed_since: float | None
    replaced: bool
    ledger_head: str | None
    walk_head: str | None
    walk_at: str | None
    discovered_head: str | None
    waited: bool
    looked_last: bool
    listed_at: float | None
    suspected_at: float | None
    unread: frozenset[TableName]

    @property
    def is_being_created(self) -> bool:
        """Whether not all of its mirrors are made yet, or known not to be."""
        return self.state in ("new", "making")


class RefStore:
    """Reads and writes of refs and their heads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def living(self, repository_id: int) -> tuple[RefRow, ...]:
        """The incarnations that are not over, in the order in which they were first seen."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(refs).where(refs.c.repository_id == repository_id, refs.c.state != "gone").order_by(refs.c.id)
            ).all()
        return tuple(ref_row(row) for row in rows)

    def every(self, repository: str | None = None) -> tuple[tuple[str, RefRow], ...]:
        """All refs that live or end, with their repository's name."""
        query = select(refs, repositories.c.name.label("repository")).join(
            repositories, repositories.c.id == refs.c.repository_id
        )
        if repository is not None:
            query = query.where(repositories.c.name == repository)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(refs.c.state != "gone").order_by(refs.c.id)).all()
        return tuple((row.repository, ref_row(row)) for row in rows)

    def get(self, ref_id: int) -> RefRow:
        with self._database.reading() as connection:
            return ref_row(connection.execute(select(refs).where(refs.c.id == ref_id)).one())

    def newest(self, repository_id: int, ref: Ref) -> RefRow | None:
        """The newest incarnation of a ref, over or not."""
        found = self.incarnations(repository_id, ref, most=1)
        return found[0] if found else None

    def incarnations(self, repository_id: int, ref: Ref, most: int = 100) -> tuple[RefRow, ...]:
        """The incarnations of a ref, over or not, the newest first."""
        mine = (refs.c.repository_id == repository_id, refs.c.type == ref.type.value, refs.c.name == ref.name)
        query = select(refs).where(*mine).order_by(refs.c.incarnation.desc()).limit(most)
        with self._database.reading() as connection:
            return tuple(ref_row(row) for row in connection.execute(query))

    def add(  # noqa: PLR0913  the columns of a row
        self,
        repository_id: int,
        ref: Ref,
        *,
        head: str,
        born_commit: str,
        state: RefState,
        parent_id: int | None,
        watermark: int,
        source: str,
        as_of: str,
        event_time: float | None,
        ledger_head: str | None = None,
        listed_at: float | None = None,
    ) -> RefRow:
        """A new incarnation of a ref; its log is read from `ledger_head` on, by default from its head."""
        last = self.newest(repository_id, ref)
        with self._database.transaction() as connection:
            result = connection.execute(
                insert(refs).values(
                    repository_id=repository_id,
                    type=ref.type.value,
                    name=ref.name,
                    incarnation=last.incarnation + 1 if last else 1,
                    parent_id=parent_id,
                    watermark=watermark,
                    born_commit=born_commit,
                    head=head,
                    state=state,
                    source=source,
                    as_of=as_of,
                    born_event_time=event_time,
                    first_seen=self._database.now(),
                    listed_at=listed_at,
                    replaced=0,
                    ledger_head=(ledger_head or head) if ref.type is RefType.BRANCH else None,
                    discovered_head=born_commit if ref.type is RefType.BRANCH else None,
                )
            )
            made = new_id(result)
        return self.get(made)

    def update(self, ref_id: int, **values: Any) -> None:
        with self._database.transaction() as connection:
            connection.execute(update(refs).where(refs.c.id == ref_id).values(**values))

    def replace(self, ref_id: int) -> None:
        """The ref of this name is another incarnation by now: this one's mirrors are to be dropped."""
        self.update(ref_id, replaced=1, missed_since=self._database.now(), suspected_at=None)

    def note_unread(self, ref_id: int, tables: Iterable[TableName]) -> None:
        """Notes which of the parent's tables a new ref still has to get, as they could not be read."""
        self.update(ref_id, unread=json.dumps(sorted(map(str, tables))))

    def end(self, ref_id: int, *, kept: bool) -> None:
        """The incarnation is over; its names are free again, unless its mirrors are kept, which are then orphans."""
        with self._database.transaction() as connection:
            connection.execute(
                update(refs).where(refs.c.id == ref_id).values(state="gone", ended_at=self._database.now())
            )
            connection.execute(delete(readings).where(readings.c.ref_id == ref_id))
            if not kept:
                connection.execute(delete(mirrors).where(mirrors.c.ref_id == ref_id))

    def with_mirrors(self) -> tuple[tuple[str, RefRow], ...]:
        """Every ref that has mirrors, over or not, with its repository's name."""
        query = (
            select(refs, repositories.c.name.label("repository"))
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .where(refs.c.id.in_(select(mirrors.c.ref_id)))
            .order_by(refs.c.id)
        )
        with self._database.reading() as connection:
            return tuple((row.repository, ref_row(row)) for row in connection.execute(query))

    # Heads

    def note_head(self, ref_id: int, commit: str, watermark: int, *, whole: bool, generation: int = 0) -> None:
        """The tables of the ref were read while `commit` was its head; `watermark` was its newest version.

        `whole`: with the partitions of all tables, which else are as old as each table's last version.
        """
        with self._database.transaction() as connection:
            now = self._database.now()
            note_head(connection, ref_id, commit, watermark, now, whole=whole, generation=generation)

    def generation(self, ref_id: int, commit: str) -> int:
        """The generation of a head that was noted; 0 where it is not known."""
        query = select(heads.c.generation).where(heads.c.ref_id == ref_id, heads.c.commit == commit)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one_or_none() or 0)

    def is_whole(self, ref_id: int, commit: str) -> bool:
        """Whether the ref's tables were read with their partitions when they were last read at a commit."""
        query = select(heads.c.whole).where(heads.c.ref_id == ref_id, heads.c.commit == commit)
        with self._database.reading() as connection:
            return bool(connection.execute(query).scalar_one_or_none())

    def at_commit(self, repository_id: int, commits: Iterable[str]) -> dict[str, list[tuple[int, int]]]:
        """Commit -> (ref id, watermark) of the refs whose tables were read at it."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(heads.c.commit, heads.c.ref_id, heads.c.watermark)
                .join(refs, refs.c.id == heads.c.ref_id)
                .where(refs.c.repository_id == repository_id, heads.c.commit.in_(list(commits)))
                .order_by(heads.c.seen_at)
            ).all()
        found: dict[str, list[tuple[int, int]]] = {}
        for row in rows:
            found.setdefault(row.commit, []).append((row.ref_id, row.watermark))
        return found

    # Pinned mirrors


def note_head(
    connection: Connection,
    ref_id: int,
    commit: str,
    watermark: int,
    now: float,
    *,
    whole: bool = True,
    generation: int = 0,
) -> None:
    """As `RefStore.note_head`, inside a transaction."""
    values = {"watermark": watermark, "seen_at": now, "whole": int(whole)}
    if generation:
        values["generation"] = generation
    which = (heads.c.ref_id == ref_id, heads.c.commit == commit)
    if connection.execute(update(heads).where(*which).values(values)).rowcount == 0:
        connection.execute(insert(heads).values(ref_id=ref_id, commit=commit, **values))


def raise_heads(connection: Connection, ref_id: int, generation: int, watermark: int) -> None:
    """A merge of that generation is done late: it was part of the tables at every head since, also where they were read
    before it was done.
    """
    since = (heads.c.ref_id == ref_id, heads.c.generation >= generation, heads.c.watermark < watermark)
    connection.execute(update(heads).where(*since).values(watermark=watermark))


def ref_row(row: Row[Any]) -> RefRow:
    return RefRow(
        id=row.id,
        repository_id=row.repository_id,
        ref=Ref(RefType(row.type), row.name),
        incarnation=row.incarnation,
        parent_id=row.parent_id,
        watermark=row.watermark,
        born_commit=row.born_commit,
        head=row.head,
        state=row.state,
        source=row.source,
        as_of=row.as_of,
        born_event_time=row.born_event_time,
        first_seen=row.first_seen,
        missed_since=row.missed_since,
        replaced=bool(row.replaced),
        ledger_head=row.ledger_head,
        walk_head=row.walk_head,
        walk_at=row.walk_at,
        discovered_head=row.discovered_head,
        waited=bool(row.waited),
        looked_last=bool(row.looked_last),
        listed_at=row.listed_at,
        suspected_at=row.suspected_at,
        unread=frozenset(TableName.parse(name) for name in json.loads(row.unread or "[]")),
    )
