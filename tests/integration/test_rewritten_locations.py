"""Databases within the warehouse of a 4.x metastore, which says that they lie in its external warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from metasync.sandbox.stack import Sandbox
from metasync.wiring import parts
from tests.conftest import SPARES, World, repositories
from tests.metastores.servers import chosen

WAREHOUSE, EXTERNAL = (f"s3a://{SPARES[0]}/dev-1/{name}" for name in ("wh", "external"))
REWRITING = {"metastore.warehouse.dir": WAREHOUSE, "metastore.warehouse.external.dir": EXTERNAL}


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One of the module's own, whose warehouse is where dev-1's mirrors are."""
    server = chosen()
    if server is None or server.version < "4":
        pytest.skip("only 4.x rewrites locations; METASYNC_TEST_SERVER names one (make test-metastores)")
    old_names = {f"hive.{name}": value for name, value in REWRITING.items()}
    server = replace(server, settings={**server.settings, **REWRITING, **old_names})
    with Sandbox(
        tmp_path_factory.mktemp("rewriting"), repositories(request.session), create=False, server=server
    ) as made:
        yield made


def test_a_rewritten_location_is_never_written_back(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    assert not world.sync().failures
    name = world.name("t", "dev-1").partition(".")[0]
    own = world.location("wh/db", "dev-1")
    assert place(world, name) == f"{EXTERNAL}/{name}.db", "this server rewrites"

    # The database of a branch off it lies on that branch, wherever the server says that this one lies.
    world.branch("dev-2", "dev-1")
    assert not world.sync().failures
    assert world.tables.table(world.name("t", "dev-2")).sd.location == world.location("wh/t", "dev-2")
    assert (place(world, name.replace("dev_1", "dev_2")) or "").startswith(world.location("", "dev-2"))

    world.lose_store()
    world.sync()
    with parts(world.settings()) as built:
        assert built.commands.adopter.adopt(world.repository)
    assert not world.sync().failures
    for made in (name, name.replace("dev_1", "dev_2")):
        found = world.tables.metastore.get_database(made)
        assert found is not None and found.parameters["metasync.store"]

    plain = {k: v for k, v in world.sandbox.metastore.server.settings.items() if "warehouse" not in k}
    world.sandbox.metastore.stop()
    world.sandbox.metastore.server = replace(world.sandbox.metastore.server, settings=plain)
    world.sandbox.metastore.start()
    assert place(world, name) == own, "what it has stored is where the database was made"


def place(world: World, database: str) -> str | None:
    """Where the server says that a database is."""
    found = world.tables.metastore.get_database(database)
    assert found is not None
    return found.location_uri
