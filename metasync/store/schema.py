"""The tables. Times are Unix seconds (UTC), JSON is text, hashes are hexadecimal SHA-256."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
)

from metasync.model.text import storable


class String(sqlalchemy.types.TypeDecorator[str]):
    """Text that every database holds, whoever wrote it: people, lakeFS, the metastore, a query of the API."""

    impl = sqlalchemy.Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return sqlalchemy.String(self.length) if self.length else sqlalchemy.Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return storable(value) if isinstance(value, str) else value


Text = String()

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False)
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("received_at", Float, nullable=False),
    Column("repository", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", Float, nullable=False),
    Column("error", Text),
    Column("finished_at", Float),
    Index(None, "state", "repository", "due_at"),
    Index("ix_events_finished", "state", "kind", "finished_at"),
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("creation_date", BigInteger, nullable=False),
    Column("storage_namespace", Text, nullable=False),
    Column("default_branch", Text, nullable=False),
    Column("blocked", Text, nullable=False, default=""),
    Column("severed_at", Integer, nullable=False, default=0),
    UniqueConstraint("name", "creation_date", "storage_namespace"),
)
"""`blocked`: why nothing is written before `metasync adopt`. No version up to `severed_at` is a base any more."""

refs = Table(
    "refs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", ForeignKey("repositories.id"), nullable=False),
    Column("type", String(8), nullable=False),
    Column("name", Text, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("parent_id", ForeignKey("refs.id")),
    Column("watermark", Integer, nullable=False, default=0),
    Column("born_commit", String(64), nullable=False),
    Column("head", String(64), nullable=False),
    Column("life", String(8), key="state", nullable=False),
    Column("source", Text, nullable=False, default=""),
    Column("as_of", String(64), nullable=False, default=""),
    Column("born_event_time", Float),
    Column("first_seen", Float, nullable=False),
    Column("missed_since", Float),
    Column("replaced", Integer, nullable=False, default=0),
    Column("ended_at", Float),
    Column("ledger_head", String(64)),
    Column("walk_head", String(64)),
    Column("walk_at", String(64)),
    Column("waited", Integer, nullable=False, default=0),
    Column("looked_last", Integer, nullable=False, default=0),
    Column("discovered_head", String(64)),
    Column("listed_at", Float),
    Column("suspected_at", Float),
    Column("unread", Text, nullable=False, default=""),
    UniqueConstraint("repository_id", "type", "name", "incarnation"),
)
"""`listed_at`: when lakeFS first listed this incarnation, by lakeFS's own clock. `suspected_at`: since when events say,
and lakeFS does not confirm, that it was deleted and created again. `unread`: its parent's tables, as JSON, that could
not be read when its mirrors were created.
"""

heads = Table(
    "heads",
    metadata,
    Column("ref_id", ForeignKey("refs.id"), primary_key=True),
    Column("commit", String(64), primary_key=True),
    Column("watermark", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("whole", Integer, nullable=False, default=1),
    Column("generation", Integer, nullable=False, default=0),
    Index(None, "commit"),
)
"""A ref's head and the newest version in force when its tables were read at it; `whole`: with all their partitions.

`generation`: lakeFS's count of the commit; 0 where it was not asked for.
"""

versions = Table(
    "versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ref_id", ForeignKey("refs.id"), nullable=False),
    Column("logical", String(400), nullable=False),
    Column("definition", String(64)),
    Column("parent1", ForeignKey("versions.id")),
    Column("parent2", ForeignKey("versions.id")),
    Column("commit", String(64), nullable=False),
    Column("seen_at", Float, nullable=False),
    Index(None, "ref_id", "logical"),
    Index(None, "logical"),
)
"""`definition` NULL: the table is absent."""

definitions = Table(
    "definitions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("header_hash", String(64), nullable=False),
    Column("header", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("partitions", Integer, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""Partition definitions as zlib-compressed JSON."""

