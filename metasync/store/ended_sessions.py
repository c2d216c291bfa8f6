"""Sessions of the status page that somebody ended before their time, for every replica to know."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, select

from metasync.store.database import Database, insert_new
from metasync.store.schema import ended_sessions


class EndedSessions:
    """Ended sessions, by the hash of what their cookies say; each is forgotten once it would have ended by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def end(self, session: str, until: float) -> None:
        """Ends a session that would have held until a time (Unix seconds)."""
        now = self._database.now()
        with self._database.transaction() as connection:
            connection.execute(delete(ended_sessions).where(ended_sessions.c.until < now))
            connection.execute(insert_new(connection, ended_sessions).values(session=_hash(session), until=until))

    def is_ended(self, session: str) -> bool:
        query = select(ended_sessions.c.session).where(ended_sessions.c.session == _hash(session))
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none() is not None


def _hash(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()
