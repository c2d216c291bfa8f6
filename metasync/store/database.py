"""Opening the database, migrating it, and the transactions that everything else uses."""

from __future__ import annotations

import fcntl
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from metasync.errors import ConfigurationError, StoreUnavailable
from metasync.store import schema

_BUSY_SECONDS = 30


class Database:
    """The store's connection: every statement runs in `transaction()`."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self.now = clock
        self.dialect = engine.dialect.name
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits at the end. Raises StoreUnavailable where the database fails."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the store did not take a statement: {_short(error)}") from error

    def store_id(self) -> str:
        """The id that the ownership marks carry; made once, when the store is."""
        with self.transaction() as connection:
            row = connection.execute(
                select(schema.settings.c.value).where(schema.settings.c.key == "store_id")
            ).one_or_none()
            if row is not None:
                return str(row.value)
            made = uuid.uuid4().hex[:12]
            connection.execute(insert(schema.settings).values(key="store_id", value=made))
            return made

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """A lock among all processes on this store, by name; it goes with the process that holds it, kill -9 or not."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if self.dialect == "postgresql":
                number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
                    try:
                        yield
                    finally:
                        connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
                return
            path = self._engine.url.database
            if not path or path == ":memory:":
                yield
                return
            with Path(f"{path}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    def is_current(self) -> bool:
        """Whether every migration has run. Raises StoreUnavailable where the database does not answer."""
        with self.transaction() as connection:
            current = MigrationContext.configure(connection).get_current_heads()
        return set(current) == set(ScriptDirectory.from_config(_alembic(self._engine)).get_heads())

    def upgrade(self) -> None:
        """Runs the migrations that are missing. Raises StoreUnavailable."""
        config = _alembic(self._engine)
        try:
            with self._engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the store could not be migrated: {_short(error)}") from error

    def close(self) -> None:
        self._engine.dispose()


def open_database(url: str, clock: Callable[[], float] = time.time, *, upgrade: bool = True) -> Database:
    """Opens the store at an SQLAlchemy URL and, unless told not to, migrates it.

    Raises ConfigurationError for a URL that cannot be used, StoreUnavailable where the database does not answer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("store.url is not an SQLAlchemy URL, for example sqlite:///metasync.db") from error
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and not Path(parsed.database).parent.is_dir():
            raise ConfigurationError(f"store.url: the folder of {parsed.database} does not exist")
        options = {"connect_args": {"timeout": _BUSY_SECONDS}, "poolclass": QueuePool}
    elif parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        options = {"pool_pre_ping": True}
    else:
        raise ConfigurationError(f"store.url: {parsed.get_backend_name()} is not supported; use sqlite or postgresql")
    try:
        engine = create_engine(parsed, **options)
    except NoSuchModuleError as error:
        raise ConfigurationError(f"store.url: {error}") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    database = Database(engine, clock)
    if upgrade:
        database.upgrade()
    return database


def new_id(result: CursorResult[Any]) -> int:
    """The number of the row that an INSERT made."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    # pysqlite begins late and as a reader; a writer that begins as a reader can fail without waiting for its turn.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None


def _alembic(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", engine.url.render_as_string(hide_password=True).replace("%", "%%"))
    return config


def _short(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement: its parameters may be anybody's data."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original).splitlines()[0] if str(original) else type(original).__name__
