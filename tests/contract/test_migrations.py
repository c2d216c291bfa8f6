"""Upgrading a store that holds rows, from every revision there was, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, MetaData, inspect, make_url, types
from sqlalchemy import create_engine as connect_to

from metasync.store import database as store
from metasync.store import open_database, schema
from tests.conftest import fresh_database

REVISIONS = sorted(path.name.partition("_")[0] for path in (store._MIGRATIONS / "versions").glob("[0-9]*.py"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return fresh_database(request.getfixturevalue("postgresql"), f"migrated{abs(hash(tmp_path)) % 10**9}")


def engine_of(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return connect_to(parsed)


def migrate(engine: Engine, revision: str) -> None:
    """What the metasync of that revision made."""
    config = store._alembic(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def fill(connection: Connection) -> dict[str, int]:
    """Two rows in every table, made by the schema as it stands; gives how many rows each table has."""
    reflected = MetaData()
    reflected.reflect(connection)
    for number in (1, 2):
        for table in reflected.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(table.insert().values({c.name: value_of(c, number) for c in table.columns}))
    return {t.name: len(connection.execute(t.select()).all()) for t in reflected.sorted_tables}


def value_of(column: Any, number: int) -> Any:
    if column.primary_key and isinstance(column.type, types.Integer):
        return number
    if column.foreign_keys:
        # A row may refer to itself, as a ref to its parent: every key has its row.
        return number
    if isinstance(column.type, types.LargeBinary):
        return b"x"
    if isinstance(column.type, types.Integer | types.Float | types.Numeric):
        return number
    return '["columns", "*"]' if column.name == "path" else f"{number}"


def described(connection: Connection) -> Any:
    """The tables with their columns, keys and indexes."""
    found = inspect(connection)
    return {
        name: {
            "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(name)},
            "key": found.get_pk_constraint(name),
            "foreign": sorted(found.get_foreign_keys(name), key=str),
            "unique": sorted(found.get_unique_constraints(name), key=str),
            "indexes": sorted(found.get_indexes(name), key=str),
        }
        for name in found.get_table_names()
    }


def differs(context: MigrationContext, _there: Any, _declared: Any, there: Any, declared: Any) -> bool | None:
    """Whether a column is of another type than the declared one; None leaves it to Alembic."""
    if not isinstance(declared, schema.String):
        return None
    return bool(there.compile(context.dialect) != declared.compile(context.dialect))


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_with_rows_of_any_revision_becomes_a_fresh_one_that_keeps_them(
    url: str, revision: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = engine_of(url)
    migrate(engine, revision)
    with engine.begin() as connection:
        before = fill(connection)
    open_database(url).close()
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    if url.startswith("postgresql"):
        fresh = fresh_database(request.getfixturevalue("postgresql"), f"fresh{abs(hash(tmp_path)) % 10**9}")
    open_database(fresh).close()
    with engine.connect() as connection, engine_of(fresh).connect() as other:
        after = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in before
        }  # fmt: skip
        assert after == before
        assert described(connection) == described(other)
        context = MigrationContext.configure(connection, opts={"compare_type": differs})
        assert compare_metadata(context, schema.metadata) == []
        paths = set(connection.exec_driver_sql("SELECT path FROM conflicts").scalars())
        assert paths == {'["columns", "ALL"]' if revision < "0006" else '["columns", "*"]'}


def test_an_upgrade_that_was_killed_half_way_is_run_again(url: str) -> None:
    migrate(engine_of(url), "0002")
    with engine_of(url).begin() as connection:
        before = fill(connection)
    dying = f"""
        import os
        from alembic import op
        from metasync.store import open_database
        real = op.create_table
        def die(name, *rest, **more):
            real(name, *rest, **more)
            if name == "told":
                os._exit(9)
        op.create_table = die
        open_database({url!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(dying)], check=False)
    assert killed.returncode == 9
    opened = open_database(url)
    assert opened.is_current()
    opened.close()
    with engine_of(url).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM refs").scalar_one() == before["refs"]
