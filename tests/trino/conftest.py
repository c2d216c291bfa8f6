"""A Trino on the sandbox's metastore; a lake is folders here, one a ref, as lakeFS's S3 gateway shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from metasync.sandbox.stack import Sandbox
from tests.clients.conftest import Lakehouse, mounts
from tests.conftest import World, repositories
from tests.metastores.servers import Missing, jars, java_version

HERE = Path(__file__).parent
_JAVA = 25
_OPTIONS = (
    "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "--add-modules=jdk.incubator.vector",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow", "-Djdk.attach.allowAttachSelf=true",
)  # fmt: skip


class TrinoError(Exception):
    """What Trino refuses: its error's name, and what it says."""


@dataclass
class Trino:
    """A running server."""

    url: str

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement. Raises TrinoError."""
        answer = self._ask(urllib.request.Request(f"{self.url}/v1/statement", data=statement.encode(), method="POST"))
        rows: list[tuple[Any, ...]] = []
        while True:
            if "error" in answer:
                raise TrinoError(f"{answer['error']['errorName']}: {answer['error']['message']}")
            rows += [tuple(row) for row in answer.get("data", ())]
            if "nextUri" not in answer:
                return rows
            answer = self._ask(urllib.request.Request(answer["nextUri"]))

    def _ask(self, request: urllib.request.Request) -> dict[str, Any]:
        for key, value in (("User", "metasync"), ("Catalog", "hive"), ("Time-Zone", "UTC")):
            request.add_header(f"X-Trino-{key}", value)
        with urllib.request.urlopen(request, timeout=120) as response:
            return dict(json.load(response))


@pytest.fixture(scope="session")
def trino(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trino]:
    java = _java()
    if java is None:
        pytest.skip(f"Trino needs a JDK {_JAVA}: set JAVA{_JAVA}_HOME")
    try:
        libraries = jars(HERE / "trino-483")
    except Missing as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("trino")
    (folder / "core-site.xml").write_text(_site(sandbox, repositories(request.session)), encoding="utf-8")
    catalog = {
        "hive.metastore": "thrift",
        "hive.metastore.uri": sandbox.metastore.uri,
        "hive.metastore-cache-ttl": "0s",
        "hive.non-managed-table-writes-enabled": "true",
        # On an object store Trino writes where a table lies; staged below it, folders of it get in each other's way.
        "hive.temporary-staging-directory-enabled": "false",
        "fs.hadoop.enabled": "true",
        "hive.config.resources": str(folder / "core-site.xml"),
    }
    lines = "".join(f"{key}={value}\n" for key, value in catalog.items())
    (folder / "hive.properties").write_text(lines, encoding="utf-8")
    command = [
        str(java), *_OPTIONS, "-cp", f"{libraries}/*", str(HERE / "TrinoOnMetastore.java"),
        str(folder / "data"), str(folder / "hive.properties"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert server.stdin is not None and server.stdout is not None
        try:
            found = (line for line in server.stdout if line.startswith("listening "))
            url = next(found, "").removeprefix("listening ").strip()
            assert url, (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
            yield Trino(url)
        finally:
            server.stdin.close()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _site(sandbox: Sandbox, names: list[str]) -> str:
    view = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
    values = {
        "fs.s3a.impl": view,
        "fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        **mounts(sandbox, names),
    }
    rows = "".join(
        f"<property><name>{escape(key)}</name><value>{escape(value)}</value></property>\n"
        for key, value in values.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{rows}</configuration>\n'


def _java() -> Path | None:
    """A Java that runs this Trino, and that compiles its launcher."""
    homes = [Path(home) for name in (f"JAVA{_JAVA}_HOME", "JAVA_HOME") if (home := os.environ.get(name))]
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    found = [home / "bin" / "java" for home in homes if (home / "bin" / "javac").exists()]
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    return next((java for java in found if java_version(java) >= _JAVA), None)


class TrinoLakehouse(Lakehouse):
    """Trino and lakeFS in one hand."""

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        return list(self.session.sql(text))

    def forget(self) -> None:
        """Nothing is kept: the catalog caches no metadata."""


@pytest.fixture
def lakehouse(world: World, trino: Trino) -> TrinoLakehouse:
    return TrinoLakehouse(world, trino)
