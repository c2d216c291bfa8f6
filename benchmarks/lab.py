"""What the benchmarks stand on: a real metastore and a lakeFS, and the floor that a pass of metasync is held against.

The floor of a pass is the calls of that very pass, made again from the structs that it sent, on as many connections,
by a program that does nothing else: no lakeFS, no store, no conversion, no decision. Whether those calls are the least
that does the job is another question, so they are counted and printed.
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import stamina

sys.path.insert(0, str(Path(__file__).parents[1]))

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.metastore import Metastore, TableBuilder
from metasync.metastore import connection as connections
from metasync.metastore.builder import Blueprint
from metasync.metastore.collector import held_off
from metasync.model.hms import (
    Database,
    FieldSchema,
    Partition,
    SerDeInfo,
    StorageDescriptor,
    Table,
    TableName,
    TableType,
)
from metasync.sandbox.metastore import Server
from metasync.sandbox.stack import Sandbox
from metasync.sandbox.user import LakeUser
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.metastores.servers import chosen

# A metastore that is starting is asked until it answers: no news.
stamina.instrumentation.set_on_retry_hooks(())

REPOSITORY = "lake"
KEYS = (FieldSchema("day", "string"),)


@dataclass(frozen=True)
class Line:
    """One line of the table that `make bench` prints. Ratios are to the floor of the same run."""

    what: str
    ours: str
    floor: str
    reached: str
    wanted: str
    calls: str = ""

    def __str__(self) -> str:
        beside = f", floor {self.floor}" if self.floor != "-" else ""
        return f"{self.what}: {self.ours}{beside}; reached {self.reached}, to reach {self.wanted} ({self.calls})"


Call = tuple[int, str, tuple[Any, ...]]
"""Thread, method, arguments."""


@dataclass
class Calls:
    """The calls that a pass made, in the order in which they began."""

    made: list[Call] = field(default_factory=list)

    def __str__(self) -> str:
        counts = Counter(method for _, method, _ in self.made)
        return ", ".join(f"{count} {method}" for method, count in sorted(counts.items()))

    def least(self) -> Calls:
        """Without reads that ask what was asked before."""
        kept: list[Call] = []
        asked: set[tuple[str, str]] = set()
        for thread, method, arguments in self.made:
            if method.startswith("get_"):
                if (method, repr(arguments)) in asked:
                    continue
                asked.add((method, repr(arguments)))
            kept.append((thread, method, arguments))
        return Calls(kept)

    def steps(self) -> Iterator[list[list[Call]]]:
        """What came one after the other, each step the calls of threads that worked side by side."""
        main = threading.get_ident()

        def alone(call: Call) -> bool:
            # A database is made under a lock, and the others wait for it.
            return call[0] == main or call[1].endswith("_database")

        for one_by_one, some in itertools.groupby(self.made, key=alone):
            if one_by_one:
                yield [list(some)]
                continue
            threads: dict[int, list[Call]] = {}
            for call in some:
                threads.setdefault(call[0], []).append(call)
            yield list(threads.values())


class _Noting:
    """The bindings' client, which notes each call."""

    def __init__(self, client: Any, calls: Calls) -> None:
        self._client, self._calls = client, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name.startswith("_"):
            return found

        def call(*arguments: Any) -> Any:
            self._calls.made.append((threading.get_ident(), name, arguments))
            return found(*arguments)

        return call


@contextmanager
def noted(built: Parts) -> Iterator[Calls]:
    """Notes the calls that a metasync's parts make to the metastore, those on idle connections too."""
    calls = Calls()
    pool = built.metastore._pool
    real = pool.connection

    @contextmanager
    def connection(*, fresh: bool = False) -> Iterator[Any]:
        with real(fresh=fresh) as one:
            client, one.client = one.client, _Noting(one.client, calls)
            try:
                yield one
            finally:
                one.client = client

    pool.connection = connection  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        pool.connection = real  # type: ignore[method-assign]


