"""A dbt project on two branches, one after the other: what each run makes anew is main's after the merge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metasync.planning.table_type import deletes_data
from metasync.sandbox.stack import Sandbox
from tests.clients.conftest import Lakehouse, java_home, spark_settings
from tests.conftest import repositories
from tests.metastores.servers import JARS

pytestmark = [
    pytest.mark.clients,
    pytest.mark.metastore,
    # Foreign code's own warnings.
    pytest.mark.filterwarnings("default"),
]
PROJECT = Path(__file__).parent / "dbt"
PACKAGES = ("dbt-core==1.10.*", "dbt-spark[session]==1.9.*", "pyspark==3.5.*")
Dbt = Callable[..., None]


@pytest.fixture(scope="session")
def dbt_program() -> Path:
    """dbt in an environment of its own, as its dependencies are not ours."""
    home = JARS / "dbt"
    program, done = home / "bin" / "dbt", home / ".complete"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if not done.exists():
        if uv is None:
            pytest.skip("uv installs dbt, and is not there")
        for command in ([uv, "venv", "-q", "--clear", str(home)], [uv, "pip", "install", "-q", *PACKAGES]):
            made = subprocess.run(
                command, env=os.environ | {"VIRTUAL_ENV": str(home)}, capture_output=True, text=True, check=False
            )
            if made.returncode != 0:
                pytest.skip(f"dbt cannot be installed here: {made.stderr[-300:]}")
        done.touch()
    return program


@pytest.fixture
def dbt(request: pytest.FixtureRequest, dbt_program: Path, sandbox: Sandbox, tmp_path: Path) -> Dbt:
    """Runs dbt on a schema, in a Spark of its own."""
    settings = spark_settings(sandbox, repositories(request.session), tmp_path)
    lines = "".join(f"{key} {value}\n" for key, value in settings.items())
    (tmp_path / "spark-defaults.conf").write_text(lines, encoding="utf-8")
    project = shutil.copytree(PROJECT, tmp_path / "project")

    def run(verb: str, schema: str, **variables: str | int) -> None:
        command = [str(dbt_program), "--no-use-colors", verb, "--vars", json.dumps(variables)]
        environment = os.environ | {
            "DBT_SCHEMA": schema, "DBT_PROFILES_DIR": str(project), "JAVA_HOME": java_home(),
            "SPARK_CONF_DIR": str(tmp_path), "SPARK_LOCAL_IP": "127.0.0.1",
            "PATH": f"{dbt_program.parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    return run


def test_two_branches_of_a_project(lakehouse: Lakehouse, dbt: Dbt) -> None:
    world = lakehouse.world
    world.rule = "    merge: full\n"
    lakehouse.sql(f"CREATE TABLE {world.name('raw')} (id bigint) USING parquet")

    def rows(table: str, ref: str | None = None) -> list[tuple[object, ...]]:
        lakehouse.session.catalog.refreshTable(lakehouse.table(table, ref))
        return sorted(lakehouse.sql(f"SELECT * FROM {lakehouse.table(table, ref)}"), key=str)

    for number, count in enumerate((4, 6), start=1):
        ref = f"dev-{number}"
        lakehouse.branch(ref)
        before = lakehouse.files("main")
        schema = f"{world.database}__{ref.replace('-', '_')}"
        for run in ("first", "second"):
            dbt("build", schema, run=f"{ref} {run}", rows=count)
        assert lakehouse.files("main") == before
        made = {table: rows(table, ref) for table in ("countries", "orders", "log", "by_country")}
        assert len(made["orders"]) == 2 * count and len(made["log"]) == 2 * number
        lakehouse.merge(ref)
        assert {table: rows(table) for table in made} == made
        # Managed ones; on 4.x, external ones that purge.
        assert all(deletes_data(world.tables.table(world.name(table))) for table in made)
        assert not world.lake.uncommitted(ref)
    dbt("test", world.database, run="after", rows=6)
