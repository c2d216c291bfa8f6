"""Pauses that people asked for."""

from __future__ import annotations

from sqlalchemy import or_, select, update

from metasync.planning.pauses import Pause
from metasync.store.database import Database, new_id
from metasync.store.schema import pauses


class Pauses:
    """Begins, ends and lists pauses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, rule: str | None, reason: str, by: str, seconds: float | None) -> Pause:
        """Pauses a rule, or everything, for some seconds or until somebody resumes; in place of an earlier pause."""
        now = self._database.now()
        until = now + seconds if seconds is not None else None
        same = pauses.c.rule.is_(None) if rule is None else pauses.c.rule == rule
        with self._database.transaction() as connection:
            connection.execute(update(pauses).where(same, pauses.c.ended_at.is_(None)).values(ended_at=now))
            values = {"rule": rule, "reason": reason, "by": by, "since": now, "until": until}
            number = new_id(connection.execute(pauses.insert().values(**values)))
        return Pause(number, rule, reason, by, now, until)

    def end(self, rule: str | None = None) -> tuple[Pause, ...]:
        """Ends the pause of a rule, or every pause; gives those that were in force."""
        ended = tuple(pause for pause in self.in_force() if rule is None or pause.rule == rule)
        with self._database.transaction() as connection:
            which = pauses.c.id.in_([pause.id for pause in ended])
            connection.execute(update(pauses).where(which).values(ended_at=self._database.now()))
        return ended

    def end_one(self, number: int) -> tuple[Pause, ...]:
        """Ends one pause; gives it, if it was in force."""
        ended = tuple(pause for pause in self.in_force() if pause.id == number)
        with self._database.transaction() as connection:
            connection.execute(update(pauses).where(pauses.c.id == number).values(ended_at=self._database.now()))
        return ended

    def in_force(self) -> tuple[Pause, ...]:
        """The pauses that hold now, the oldest first."""
        query = select(pauses).where(
            pauses.c.ended_at.is_(None), or_(pauses.c.until.is_(None), pauses.c.until > self._database.now())
        )
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(pauses.c.id)).all()
        return tuple(Pause(row.id, row.rule, row.reason, row.by, row.since, row.until) for row in rows)
