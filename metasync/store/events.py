"""The queue: events are durable before anybody is told, claimed one repository at a time, retried, kept when dead."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, or_, select, update

from metasync.store.database import Database, new_id
from metasync.store.schema import events

_LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class StoredEvent:
    """An event of the queue. state: queued, claimed, done, dead, discarded."""

    id: int
    repository: str
    kind: str
    payload: Mapping[str, Any]
    state: str
    attempts: int
    received_at: float
    due_at: float
    error: str | None


class EventQueue:
    """What the web edge, poller and schedule put in, and the worker takes out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, repository: str, kind: str, payload: Mapping[str, Any]) -> int:
        """Stores an event durably and gives its number; on return it survives a power cut."""
        now = self._database.now()
        with self._database.transaction() as connection:
            result = connection.execute(
                insert(events).values(
                    received_at=now,
                    repository=repository,
                    kind=kind,
                    payload=json.dumps(payload),
                    state="queued",
                    attempts=0,
                    due_at=now,
                )
            )
            return new_id(result)

    def put_once(self, repository: str, kind: str, payload: Mapping[str, Any]) -> int | None:
        """As `put`, unless an event of that kind waits for the repository already."""
        with self._database.transaction() as connection:
            waiting = connection.execute(
                select(events.c.id)
                .where(events.c.repository == repository, events.c.kind == kind, events.c.state == "queued")
                .limit(1)
            ).one_or_none()
        return None if waiting is not None else self.put(repository, kind, payload)

    def claim(self, holder: str, lease: float) -> tuple[StoredEvent, ...]:
        """The oldest due event of a repository that nobody works on, with all others of that repository that are due.

        They are coalesced: one look at the repository serves them all. Claims whose lease has run out are taken over.
        """
        now = self._database.now()
        busy = select(events.c.repository).where(events.c.state == "claimed", events.c.lease_until > now)
        ready = or_(
            and_(events.c.state == "queued", events.c.due_at <= now),
            and_(events.c.state == "claimed", events.c.lease_until <= now),
        )
        with self._database.transaction() as connection:
            first = connection.execute(
                select(events)
                .where(ready, events.c.repository.not_in(busy))
                .order_by(events.c.due_at, events.c.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if first is None:
                return ()
            rows = connection.execute(
                select(events)
                .where(ready, events.c.repository == first.repository)
                .order_by(events.c.id)
                .with_for_update(skip_locked=True)
            ).all()
            connection.execute(
                update(events)
                .where(events.c.id.in_([row.id for row in rows]))
                .values(state="claimed", holder=holder, lease_until=now + lease, attempts=events.c.attempts + 1)
            )
        return tuple(_event(row) for row in rows)

    def extend(self, ids: Sequence[int], holder: str, lease: float) -> None:
        """Keeps claimed events for another while."""
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids), events.c.holder == holder, events.c.state == "claimed")
                .values(lease_until=self._database.now() + lease)
            )

    def done(self, ids: Sequence[int]) -> None:
        self._finish(ids, "done", None)

    def dead(self, ids: Sequence[int], error: str) -> None:
        """Kept, visible and replayable; blocks no later event."""
        self._finish(ids, "dead", error)

    def discard(self, event_id: int) -> bool:
        """Takes a dead event from the list of what needs attention."""
        with self._database.transaction() as connection:
            result = connection.execute(
                update(events).where(events.c.id == event_id, events.c.state == "dead").values(state="discarded")
            )
            return result.rowcount > 0

    def retry(self, ids: Sequence[int], error: str, attempts: int, delay: float) -> None:
        """Puts events back with backoff: `delay` seconds, doubled with each attempt, with jitter."""
        wait = min(delay * 2 ** (attempts - 1), _LONGEST_WAIT) * random.uniform(0.75, 1.25)
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids))
                .values(state="queued", due_at=self._database.now() + wait, error=error, lease_until=None)
            )

    def release(self, ids: Sequence[int]) -> None:
        """Gives events back untouched: the process is asked to stop."""
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids), events.c.state == "claimed")
                .values(state="queued", attempts=events.c.attempts - 1, lease_until=None)
            )

    def reclaim(self) -> None:
        """Puts every claimed event back; for a queue that has one worker process, when that starts."""
        with self._database.transaction() as connection:
            connection.execute(
                update(events).where(events.c.state == "claimed").values(state="queued", lease_until=None)
            )

    def replay(self, event_id: int) -> bool:
        """Queues a dead, discarded or done event again. False where there is none."""
        with self._database.transaction() as connection:
            result = connection.execute(
                update(events)
                .where(events.c.id == event_id, events.c.state.in_(("dead", "discarded", "done")))
                .values(state="queued", attempts=0, due_at=self._database.now(), error=None)
            )
            return result.rowcount > 0

    def list(self, states: Sequence[str] = (), limit: int = 100) -> tuple[StoredEvent, ...]:
        """The newest events first."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        if states:
            query = query.where(events.c.state.in_(states))
        with self._database.transaction() as connection:
            return tuple(_event(row) for row in connection.execute(query))

    def depth(self) -> tuple[int, float]:
        """How many events wait or are worked on, and the age in seconds of the oldest."""
        with self._database.transaction() as connection:
            row = connection.execute(
                select(func.count(), func.min(events.c.received_at)).where(events.c.state.in_(("queued", "claimed")))
            ).one()
        return int(row[0]), self._database.now() - row[1] if row[1] is not None else 0.0

    def forget(self, older_than: float) -> int:
        """Deletes events that were done more than `older_than` seconds ago."""
        with self._database.transaction() as connection:
            result = connection.execute(
                delete(events).where(
                    events.c.state.in_(("done", "discarded")),
                    events.c.finished_at < self._database.now() - older_than,
                )
            )
            return int(result.rowcount)

    def _finish(self, ids: Sequence[int], state: str, error: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids))
                .values(state=state, error=error, finished_at=self._database.now(), lease_until=None)
            )


def _event(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        row.id,
        row.repository,
        row.kind,
        json.loads(row.payload),
        row.state,
        row.attempts,
        row.received_at,
        row.due_at,
        row.error,
    )
