"""metasync's own database: events, refs, the version graph, the ledger, plans and history.

SQLAlchemy Core on SQLite (WAL) or PostgreSQL; Alembic migrations. It knows how to keep and find things, and decides
nothing. Foreign errors leave as `StoreUnavailable`.
"""

from metasync.store.database import Database, open_database

__all__ = ["Database", "open_database"]
