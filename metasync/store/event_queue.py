"""The queue: events are stored before they are acknowledged, claimed by repository, retried, and kept when dead."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from metasync.store.database import Database
from metasync.store.leases import Lease, Leases, Take
from metasync.store.schema import events

_LONGEST_WAIT = 600.0
_LONGEST_WAIT_IN_AN_OUTAGE = 60.0
RECHECK = "recheck"
"""The kind of an event that reminds us to ask lakeFS again, for what it records late."""
_AT_ONCE = 1000
"""The most events that one claim takes: what is in memory, and what one sync of a repository serves."""


@dataclass(frozen=True)
class NewEvent:
    """What somebody puts into the queue."""

    repository: str
    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class StoredEvent:
    """An event of the queue. state: queued, claimed, done, dead, discarded. Times are in Unix seconds."""

    id: int
    repository: str
    kind: str
    payload: Mapping[str, Any]
    state: str
    attempts: int
    received_at: float
    due_at: float
    error: str | None


@dataclass(frozen=True)
class Claim:
    """The due events of one repository, oldest first, and the lease on it under which they are worked on."""

    lease: Lease
    events: tuple[StoredEvent, ...]

    @property
    def repository(self) -> str:
        return self.events[0].repository

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(event.id for event in self.events)


def lease_name(repository: str) -> str:
    """The lease that whoever works on a repository has."""
    return f"repository:{repository}"


class EventQueue:
    """What the web edge, poller and schedule put in, and the worker takes out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_all(self, new: Sequence[NewEvent], urgent: bool = False, delay: float = 0.0) -> list[int]:
        """Stores events durably, in one transaction, and gives their numbers; on return they survive a power cut.

        They are due after `delay` seconds. With `urgent`, gives up after some seconds. Raises StoreUnavailable, and
        then none is stored.
        """
        now = self._database.now()
        rows = [
            {
                "received_at": now,
                "repository": event.repository,
                "kind": event.kind,
                "payload": json.dumps(event.payload),
                "state": "queued",
                "attempts": 0,
                "due_at": now + delay,
            }
            for event in new
        ]
        statement = insert(events).returning(events.c.id, sort_by_parameter_order=True)
        with self._database.transaction(urgent=urgent) as connection:
            return list(connection.execute(statement, rows).scalars())

    def put(self, repository: str, kind: str, payload: Mapping[str, Any], delay: float = 0.0) -> int:
        """Stores one event durably, due after `delay` seconds, and gives its number."""
        return self.put_all([NewEvent(repository, kind, payload)], delay=delay)[0]

    def put_once(self, repository: str, kind: str, payload: Mapping[str, Any], delay: float = 0.0) -> int | None:
        """As `put`, unless an event of that kind waits for the repository already; that is due no later then."""
        due = self._database.now() + delay
        with self._database.reading() as connection:
            waiting = connection.execute(
                select(events.c.id, events.c.due_at)
                .where(events.c.repository == repository, events.c.kind == kind, events.c.state == "queued")
                .limit(1)
            ).one_or_none()
        if waiting is None:
            return self.put(repository, kind, payload, delay)
        if kind == RECHECK and waiting.due_at > due:
            mine = (events.c.id == waiting.id, events.c.state == "queued")
            with self._database.transaction() as connection:
                connection.execute(update(events).where(*mine).values(due_at=due))
        return None

    def claim(self, leases: Leases) -> Claim | None:
        """The due events of the repository that has waited longest and that nobody works on; takes its lease.

        They are coalesced: one sync of the repository serves them all. What somebody had claimed whose lease is gone
        is due again. Repositories take turns, as whoever is worked on longest has the youngest events.
        """
        now = self._database.now()
        # Nobody waits so long: what is due later still was put off before the clock was set back.
        later = events.c.due_at > now + _LONGEST_WAIT * 2
        due = or_(events.c.state == "claimed", (events.c.state == "queued") & or_(events.c.due_at <= now, later))
        if not self._any(due):
            return None
        with leases.taking() as take, self._database.transaction() as connection:
            claim = self._claim(connection, take, due)
        if claim is not None and not claim.events:
            # Somebody was done with them while we took the lease.
            leases.release(claim.lease)
            return None
        return claim

    def _claim(self, connection: Connection, take: Take, due: Any) -> Claim | None:
        candidates = connection.execute(
            select(events.c.repository, func.min(events.c.due_at).label("since"))
            .where(due)
            .group_by(events.c.repository)
            .order_by("since")
        ).all()
        for repository in (row.repository for row in candidates):
            lease = take(connection, lease_name(repository))
            if lease is None:
                continue
            rows = connection.execute(
                select(events).where(due, events.c.repository == repository).order_by(events.c.id).limit(_AT_ONCE)
            ).all()
            connection.execute(
                update(events)
                .where(events.c.id.in_([row.id for row in rows]))
                .values(state="claimed", attempts=events.c.attempts + 1)
            )
            return Claim(lease, tuple(_event(row) for row in rows))
        return None

    def done(self, ids: Sequence[int]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids))
                .values(state="done", error=None, finished_at=self._database.now())
            )

    def dead(self, event: StoredEvent, error: str, *, replaces: bool = False) -> None:
        """Kept, visible and replayable; blocks no later event. With `replaces`, it stands for older dead ones alike."""
        now = self._database.now()
        with self._database.transaction() as connection:
            if replaces:
                connection.execute(
                    update(events)
                    .where(
                        events.c.state == "dead",
                        events.c.repository == event.repository,
                        events.c.kind == event.kind,
                    )
                    .values(state="discarded", finished_at=now)
                )
            connection.execute(
                update(events).where(events.c.id == event.id).values(state="dead", error=error, finished_at=now)
            )

    def discard(self, event_id: int) -> bool:
        """Takes a dead event from the list of what needs attention."""
        with self._database.transaction() as connection:
            result = connection.execute(
                update(events)
                .where(events.c.id == event_id, events.c.state == "dead")
                .values(state="discarded", finished_at=self._database.now())
            )
            return result.rowcount > 0

    def retry(self, event_id: int, error: str, attempts: int, delay: float) -> None:
        """Puts an event back with backoff: `delay` seconds, doubled with each attempt, with jitter."""
        wait = min(delay * 2 ** min(attempts - 1, 20), _LONGEST_WAIT)
        self._put_back(event_id, error, wait, attempts)

    def postpone(self, event: StoredEvent, error: str, delay: float) -> None:
        """Puts an event back that an outage kept from being worked on: its attempts do not count.

        It waits half as long as it has waited so far, and never long: somebody waits for the end of the outage.
        """
        wait = min(max(delay, (self._database.now() - event.received_at) / 2), _LONGEST_WAIT_IN_AN_OUTAGE)
        self._put_back(event.id, error, wait, event.attempts)

    def _put_back(self, event_id: int, error: str, wait: float, attempts: int) -> None:
        due = self._database.now() + wait * random.uniform(0.75, 1.25)
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id == event_id)
                .values(state="queued", due_at=due, error=error, attempts=attempts)
            )

    def release(self, ids: Sequence[int]) -> None:
        """Gives events back untouched: the process is asked to stop, or the repository's turn is over."""
        with self._database.transaction() as connection:
            connection.execute(
                update(events)
                .where(events.c.id.in_(ids), events.c.state == "claimed")
                .values(state="queued", due_at=self._database.now(), attempts=events.c.attempts - 1)
            )

    def replay(self, event_id: int) -> bool:
        """Queues a dead, discarded or done event again. False where there is none."""
        return self._replay(events.c.id == event_id, events.c.state.in_(("dead", "discarded", "done"))) > 0

    def replay_dead(self) -> int:
        """Queues every dead event again; how many."""
        return self._replay(events.c.state == "dead")

    def list(self, states: Sequence[str] = (), limit: int = 100) -> tuple[StoredEvent, ...]:
        """The newest events first."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        if states:
            query = query.where(events.c.state.in_(states))
        with self._database.reading() as connection:
            return tuple(_event(row) for row in connection.execute(query))

    def get(self, event_id: int) -> StoredEvent | None:
        with self._database.reading() as connection:
            row = connection.execute(select(events).where(events.c.id == event_id)).one_or_none()
        return _event(row) if row is not None else None

    def depth(self) -> tuple[int, float]:
        """How many events wait or are worked on, and the age in seconds of the oldest; a reminder for later is none."""
        now = self._database.now()
        later = (events.c.kind == RECHECK) & (events.c.state == "queued") & (events.c.due_at > now)
        with self._database.reading() as connection:
            row = connection.execute(
                select(func.count(), func.min(events.c.received_at)).where(
                    events.c.state.in_(("queued", "claimed")), ~later
                )
            ).one()
        return int(row[0]), self._database.now() - row[1] if row[1] is not None else 0.0

    def forget(self, older_than: float) -> int:
        """Deletes events that were done or discarded more than `older_than` seconds ago; dead ones are kept."""
        with self._database.transaction() as connection:
            result = connection.execute(
                delete(events).where(
                    events.c.state.in_(("done", "discarded")),
                    events.c.finished_at < self._database.now() - older_than,
                )
            )
            return int(result.rowcount)

    def _any(self, due: Any) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(events.c.id).where(due).limit(1)).one_or_none() is not None

    def _replay(self, *which: Any) -> int:
        values = {"state": "queued", "attempts": 0, "due_at": self._database.now(), "error": None}
        with self._database.transaction() as connection:
            return int(connection.execute(update(events).where(*which).values(values)).rowcount)


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
