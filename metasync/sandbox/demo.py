"""The demo: metasync's main job in about a minute, narrated, every shown state read back from the real metastore."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from metasync.errors import MetasyncError
from metasync.lakefs.actions import action_file, install
from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.processes import end_with_parent
from metasync.sandbox.stack import Sandbox
from metasync.sandbox.user import LakeUser, TableUser

_PATIENCE = 60.0
_ACTIONS_CACHED = 8.0


class Surprise(Exception):
    """The demo saw something else than it announced."""


class Demo:
    """One showing on one sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._folder = folder
        self._port = free_port()
        self._sandbox = sandbox
        self._lake: LakeUser = sandbox.lake_user()
        self._tables: TableUser = sandbox.table_user()
        self._config = folder / "metasync.yaml"
        self._service: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        self._tell(f"lakeFS: {self._sandbox.lakefs.kind}")
        self._tell("metastore: Hive Metastore 2.3.9, a real one, on Derby")
        try:
            self._a_lake_with_tables()
            self._the_service()
            self._a_branch_and_a_tag()
            self._work_and_merge()
            self._a_conflict()
            self._the_end()
        finally:
            self._stop_service()

    def _a_lake_with_tables(self) -> None:
        self._title("A lake with two tables on main")
        lake, tables = self._lake, self._tables
        days = ("2024-01-01", "2024-01-02", "2024-01-03")
        lake.write(
            "main",
            *(f"wh/sales.db/orders/dt={day}/part-0.parquet" for day in days),
            "wh/sales.db/customers/part-0.parquet",
        )
        tables.create_database("sales", "s3a://lake/main/wh/sales.db")
        tables.create_table(
            "sales.orders", "s3a://lake/main/wh/sales.db/orders",
            [("id", "bigint"), ("amount", "decimal(10,2)")], [("dt", "string")], comment="one row an order",
        )  # fmt: skip
        tables.add_partitions("sales.orders", *((day,) for day in days))
        tables.create_table(
            "sales.customers", "s3a://lake/main/wh/sales.db/customers", [("id", "bigint"), ("name", "string")]
        )
        self._show("sales.orders")
        self._show("sales.customers")

    def _the_service(self) -> None:
        self._title("metasync serve, a process of its own, and lakeFS told to call it")
        text = self._sandbox.configuration(
            store=f"sqlite:///{self._folder / 'metasync.db'}", listen=f"127.0.0.1:{self._port}"
        )
        self._config.write_text(text, encoding="utf-8")
        log = (self._folder / "metasync.log").open("wb")
        self._service = subprocess.Popen(
            [sys.executable, "-m", "metasync", "--config", str(self._config), "serve"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread of ours forks
        )  # fmt: skip
        content = action_file(f"http://127.0.0.1:{self._port}", self._lake.lakefs.version())
        self._until("the service listens", lambda: self._metasync("status", check=False) == 0 and self._listens())
        self._tell(install(self._lake.lakefs, "lake", "main", content))
        self._tell("lakeFS keeps what it read of action files for some seconds; a moment, please")
        time.sleep(_ACTIONS_CACHED)  # lakeFS does not show when it reads them anew

    def _a_branch_and_a_tag(self) -> None:
        self._title("A branch dev-1 and a tag v1.0 appear, and their tables with them")
        before = self._directories()
        self._lake.create_branch("dev-1")
        self._lake.create_tag("v1.0")
        for name in ("sales__dev_1.orders", "sales__dev_1.customers", "sales__v1_0.orders", "sales__v1_0.customers"):
            self._until(f"{name} is there", partial(self._whole, name))
        self._show("sales__dev_1.orders")
        self._show("sales__v1_0.orders")
        location = self._tables.table("sales__dev_1.orders").sd.location
        self._expect("the mirror lies on the branch", location == "s3a://lake/dev-1/wh/sales.db/orders")
        self._expect("it has the partitions", len(self._tables.partitions("sales__dev_1.orders")) == 3)
        made = {d for d in self._directories() - before if not d.startswith(("dev-1", "v1.0"))}
        self._expect("lakeFS is untouched: nothing uncommitted", self._lake.uncommitted("dev-1") == [] and not made)

    def _work_and_merge(self) -> None:
        self._title("Somebody works on dev-1: a column, two days more; then merges")
        self._tables.add_column("sales__dev_1.orders", "channel", "string")
        days = ("2024-01-04", "2024-01-05")
        self._lake.write(
            "dev-1", *(f"wh/sales.db/orders/dt={day}/part-0.parquet" for day in days), message="two more days"
        )
        self._tables.add_partitions("sales__dev_1.orders", *((day,) for day in days))
        self._show("sales__dev_1.orders")
        self._tables.set_parameter("sales.orders", "owner.team", "sales")
        self._tell("meanwhile main's table got a property of its own: owner.team=sales")
        self._lake.merge("dev-1", message="bring it home")
        self._until("main has the column", lambda: "channel" in self._tables.columns("sales.orders"))
        self._until("main has the days", lambda: len(self._tables.partitions("sales.orders")) == 5)
        self._show("sales.orders")
        self._expect(
            "main's own property survived", self._tables.table("sales.orders").parameters.get("owner.team") == "sales"
        )
        location = self._tables.partition("sales.orders", "2024-01-05").sd.location
        self._expect("the new days lie on main", location == "s3a://lake/main/wh/sales.db/orders/dt=2024-01-05")

    def _a_conflict(self) -> None:
        self._title("Both sides change one thing: refused, and shown")
        self._tables.set_parameter("sales__dev_1.customers", "comment", "people, says dev-1")
        self._tables.set_parameter("sales.customers", "comment", "people, says main")
        self._lake.write("dev-1", "wh/sales.db/customers/part-1.parquet", message="customers")
        self._lake.merge("dev-1")
        self._until("the conflict is known", lambda: "comment" in self._metasync_output("conflicts"))
        self._console.print(Text(self._metasync_output("conflicts").rstrip()))
        comment = self._tables.table("sales.customers").parameters.get("comment")
        self._expect("main's table was not touched", comment == "people, says main")

    def _the_end(self) -> None:
        self._title("dev-1 is deleted, and its tables are gone; the tag's and main's stay")
        self._lake.delete_branch("dev-1")
        self._until("the branch's database is gone", lambda: "sales__dev_1" not in self._tables.databases())
        self._tell(f"databases: {', '.join(self._tables.databases())}")
        self._expect("the tag's tables stay", self._tables.tables("sales__v1_0") == ["customers", "orders"])
        self._expect("main's tables stay", self._tables.tables("sales") == ["customers", "orders"])
        self._console.print(Text(self._metasync_output("history").rstrip()))

    # Printing and checking

    def _title(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(f"== {text}", style="bold"))

    def _tell(self, text: str) -> None:
        self._console.print(Text(f"   {text}"))

    def _show(self, name: str) -> None:
        """A table as the metastore has it now."""
        table = self._tables.table(name)
        columns = ", ".join(f"{c.name} {c.type}" for c in table.sd.cols)
        self._console.print(Text(f"   {name}", style="cyan").append(f"  ({columns})", style=""))
        self._tell(f"  {table.table_type.lower()} at {table.sd.location}")
        if table.partition_keys:
            self._tell(f"  partitions: {', '.join('/'.join(values) for values in self._tables.partitions(name))}")

    def _until(self, what: str, true: Callable[[], bool]) -> None:
        start = time.monotonic()
        while not true():
            if time.monotonic() - start > _PATIENCE:
                raise Surprise(f"waited {_PATIENCE:.0f} s in vain: {what}")
            if self._service is not None and self._service.poll() is not None:
                raise Surprise(f"metasync serve has ended, while waiting: {what}")
            pause()
        self._console.print(Text("   ✓ ", style="green").append(f"{what} ({time.monotonic() - start:.1f} s)", style=""))

    def _expect(self, what: str, true: bool) -> None:
        if not true:
            raise Surprise(f"expected, and not so: {what}")
        self._console.print(Text("   ✓ ", style="green").append(what, style=""))

    def _whole(self, name: str) -> bool:
        return self._tables.exists(name) and "metasync.making" not in self._tables.table(name).parameters

    def _directories(self) -> set[str]:
        root = self._sandbox.metastore.lake / "lake"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}

    def _listens(self) -> bool:
        return b'"event": "serving"' in (self._folder / "metasync.log").read_bytes()

    def _metasync(self, *arguments: str, check: bool = True) -> int:
        command = [sys.executable, "-m", "metasync", "--config", str(self._config), *arguments]
        return subprocess.run(command, check=check, capture_output=True).returncode

    def _metasync_output(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "metasync", "--config", str(self._config), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout

    def _stop_service(self) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait(timeout=60)


def run_demo() -> int:
    """Runs the demo; 0 where everything was as announced."""
    console = Console(stderr=True, highlight=False)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="metasync-demo-") as folder:
        try:
            console.print("starting a metastore and a lakeFS on this machine ...")
            with Sandbox(None) as sandbox:
                Demo(sandbox, Path(folder)).run()
        except (Surprise, MetasyncError) as error:
            console.print(f"the demo failed: {error}")
            log = Path(folder) / "metasync.log"
            if log.exists():
                console.print(Text(log.read_text(errors="replace")[-6000:]))
            return 1
    console.print(f"done in {time.monotonic() - start:.0f} s; nothing is left running")
    return 0