mirrors = Table(
    "mirrors",
    metadata,
    Column("ref_id", ForeignKey("refs.id"), primary_key=True),
    Column("logical", String(400), primary_key=True),
    Column("physical", String(400), nullable=False),
    Column("rule", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("definition", String(64), nullable=False),
    Column("copy_of", String(400)),
    Column("as_of", String(64), nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("made_at", Float),
    Index(None, "physical"),
)
"""The mirrors of a ref, pinned when its creation was first planned."""

not_mirrored = Table(
    "not_mirrored",
    metadata,
    Column("ref_id", ForeignKey("refs.id"), primary_key=True),
    Column("logical", String(400), primary_key=True),
    Column("reason", Text, nullable=False),
)
"""The tables that its rule names and of which a ref has no mirror, as they are never mirrored; and why."""

readings = Table(
    "readings",
    metadata,
    Column("ref_id", ForeignKey("refs.id"), primary_key=True),
    Column("logical", String(400), primary_key=True),
    Column("definition", String(64), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("logged_at", BigInteger, nullable=False),
    Column("fingerprint", String(64), nullable=False),
)
"""What a table was, with all of its partitions, at an entry of the notification log; and what it was read by."""

merges = Table(
    "merges",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", ForeignKey("repositories.id"), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("destination_ref_id", ForeignKey("refs.id"), nullable=False),
    Column("parents", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("source", Text, nullable=False, default=""),
    Column("source_ref_id", ForeignKey("refs.id")),
    Column("source_commit", String(64), nullable=False, default=""),
    Column("strategy", Text, nullable=False, default=""),
    Column("committer", Text, nullable=False, default=""),
    Column("message", Text, nullable=False, default=""),
    Column("committed_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("seen_at", Float, nullable=False),
    Column("done_at", Float),
    Column("confirmed", Integer, nullable=False, default=1),
    UniqueConstraint("repository_id", "commit"),
)
"""The ledger. state: pending, source-unknown, started, partial (open for the tables that failed), done.

`confirmed`: lakeFS itself says what it was made from, or a person does; an event alone does not.
"""

merge_tables = Table(
    "merge_tables",
    metadata,
    Column("merge_id", ForeignKey("merges.id"), primary_key=True),
    Column("logical", String(400), primary_key=True),
    Column("change", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("done_at", Float),
    Column("error", Text),
)
"""The plan of one table of a merge, stored before anything is written. state: planned, done, conflict, failed.

One that failed may have no plan: `change` is empty then, and `error` says why.
"""

conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("merge_id", ForeignKey("merges.id"), nullable=False),
    Column("destination_ref_id", ForeignKey("refs.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("logical", String(400), nullable=False),
    Column("path", Text, nullable=False),
    Column("base", Text),
    Column("ours", Text),
    Column("theirs", Text),
    Column("reason", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    Column("found_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("resolution", String(12)),
    Column("choice", String(8)),
    Index(None, "state"),
)
"""state: open, resolved, superseded. choice: ours or theirs, once somebody chose; settled when all items are."""

plans = Table(
    "plans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("made_at", Float, nullable=False),
    Column("closed_at", Float),
)
"""Plans that wait for a person. kind: withheld, unsafe. state: waiting, applied, superseded."""

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("repository", String(64), nullable=False),
    Column("ref", Text, nullable=False),
    Column("logical", String(400), nullable=False),
    Column("physical", String(400), nullable=False),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("merge_id", Integer),
    Index(None, "repository", "logical"),
)

notices = Table(
    "notices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("help", Text, nullable=False),
    Column("ref_id", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Index(None, "repository"),
)
"""What a person should know of a repository, as of its last sync, and since when."""

pauses = Table(
    "pauses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rule", String(128)),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float),
    Column("ended_at", Float),
)
"""`rule` NULL: all rules. `until` NULL: until somebody resumes."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("holder", String(400), nullable=False),
    Column("token", Integer, nullable=False, default=0),
    Column("until", Float, nullable=False),
)
"""Who works on a repository, or leads, until when by the store's clock. The token grows with each new holder."""

sent = Table(
    "told",
    metadata,
    Column("channel", String(128), primary_key=True),
    Column("key", String(400), primary_key=True),
    Column("at", Float, nullable=False),
)
"""What was sent to a channel of notifications and still needs attention."""

cursors = Table(
    "cursors",
    metadata,
    Column("channel", String(128), primary_key=True),
    Column("history_id", Integer, nullable=False),
)
"""How far in the history a channel is."""

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session", String(64), primary_key=True),
    Column("until", Float, nullable=False),
)
"""Sessions of the status page that were logged out: the hash of each one's cookie, and when it would have ended."""
