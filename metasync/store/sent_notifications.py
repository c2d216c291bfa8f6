"""What was sent to each channel: what stands of it, and how far in the history the channel is."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update

from metasync.store.database import Database, insert_new
from metasync.store.schema import cursors, sent


class SentNotifications:
    """One row a channel and what needs attention, one cursor a channel."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keys(self, channel: str) -> dict[str, float]:
        """Key of what needs attention -> when it was sent to the channel (Unix seconds)."""
        with self._database.reading() as connection:
            rows = connection.execute(select(sent).where(sent.c.channel == channel)).all()
        return {row.key: row.at for row in rows}

    def note(self, channel: str, began: Collection[str], over: Collection[str]) -> None:
        """Notes that these were sent to the channel and those are over."""
        now = self._database.now()
        with self._database.transaction() as connection:
            if over:
                connection.execute(delete(sent).where(sent.c.channel == channel, sent.c.key.in_(over)))
            for key in began:
                connection.execute(insert_new(connection, sent).values(channel=channel, key=key, at=now))

    def cursor(self, channel: str, start: int) -> int:
        """The newest entry of the history that was sent to the channel; it begins at `start`."""
        known = select(cursors.c.history_id).where(cursors.c.channel == channel)
        with self._database.transaction() as connection:
            connection.execute(insert_new(connection, cursors).values(channel=channel, history_id=start))
            return int(connection.execute(known).scalar_one())

    def advance(self, channel: str, history_id: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(update(cursors).where(cursors.c.channel == channel).values(history_id=history_id))
