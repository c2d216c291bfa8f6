"""PostgreSQL, Hive metastores 3 and 4 and lakeFS as their makers ship them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from metasync.errors import MetasyncError
from metasync.lakefs import LakeFS
from metasync.lakefs.actions import action_file, install
from metasync.metastore import ConnectionPool, Metastore
from metasync.sandbox.user import LakeUser, TableUser
from metasync.settings.models import LakeFS as LakeFSSettings
from metasync.settings.models import Metastore as MetastoreSettings
from metasync.store import open_database
from tests.conftest import until

pytestmark = pytest.mark.docker
KEY, SECRET = "AKIATESTEXAMPLE", "test-secret-key"


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    docker = pytest.importorskip("docker")
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine: {error}")


def test_the_store_on_postgresql() -> None:
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer("postgres:16.4-bookworm") as server:
        database = open_database(server.get_connection_url().replace("+psycopg2", ""))
        assert database.is_current()
        database.probe()
        database.close()


@pytest.fixture(params=["3.1.3", "4.0.1"])
def metastore(request: pytest.FixtureRequest) -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(f"apache/hive:{request.param}").with_env("SERVICE_NAME", "metastore")
    with container.with_exposed_ports(9083) as server:
        uri = f"thrift://{server.get_container_host_ip()}:{server.get_exposed_port(9083)}"
        until("the metastore answers", lambda: _answers(uri), patience=180.0)
        yield uri


def _answers(uri: str) -> bool:
    metastore = Metastore(ConnectionPool(MetastoreSettings(uris=[uri])))
    try:
        metastore.ping()
    except MetasyncError:
        return False
    finally:
        metastore.close()
    return True


def test_the_adapter_on_hive(metastore: str) -> None:
    user = TableUser(metastore)
    user.create_database("sales", "file:///tmp/sales.db")
    user.create_table("sales.t", "file:///tmp/sales.db/t", [("id", "bigint")], [("dt", "string")])
    user.add_partitions("sales.t", ("1",), ("2",))
    assert user.partitions("sales.t") == [("1",), ("2",)]
    user.add_column("sales.t", "a", "string")
    assert user.columns("sales.t") == ["id", "a"]
    user.drop_table("sales.t")
    assert not user.exists("sales.t")


@pytest.fixture
def lakefs() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer("treeverse/lakefs:1.84.0").with_command("run")
    settings: dict[str, Any] = {
        "LAKEFS_DATABASE_TYPE": "local",
        "LAKEFS_BLOCKSTORE_TYPE": "local",
        "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": "test",
        "LAKEFS_INSTALLATION_USER_NAME": "admin",
        "LAKEFS_INSTALLATION_ACCESS_KEY_ID": KEY,
        "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": SECRET,
        "LAKEFSACTION_METASYNC_TOKEN": "token",
    }
    for name, value in settings.items():
        container = container.with_env(name, value)
    with container.with_exposed_ports(8000) as server:
        yield f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8000)}"


def test_the_adapter_and_the_action_file_on_lakefs(lakefs: str, tmp_path: Path) -> None:
    adapter = LakeFS(LakeFSSettings(endpoint_url=lakefs, access_key_id=KEY, secret_access_key=SecretStr(SECRET)))
    deadline = time.monotonic() + 120
    while True:
        try:
            version = adapter.version()
            break
        except MetasyncError:
            assert time.monotonic() < deadline
    user = LakeUser(lakefs, KEY, SECRET, "lake")
    user.create_repository()
    user.write("main", "wh/t/f", message="first")
    user.create_branch("dev-1")
    assert {ref.name for ref in adapter.list_refs("lake")} == {"main", "dev-1"}
    assert [commit.parents for commit in adapter.first_parents("lake", "main")][-1] == ()
    assert "committed" in install(adapter, "lake", "main", action_file("http://metasync:8765", version))
