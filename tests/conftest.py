"""One real metastore and one lakeFS for the whole run; every test works in a repository and a database of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.stack import Sandbox
from metasync.sandbox.user import LakeUser, TableUser
from metasync.settings import Settings, parse_settings
from metasync.wiring import parts
from tests.metastores.servers import running, wanted

# As the service logs them: pretty tracebacks of every local variable take longer than what they are about.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
_numbers = itertools.count(1)
_RUN = time.time_ns() % 10**9
SPARES = tuple(f"spare{number}-{_RUN}" for number in range(3))
"""Repositories for tests that have no world of their own."""


def repositories(session: pytest.Session) -> tuple[str, ...]:
    """The names of all repositories of a run, one a test; a metastore has to know them when it starts."""
    worlds = sum("world" in getattr(item, "fixturenames", ()) for item in session.items)
    return (*SPARES, *(f"lake{number}-{_RUN}" for number in range(1, worlds + 1)))


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder, names = tmp_path_factory.mktemp("sandbox"), repositories(request.session)
    with running(wanted()) as server, Sandbox(folder, names, create=False, server=server) as made:
        yield made


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pgserver = pytest.importorskip("pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgresql"))
    yield server.get_uri()
    server.cleanup()


def fresh_database(uri: str, name: str) -> str:
    import psycopg

    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return uri.replace("/postgres?", f"/{name}?")


@dataclass
class World:
    """A repository `repository` with tables in `database`, people who work on them, and metasync's settings.

    `metastore` and `lakefs` are where metasync looks for the two, where something stands between.
    """

    sandbox: Sandbox
    folder: Path
    repository: str
    database: str
    lake: LakeUser
    tables: TableUser
    extra: str = ""
    rule: str = ""
    also: str = ""
    metastore: str = ""
    lakefs: str = ""

    def text(self) -> str:
        """The configuration file."""
        base = self.sandbox.configuration(
            store=f"sqlite:///{self.folder / 'metasync.db'}", listen=f"127.0.0.1:{free_port()}"
        )
        head = base.partition("rules:")[0]
        if self.metastore:
            head = head.replace(self.sandbox.metastore.uri, self.metastore)
        if self.lakefs:
            head = head.replace(self.sandbox.lakefs.url, self.lakefs)
        return head + (
            f"instance: t{self.database}\n{self.extra}"
            "rules:\n"
            "  - name: dev\n"
            f"    repository: {self.repository}\n"
            '    branches: ["dev*"]\n'
            '    tags: ["v*"]\n'
            f'    tables: ["{self.database}.*", {self.also}]\n{self.rule}'
        )

    def config(self) -> Path:
        path = self.folder / "metasync.yaml"
        path.write_text(self.text(), encoding="utf-8")
        return path

    def settings(self) -> Settings:
        return parse_settings(self.text(), "metasync.yaml", {})

    def sync(self, *, full: bool = True, **options: Any) -> Result:
        """One reconcile with parts of its own, as the command line does it."""
        with parts(self.settings()) as built:
            return built.controller.sync(Scope(self.repository, full=full), **options)

    def lose_store(self) -> None:
        """Deletes the store's files."""
        for file in self.folder.glob("metasync.db*"):
            file.unlink()

    def location(self, path: str, ref: str = "main") -> str:
        return f"s3a://{self.repository}/{ref}/{path}"

    def name(self, table: str, ref: str | None = None) -> str:
        """The physical name of a table on main, or of its mirror."""
        database = self.database if ref is None else f"{self.database}__{ref.replace('-', '_').replace('.', '_')}"
        return f"{database}.{table}"

    def create_table(self, table: str, columns: str = "id:bigint", keys: str = "", **parameters: str) -> None:
        pairs = [tuple(word.split(":")) for word in columns.split()]
        key_pairs = [tuple(word.split(":")) for word in keys.split()]
        where = self.location(f"wh/{table}")
        self.tables.create_table(self.name(table), where, pairs, key_pairs, **parameters)  # type: ignore[arg-type]

    def directories(self) -> set[str]:
        """Every directory of the mapped lake."""
        root = self.sandbox.metastore.lake / self.repository
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}

    def ref_root(self, ref: str) -> None:
        """A ref's root, and the database's folder with an object in it, are there on lakeFS's S3 gateway.

        The folders that stand for them must be too.
        """
        (self.sandbox.metastore.lake / self.repository / ref / "wh" / "db").mkdir(parents=True, exist_ok=True)

    def record_runs(self) -> None:
        """Has lakeFS record from now on which branches are created and deleted; nobody listens to its webhook."""
        events = "".join(f"  post-{event}-branch:\n" for event in ("create", "delete"))
        hook = "hooks:\n  - id: nobody\n    type: webhook\n    properties: {url: 'http://127.0.0.1:9/'}\n"
        self.lake.upload("main", "_lakefs_actions/runs.yaml", f"name: runs\non:\n{events}{hook}")
        self.lake.commit("main", "actions")

    def recreate(self, name: str, source: str = "main") -> float:
        """Deletes a branch and creates it again, in a later second than it was seen; gives when, by lakeFS's clock.

        Returns once lakeFS has recorded both: its runs are what metasync believes.
        """
        lakefs, start = self.lake.lakefs, time.time()
        until("a later second of lakeFS's", lambda: int(time.time()) > int(start) + 1)
        self.lake.delete_branch(name)
        # By its commit: lakeFS keeps what it read of a branch's action files for some seconds.
        self.branch(name, self.lake.head(source))

        def recorded() -> bool:
            runs = [run.event_type for run in lakefs.runs_of_branch(self.repository, name, start)]
            return {"post-delete-branch", "post-create-branch"} <= set(runs)

        until("lakeFS has recorded both", recorded)
        return time.time()

    def branch(self, name: str, source: str = "main") -> None:
        self.lake.create_branch(name, source)
        self.ref_root(name)

    def tag(self, name: str, ref: str = "main") -> None:
        self.lake.create_tag(name, ref)
        self.ref_root(name)


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path) -> World:
    number = next(_numbers)
    repository, database = f"lake{number}-{_RUN}", f"d{number}"
    made = World(sandbox, tmp_path, repository, database, sandbox.lake_user(repository), sandbox.table_user())
    made.lake.create_repository()
    made.ref_root("main")
    made.lake.write("main", "wh/keep", "wh/db/keep", message="first")
    made.tables.create_database(database, made.location("wh/db"))
    return made


def until(what: str, true: Callable[[], bool], patience: float = 60.0) -> None:
    """Waits for a condition; fails with its name."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        pause()
