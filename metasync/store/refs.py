"""Repositories and refs: every incarnation, where it forked, and the heads at which its tables were read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.changes import CreateMirror
from metasync.planning.observed import Pinned, RefState
from metasync.store.database import Database, insert_new, new_id
from metasync.store.schema import heads, mirrors, readings, refs, repositories

_NAMES_AT_ONCE = 500


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
    """Reads and writes of repositories, refs, heads and pinned mirrors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def repository_id(self, repository: Repository) -> int:
        """The row of this very repository (name, creation date, namespace); made where it is new."""
        match = (
            repositories.c.name == repository.name,
            repositories.c.creation_date == repository.creation_date,
            repositories.c.storage_namespace == repository.storage_namespace,
        )
        wanted = select(repositories.c.id).where(*match)
        with self._database.reading() as connection:
            found = connection.execute(wanted).scalar_one_or_none()
        if found is not None:
            return int(found)
        with self._database.transaction() as connection:
            found = connection.execute(wanted).scalar_one_or_none()
            if found is not None:
                return int(found)
            result = connection.execute(
                insert(repositories).values(
                    name=repository.name,
                    creation_date=repository.creation_date,
                    storage_namespace=repository.storage_namespace,
                    default_branch=repository.default_branch,
                )
            )
            return new_id(result)

    def identities(self, name: str) -> tuple[Repository, ...]:
        """Every repository of that name that was ever seen, the newest last."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(repositories).where(repositories.c.name == name).order_by(repositories.c.id)
            ).all()
        return tuple(Repository(r.name, r.creation_date, r.storage_namespace, r.default_branch) for r in rows)

    def names(self) -> tuple[str, ...]:
        """The names of all repositories that were ever seen."""
        with self._database.reading() as connection:
            return tuple(connection.execute(select(repositories.c.name).distinct()).scalars())

    def repository(self, repository_id: int) -> Repository:
        with self._database.reading() as connection:
            r = connection.execute(select(repositories).where(repositories.c.id == repository_id)).one()
        return Repository(r.name, r.creation_date, r.storage_namespace, r.default_branch)

    def blocked(self, name: str) -> str:
        """Why nothing is written for the newest repository of that name; empty where nothing stands in the way."""
        query = select(repositories.c.blocked).where(repositories.c.name == name).order_by(repositories.c.id.desc())
        with self._database.reading() as connection:
            return str(connection.execute(query.limit(1)).scalar_one_or_none() or "")

    def block(self, repository_id: int, why: str) -> None:
        """Notes, or with an empty text takes back, why nothing is written for a repository."""
        which = repositories.c.id == repository_id
        with self._database.transaction() as connection:
            connection.execute(update(repositories).where(which, repositories.c.blocked != why).values(blocked=why))

    def sever(self, repository_id: int, version: int) -> None:
        """From now on, no version up to this one is a base of any merge of the repository."""
        with self._database.transaction() as connection:
            connection.execute(
                update(repositories).where(repositories.c.id == repository_id).values(severed_at=version)
            )

    def severed_at(self, repository_id: int) -> int:
        with self._database.reading() as connection:
            query = select(repositories.c.severed_at).where(repositories.c.id == repository_id)
            return int(connection.execute(query).scalar_one())

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
        wanted = sorted(set(names))
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _NAMES_AT_ONCE):
                some = mirrors.c.physical.in_(wanted[start : start + _NAMES_AT_ONCE])
                found |= set(connection.execute(select(mirrors.c.physical).where(some)).scalars())
        return found

    def pinned(self, ref_id: int) -> tuple[Pinned, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(
                select(mirrors).where(mirrors.c.ref_id == ref_id).order_by(mirrors.c.logical)
            ).all()
        return tuple(
            Pinned(
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
            for row in rows
        )

    def claims(self) -> dict[TableName, int]:
        """Physical name -> the living ref that holds it, over all repositories."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(mirrors.c.physical, mirrors.c.ref_id)
                .join(refs, refs.c.id == mirrors.c.ref_id)
                .where(refs.c.state != "gone")
            ).all()
        return {TableName.parse(row.physical): row.ref_id for row in rows}


def pin_again(connection: Connection, ref_id: int, logical: TableName, version: int, definition: str | None) -> None:
    """A mirror that is pinned and not made yet is to be made of another version; none where the table is gone in it."""
    which = (mirrors.c.ref_id == ref_id, mirrors.c.logical == str(logical), mirrors.c.made_at.is_(None))
    if definition is None:
        connection.execute(delete(mirrors).where(*which))
    else:
        connection.execute(update(mirrors).where(*which).values(version=version, definition=definition, copy_of=None))


def mark_made(connection: Connection, made: Iterable[tuple[int, TableName]], now: float) -> None:
    """As `RefStore.made`, of several mirrors, inside a transaction."""
    its_own = (mirrors.c.ref_id == bindparam("of_ref"), mirrors.c.logical == bindparam("of_table"))
    rows = [{"of_ref": ref_id, "of_table": str(logical)} for ref_id, logical in made]
    connection.execute(update(mirrors).where(*its_own).values(made_at=now), rows)


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
