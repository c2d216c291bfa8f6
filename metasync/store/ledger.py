"""The merge ledger, its conflicts, the plans that wait for a person, and the history of what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, func, insert, select, update

from metasync.model.hms import TableName
from metasync.planning.matrix import ItemConflict
from metasync.planning.plan import MergeTable, Plan, plan_from_json, plan_to_json
from metasync.store.database import Database, new_id
from metasync.store.schema import conflicts, history, merge_tables, merges, plans, refs, repositories

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


@dataclass(frozen=True)
class ConflictRow:
    """One item that a person must decide."""

    id: int
    merge_id: int
    repository: str
    destination: str
    source: str
    logical: TableName
    path: tuple[str, ...]
    base: Any
    ours: Any
    theirs: Any
    reason: str
    state: str
    found_at: float
    choice: str | None


@dataclass(frozen=True)
class PlanRow:
    """A plan that waits. kind: withheld (a destructive part of a merge) or unsafe (beyond the limits)."""

    id: int
    repository: str
    kind: str
    subject: str
    reason: str
    state: str
    made_at: float
    plan: Plan


@dataclass(frozen=True)
class HistoryRow:
    """One thing that was done."""

    at: float
    repository: str
    ref: str
    logical: str
    physical: str
    action: str
    detail: str
    cause: str


class Ledger:
    """Reads and writes of merges, conflicts, plans and history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Merges

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
        return tuple(_merge(row) for row in rows)

    def merge(self, merge_id: int) -> MergeRow:
        with self._database.reading() as connection:
            return _merge(connection.execute(select(merges).where(merges.c.id == merge_id)).one())

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
        return tuple(_MERGE_TABLE.validate_json(row.change) for row in rows)

    def find_merges(self, commit: str, repository_id: int | None = None) -> tuple[MergeRow, ...]:
        """The merges whose commit begins so."""
        query = select(merges).where(merges.c.commit.startswith(commit, autoescape=True)).order_by(merges.c.id)
        if repository_id is not None:
            query = query.where(merges.c.repository_id == repository_id)
        with self._database.reading() as connection:
            return tuple(_merge(row) for row in connection.execute(query))

    def finish_merge(self, merge_id: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                update(merges).where(merges.c.id == merge_id).values(state="done", done_at=self._database.now())
            )

    # Conflicts

    def conflicts(self, states: Sequence[str] = ("open",), limit: int = 1000) -> tuple[ConflictRow, ...]:
        query = (
            select(conflicts, refs.c.type, refs.c.name, repositories.c.name.label("repository"))
            .join(refs, refs.c.id == conflicts.c.destination_ref_id)
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .where(conflicts.c.state.in_(states))
            .order_by(conflicts.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return tuple(_conflict(row) for row in connection.execute(query))

    def choose(self, ids: Sequence[int], side: str) -> None:
        """Notes a person's choice for conflicts; nothing is merged before every item of the table has one."""
        with self._database.transaction() as connection:
            connection.execute(update(conflicts).where(conflicts.c.id.in_(ids)).values(choice=side))

    def close_conflicts(self, ids: Sequence[int], state: str, resolution: str | None = None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                update(conflicts)
                .where(conflicts.c.id.in_(ids))
                .values(state=state, closed_at=self._database.now(), resolution=resolution)
            )

    def forget_destination(self, ref_id: int) -> None:
        """The ref has ended: nobody decides any more about merges into it."""
        now = self._database.now()
        mine = (conflicts.c.destination_ref_id == ref_id, conflicts.c.state == "open")
        waiting = [
            row.id for row in self.waiting_plans() if any(m.destination_ref_id == ref_id for m in row.plan.merges)
        ]
        with self._database.transaction() as connection:
            connection.execute(update(conflicts).where(*mine).values(state="superseded", closed_at=now))
            which = plans.c.id.in_(waiting)
            connection.execute(update(plans).where(which).values(state="superseded", closed_at=now))

    # Plans

    def keep_plan(self, kind: str, subject: str, reason: str, plan: Plan) -> int:
        """Stores a plan that waits for a person; an older one on the same subject is superseded."""
        with self._database.transaction() as connection:
            return keep_plan(connection, kind, subject, reason, plan, self._database.now())

    def plan(self, plan_id: int) -> PlanRow | None:
        with self._database.reading() as connection:
            row = connection.execute(select(plans).where(plans.c.id == plan_id)).one_or_none()
        return _plan(row) if row is not None else None

    def waiting_plans(self) -> tuple[PlanRow, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(select(plans).where(plans.c.state == "waiting").order_by(plans.c.id)).all()
        return tuple(_plan(row) for row in rows)

    def supersede_unsafe(self, repository: str) -> None:
        """A pass was within the limits: what was refused before is not waited for any more."""
        with self._database.transaction() as connection:
            connection.execute(
                update(plans)
                .where(plans.c.repository == repository, plans.c.kind == "unsafe", plans.c.state == "waiting")
                .values(state="superseded", closed_at=self._database.now())
            )

    def close_plan(self, plan_id: int, state: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                update(plans).where(plans.c.id == plan_id).values(state=state, closed_at=self._database.now())
            )

    # History and counts

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

    def history(
        self, repository: str | None = None, logical: str | None = None, limit: int = 100
    ) -> tuple[HistoryRow, ...]:
        """What was done, the newest first."""
        query = select(history).order_by(history.c.id.desc()).limit(limit)
        if repository:
            query = query.where(history.c.repository == repository)
        if logical:
            query = query.where(history.c.logical == logical)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            HistoryRow(r.at, r.repository, r.ref, r.logical, r.physical, r.action, r.detail, r.cause) for r in rows
        )

    def counts(self) -> Mapping[str, int]:
        """Open conflicts, waiting plans and merges whose source is unknown."""
        with self._database.reading() as connection:

            def count(table: Any, state: str) -> int:
                return int(
                    connection.execute(
                        select(func.count()).select_from(table).where(table.c.state == state)
                    ).scalar_one()
                )

            return {
                "conflicts": count(conflicts, "open"),
                "plans": count(plans, "waiting"),
                "source_unknown": count(merges, "source-unknown"),
            }


def note(
    connection: Connection,
    repository: str,
    ref: str,
    logical: str,
    physical: str,
    action: str,
    detail: str,
    cause: str,
    now: float,
) -> None:
    """As `Ledger.note`, inside a transaction."""
    connection.execute(
        insert(history).values(
            at=now,
            repository=repository,
            ref=ref,
            logical=logical,
            physical=physical,
            action=action,
            detail=detail,
            cause=cause,
        )
    )


def keep_plan(connection: Connection, kind: str, subject: str, reason: str, plan: Plan, now: float) -> int:
    """As `Ledger.keep_plan`, inside a transaction."""
    connection.execute(
        update(plans)
        .where(plans.c.kind == kind, plans.c.subject == subject, plans.c.state == "waiting")
        .values(state="superseded", closed_at=now)
    )
    result = connection.execute(
        insert(plans).values(
            repository=plan.repository,
            kind=kind,
            subject=subject,
            reason=reason,
            content=json.dumps(plan_to_json(plan)),
            state="waiting",
            made_at=now,
        )
    )
    return new_id(result)


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


def replace_conflicts(connection: Connection, change: MergeTable, found: Sequence[ItemConflict], now: float) -> None:
    """Opens the conflicts of a table, superseding those that an earlier merge left open for it."""
    connection.execute(
        update(conflicts)
        .where(
            conflicts.c.destination_ref_id == change.destination_ref_id,
            conflicts.c.logical == str(change.logical),
            conflicts.c.source == change.source,
            conflicts.c.state == "open",
        )
        .values(state="superseded", closed_at=now)
    )
    for conflict in found:
        connection.execute(
            insert(conflicts).values(
                merge_id=change.merge_id,
                destination_ref_id=change.destination_ref_id,
                source=change.source,
                logical=str(change.logical),
                path=json.dumps(list(conflict.path)),
                base=json.dumps(conflict.base),
                ours=json.dumps(conflict.ours),
                theirs=json.dumps(conflict.theirs),
                reason=conflict.reason,
                state="open",
                found_at=now,
            )
        )


def _merge(row: Row[Any]) -> MergeRow:
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


def _conflict(row: Row[Any]) -> ConflictRow:
    return ConflictRow(
        id=row.id,
        merge_id=row.merge_id,
        repository=row.repository,
        destination=f"{row.type}/{row.name}",
        source=row.source,
        logical=TableName.parse(row.logical),
        path=tuple(json.loads(row.path)),
        base=json.loads(row.base),
        ours=json.loads(row.ours),
        theirs=json.loads(row.theirs),
        reason=row.reason,
        state=row.state,
        found_at=row.found_at,
        choice=row.choice,
    )


def _plan(row: Row[Any]) -> PlanRow:
    return PlanRow(
        id=row.id,
        repository=row.repository,
        kind=row.kind,
        subject=row.subject,
        reason=row.reason,
        state=row.state,
        made_at=row.made_at,
        plan=plan_from_json(json.loads(row.content)),
    )
