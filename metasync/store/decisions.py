"""What waits for a person: conflicts, and plans that nobody applies by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from metasync.model.hms import TableName
from metasync.planning.changes import MergeTable
from metasync.planning.plan import Plan, plan_from_json, plan_to_json
from metasync.planning.three_way import ItemConflict
from metasync.store.database import Database, new_id
from metasync.store.schema import conflicts, plans, refs, repositories

_AT_ONCE = 500
"""The most ids in one statement."""


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


class Decisions:
    """Reads and writes of conflicts and waiting plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def of_same_table(self, conflict_id: int) -> tuple[ConflictRow, ...]:
        """A conflict and all others of its merge, table and state; empty where there is no such conflict."""
        one = conflicts.alias("one")
        query = (
            select(conflicts, refs.c.type, refs.c.name, repositories.c.name.label("repository"))
            .join(refs, refs.c.id == conflicts.c.destination_ref_id)
            .join(repositories, repositories.c.id == refs.c.repository_id)
            .join(
                one,
                (one.c.merge_id == conflicts.c.merge_id)
                & (one.c.logical == conflicts.c.logical)
                & (one.c.state == conflicts.c.state),
            )
            .where(one.c.id == conflict_id)
            .order_by(conflicts.c.id)
        )
        with self._database.reading() as connection:
            return tuple(_conflict(row) for row in connection.execute(query))

    def choose(self, choices: Mapping[int, str | None]) -> None:
        """Notes a person's choices for conflicts; nothing is merged before every item of the table has one."""
        with self._database.transaction() as connection:
            for side in sorted({side for side in choices.values() if side is not None}):
                ids = [number for number, choice in choices.items() if choice == side]
                for start in range(0, len(ids), _AT_ONCE):
                    some = conflicts.c.id.in_(ids[start : start + _AT_ONCE])
                    connection.execute(update(conflicts).where(some).values(choice=side))

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

    def applied_plans(self, repository: str) -> tuple[PlanRow, ...]:
        """The plans of merges that somebody applied."""
        mine = (plans.c.repository == repository, plans.c.kind == "withheld", plans.c.state == "applied")
        with self._database.reading() as connection:
            rows = connection.execute(select(plans).where(*mine).order_by(plans.c.id)).all()
        return tuple(_plan(row) for row in rows)

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

    def counts(self) -> tuple[int, int]:
        """How many conflicts are open, and how many plans wait."""
        with self._database.reading() as connection:
            found = [
                connection.execute(select(func.count()).select_from(table).where(table.c.state == state)).scalar_one()
                for table, state in ((conflicts, "open"), (plans, "waiting"))
            ]
        return int(found[0]), int(found[1])


def keep_plan(connection: Connection, kind: str, subject: str, reason: str, plan: Plan, now: float) -> int:
    """As `Decisions.keep_plan`, inside a transaction. The very plan that waits already keeps its number."""
    content = json.dumps(plan_to_json(plan))
    same = (plans.c.kind == kind, plans.c.subject == subject, plans.c.state == "waiting", plans.c.content == content)
    known = connection.execute(select(plans.c.id).where(*same).limit(1)).scalar_one_or_none()
    if known is not None:
        return int(known)
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
            content=content,
            state="waiting",
            made_at=now,
        )
    )
    return new_id(result)


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