class Lab:
    """A sandbox with one repository, and metasync's parts on a store of their own."""

    def __init__(self, sandbox: Sandbox, built: Parts, folder: Path) -> None:
        self.sandbox = sandbox
        self.built = built
        self.folder = folder
        self.metastore: Metastore = sandbox.table_user().metastore
        self.lake: LakeUser = sandbox.lake_user(REPOSITORY)

    def sync(self, *, full: bool = False) -> Result:
        result = self.built.controller.sync(Scope(REPOSITORY, full=full))
        assert not result.failures, result.failures
        return result

    def branch(self, name: str, source: str = "main") -> None:
        self.lake.create_branch(name, source)
        (self.sandbox.metastore.lake / REPOSITORY / name).mkdir(parents=True, exist_ok=True)

    def make_mirrored(self, partitions: int) -> None:
        """`sales.orders` of 20 columns on main, and its mirror on `dev-0`."""
        self.make_table("orders", 20, partitions)
        self.sync(full=True)
        self.branch("dev-0")
        self.sync()

    def end(self, *names: str) -> None:
        """Deletes branches and lets metasync drop their mirrors."""
        for name in names:
            self.lake.delete_branch(name)
        self.sync()

    def make_table(self, name: str, columns: int, partitions: int, database: str = "sales") -> Table:
        """A table of main: parquet, as many columns, partitioned by day, with the parameters that engines write."""
        where = f"s3a://{REPOSITORY}/main/{database}/{name}"
        if self.metastore.get_database(database) is None:
            self.metastore.create_database(
                Database(database, f"s3a://{REPOSITORY}/main/{database}"), f"s3a://{REPOSITORY}/main"
            )
        sd = StorageDescriptor(
            cols=tuple(FieldSchema(f"c_{n:02}", "bigint" if n % 2 else "string", f"the {n}th") for n in range(columns)),
            location=where,
            input_format="org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            output_format="org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            serde_info=SerDeInfo(serialization_lib="org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"),
        )  # fmt: skip
        facts = {"numFiles": "4", "totalSize": "1048576", "numRows": "1000", "rawDataSize": "4194304"}
        table = Table(
            database, name, sd, KEYS if partitions else (), {"EXTERNAL": "TRUE"}, TableType.EXTERNAL, owner="ana"
        )

        def days() -> Iterator[Partition]:
            for number in range(partitions):
                day = f"d{number:07}"
                yield Partition((day,), _at(sd, f"{where}/day={day}"), facts)

        TableBuilder(self.metastore).build(Blueprint(table, days, "benchmark", {}))
        return table

    def replay(self, calls: Calls) -> float:
        """Makes noted calls again, on as many connections; gives the seconds."""
        pool = connections.ConnectionPool(self.built.settings.metastore)
        steps = list(calls.steps())
        width = max(len(step) for step in steps)
        opened = [pool._open() for _ in range(width)]
        with held_off(), ThreadPoolExecutor(width) as workers:
            start = time.perf_counter()
            for step in steps:
                if len(step) == 1:
                    _again(opened[0].client, step[0])
                    continue
                for done in [workers.submit(_again, one.client, some) for one, some in zip(opened, step, strict=False)]:
                    done.result()
            passed = time.perf_counter() - start
        for one in opened:
            one.close()
        return passed


def _again(client: Any, calls: Sequence[Call]) -> None:
    for _, method, arguments in calls:
        try:
            getattr(client, method)(*arguments)
        except Exception as error:
            if type(error).__name__ not in ("NoSuchObjectException", "UnknownDBException"):
                raise


def _at(sd: StorageDescriptor, location: str) -> StorageDescriptor:
    return replace(sd, location=location)


@contextmanager
def lab(
    *,
    tables: str = "sales.*",
    branches: str = "dev-*",
    extra: str = "",
    server: Server | None = None,
    notification_log: bool = False,
    cores_apart: bool = False,
) -> Iterator[Lab]:
    """A running lab; with METASYNC_TEST_SERVER, on that version of the metastore.

    With `cores_apart`, neither metastore nor metasync takes the other's CPU, as they do on the cores of one machine.
    """
    with tempfile.TemporaryDirectory(prefix="metasync-bench-") as name:
        folder = Path(name)
        with Sandbox(folder / "sandbox", [REPOSITORY], server=server or chosen()) as sandbox:
            (sandbox.metastore.lake / REPOSITORY / "main").mkdir(parents=True, exist_ok=True)
            text = sandbox.configuration(store=f"sqlite:///{folder / 'metasync.db'}").partition("rules:")[0]
            if notification_log:
                uri = sandbox.metastore.uri
                text = text.replace(f"{{uris: [{uri}]}}", f"{{uris: [{uri}], notification_log: true}}")
                # Its tables are made when somebody asks for it, and nothing can be changed before.
                sandbox.table_user().metastore.log_position()
            text += (
                f"{extra}rules:\n  - name: dev\n    repository: {REPOSITORY}\n"
                f'    branches: ["{branches}"]\n    tables: ["{tables}"]\n'
            )
            with parts(parse_settings(text, "metasync.yaml", dict(os.environ))) as built:
                made = Lab(sandbox, built, folder)
                made.lake.write("main", "first")
                with _apart(made) if cores_apart else nullcontext():
                    yield made


CAN_BE_APART = hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1
APART = ", the metastore on cores of its own"


@contextmanager
def _apart(made: Lab) -> Iterator[None]:
    """The metastore on half of the cores and this process on the others, as if each had a machine. Linux only."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    process = made.sandbox.metastore._process
    assert half and process is not None
    for pid, some in ((process.pid, cores[:half]), (os.getpid(), cores[half:])):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), some)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


@dataclass
class Timed:
    """Seconds of ours and of the floor, turn by turn."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.floor)

    def line(self, what: str, wanted: str, calls: object = "") -> Line:
        return Line(
            what,
            seconds(statistics.median(self.ours)),
            seconds(statistics.median(self.floor)),
            f"{self.ratio:.2f}",
            wanted,
            str(calls),
        )


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def timed(do: Callable[[], object]) -> float:
    """How long it takes, in seconds; the collector starts each turn with nothing to do."""
    gc.collect()
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def drop_all(metastore: Metastore, database: str) -> None:
    """Drops every table of a database, metadata only."""
    for table in metastore.get_all_tables(database):
        metastore.drop_table(TableName(database, table))
