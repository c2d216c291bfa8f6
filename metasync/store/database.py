"""Opening the database, migrating it, and the transactions that everything else uses."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import QueuePool

from metasync.errors import ConfigurationError, StoreRefused, StoreUnavailable
from metasync.store import schema

_PATIENCE = 30.0
_URGENT_PATIENCE = 3.0
"""Seconds that a statement waits for others; a webhook that cannot be stored must be refused in time."""


_IDLE_SECONDS = 10
"""How long PostgreSQL keeps the locks of a process that stopped in the middle of a transaction."""
_MIGRATING = 0x6D657461
_MIGRATIONS = Path(__file__).parent / "migrations"


class Fence(Protocol):
    """What stands between a holder whose lease is over and the store."""

    def prove(self, connection: Connection) -> None:
        """Raises LeaseLost, inside the transaction that is about to write, where the lease is another's by now."""
        ...


_FENCE: ContextVar[Fence | None] = ContextVar("fence", default=None)


class Database:
    """The store's connections: every statement runs in `transaction()`, or in `reading()` where it changes nothing."""

    def __init__(self, url: URL, clock: Callable[[], float] | None = None) -> None:
        self._engine = _engine(url, _PATIENCE)
        self._reader = self._engine.execution_options(reading=True)
        self._urgent = _engine(url, _URGENT_PATIENCE)
        self._clock = clock
        self.dialect = self._engine.dialect.name
        self.path = url.database if self.dialect == "sqlite" and url.database not in (None, "", ":memory:") else None
        self._writing = threading.Lock()
        self._current = False
        self._store_id = ""

    def now(self) -> float:
        """Unix seconds by this machine's clock: for what people read, never for leases."""
        return self._clock() if self._clock is not None else time.time()

    def now_of(self, connection: Connection) -> float:
        """Unix seconds by the clock that all who share the store share."""
        if self._clock is not None or self.dialect == "sqlite":
            return self.now()
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    @contextmanager
    def transaction(self, *, urgent: bool = False) -> Iterator[Connection]:
        """A transaction that commits at the end and is durable then.

        Raises StoreUnavailable where the database cannot be reached or is locked, StoreRefused where it will not take a
        value.

        Behind a fence, raises LeaseLost before anything is written. With `urgent`, gives up after some seconds.
        """
        fence = _FENCE.get()
        with self._turn(urgent), _failures(), (self._urgent if urgent else self._engine).begin() as connection:
            if fence is not None:
                fence.prove(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: no writer waits for it, nor it for any. Raises StoreUnavailable."""
        with _failures(), self._reader.connect() as connection:
            yield connection

    def store_id(self) -> str:
        """The id that the ownership marks carry; made once, when the store is."""
        if self._store_id:
            return self._store_id
        wanted = select(schema.settings.c.value).where(schema.settings.c.key == "store_id")
        with self.reading() as connection:
            found = connection.execute(wanted).scalar_one_or_none()
        if found is None:
            with self.transaction() as connection:
                found = connection.execute(wanted).scalar_one_or_none()
                if found is None:
                    found = uuid.uuid4().hex[:12]
                    connection.execute(insert(schema.settings).values(key="store_id", value=found))
        self._store_id = str(found)
        return self._store_id

    def server_time(self) -> float:
        """The database's own clock, in Unix seconds."""
        with self.reading() as connection:
            return self.now_of(connection)

    def is_current(self) -> bool:
        """Whether every migration has run. Raises StoreUnavailable where the database does not answer."""
        if not self._current:
            with self.reading() as connection:
                tables = inspect(connection).get_table_names()
                found = connection.exec_driver_sql("SELECT version_num FROM alembic_version") if tables else None
                self._current = found is not None and found.scalars().all() == [_newest_migration()]
        return self._current

    def probe(self) -> None:
        """Proves by a write that the store takes events. Raises StoreUnavailable: locked, full, read-only or away."""
        with self.transaction(urgent=True) as connection:
            probed = schema.settings.c.key == "probed_at"
            value = str(self.now())
            if connection.execute(schema.settings.update().where(probed).values(value=value)).rowcount == 0:
                connection.execute(insert(schema.settings).values(key="probed_at", value=value))

    def upgrade(self) -> None:
        """Runs the migrations that are missing. Raises StoreUnavailable."""
        if self.is_current():
            return
        # Takes its time to load, and mostly there is nothing to do.
        from alembic import command
        from alembic.util.exc import CommandError

        config = _alembic(self._engine)
        # SQLite rebuilds a table to change a column, which foreign keys would forbid where it has rows.
        engine = _engine(self._engine.url, _PATIENCE, foreign_keys=False)
        try:
            with engine.begin() as connection:
                if self.dialect == "postgresql":
                    # Replicas that start together migrate one after the other.
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _check_foreign_keys(connection)
        except CommandError as error:
            raise ConfigurationError(
                f"the store was migrated by a newer metasync ({error}): install that one, or restore a backup"
            ) from error
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the store could not be migrated: {_short(error)}") from error
        finally:
            engine.dispose()

    def close(self) -> None:
        self._engine.dispose()
        self._urgent.dispose()

    @contextmanager
    def _turn(self, urgent: bool) -> Iterator[None]:
        """SQLite takes one writer at a time: those of this process queue up here, instead of asking again and again."""
        if self.dialect != "sqlite":
            yield
            return
        if not self._writing.acquire(timeout=_URGENT_PATIENCE if urgent else _PATIENCE):
            raise StoreUnavailable("the store did not take a statement: another one takes too long")
        try:
            yield
        finally:
            self._writing.release()


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Until its end, every write of this thread, and of those that `engine.threads` starts from it, is fenced."""
    token = _FENCE.set(fence)
    try:
        yield
    finally:
        _FENCE.reset(token)


def current_fence() -> Fence | None:
    """The fence behind which this thread works."""
    return _FENCE.get()


def open_database(url: str, clock: Callable[[], float] | None = None, *, upgrade: bool = True) -> Database:
    """Opens the store at an SQLAlchemy URL and migrates it, unless `upgrade` is false.

    `clock`, in Unix seconds, stands in for the machine's and the database's. Raises ConfigurationError for a URL that
    cannot be used, StoreUnavailable where the database does not answer.
    """
    parsed = check_url(url)
    try:
        database = Database(parsed, clock)
    except NoSuchModuleError as error:
        raise ConfigurationError(f"store.url: {error}") from error
    if upgrade:
        database.upgrade()
    return database


def check_url(url: str) -> URL:
    """The URL of a store, with the driver that is used. Raises ConfigurationError for one that cannot be used."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not from the error, which quotes the URL.
        raise ConfigurationError("store.url is not an SQLAlchemy URL, for example sqlite:///metasync.db") from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and not Path(parsed.database).parent.is_dir():
            raise ConfigurationError(f"store.url: the folder of {parsed.database} does not exist")
    elif parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    else:
        raise ConfigurationError(f"store.url: {parsed.get_backend_name()} is not supported; use sqlite or postgresql")
    return parsed


def new_id(result: CursorResult[Any]) -> int:
    """The number of the row that an INSERT made."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def is_there(url: str) -> bool:
    """Whether a store was made already, as far as a file shows it. Raises ConfigurationError."""
    found = check_url(url)
    return found.get_backend_name() != "sqlite" or found.database in (None, "") or Path(str(found.database)).exists()


def insert_new(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves a row alone which is there already."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return make(table).on_conflict_do_nothing()


@contextmanager
def _failures() -> Iterator[None]:
    """Turns the database's errors into ours: what cannot be reached or is locked is an outage, all else a refusal."""
    try:
        yield
    except (DataError, IntegrityError, ProgrammingError, NotSupportedError, UnicodeError) as error:
        raise StoreRefused(f"the store refused a statement: {_short(error)}") from error
    except DBAPIError as error:
        raise StoreUnavailable(f"the store did not take a statement: {_short(error)}") from error
    except StatementError as error:
        # A value that the driver cannot send.
        raise StoreRefused(f"the store refused a statement: {_short(error)}") from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"the store did not take a statement: {_short(error)}") from error


