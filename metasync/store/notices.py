"""What a person should know of each repository, as of its last sync."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from metasync.planning.plan import Notice
from metasync.store.database import Database
from metasync.store.schema import notices


@dataclass(frozen=True)
class NoticeRow:
    """A notice that stands, and since when (Unix seconds)."""

    repository: str
    notice: Notice
    since: float


class Notices:
    """The notices that stand; each sync of a repository replaces its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, repository: str, found: Iterable[Notice]) -> None:
        """Stores what a sync found, in place of what the one before did; what is the same keeps its time."""
        before = {row.notice: row.since for row in self.standing(repository)}
        now = list(dict.fromkeys(found))
        if list(before) == now:
            return
        rows = [
            {
                "repository": repository,
                "kind": notice.kind,
                "subject": notice.subject,
                "message": notice.message,
                "help": notice.help,
                "ref_id": notice.ref_id,
                "since": before.get(notice, self._database.now()),
            }
            for notice in now
        ]
        with self._database.transaction() as connection:
            connection.execute(delete(notices).where(notices.c.repository == repository))
            if rows:
                connection.execute(insert(notices), rows)

    def standing(self, repository: str | None = None) -> tuple[NoticeRow, ...]:
        """Those of one repository, or of all, in the order in which they were found."""
        query = select(notices).order_by(notices.c.id)
        if repository is not None:
            query = query.where(notices.c.repository == repository)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            NoticeRow(r.repository, Notice(r.kind, r.subject, r.message, r.help, r.ref_id), r.since) for r in rows
        )