def _check_foreign_keys(connection: Connection) -> None:
    """Raises StoreUnavailable where a migration left a row of SQLite without the one that it refers to."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise StoreUnavailable(f"the store could not be migrated: table {broken[0]} has rows that refer to nothing")


def _engine(url: URL, patience: float, *, foreign_keys: bool = True) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": patience}, poolclass=QueuePool, pool_timeout=patience)
        _prepare_sqlite(engine, foreign_keys)
        return engine
    connect_args = {"connect_timeout": int(patience)}
    engine = create_engine(url, pool_pre_ping=True, pool_timeout=patience, connect_args=connect_args)
    _prepare_postgresql(engine, patience)
    return engine


def _prepare_sqlite(engine: Engine, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # pysqlite begins late and as a reader; a writer that begins as a reader can fail without waiting for its turn.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _prepare_postgresql(engine: Engine, patience: float) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            # A commit that was answered is on the disk, whatever the server's default is.
            cursor.execute("SET synchronous_commit = on")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
            cursor.execute(f"SET lock_timeout = '{int(patience)}s'")
        connection.commit()


def _newest_migration() -> str:
    """The number of the newest migration, which its file's name begins with."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _alembic(engine: Engine) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", engine.url.render_as_string(hide_password=True).replace("%", "%%"))
    return config


def _short(error: Exception) -> str:
    """The database's own words, without the statement: its parameters may be anybody's data."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original).splitlines()[0] if str(original) else type(original).__name__
