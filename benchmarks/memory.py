"""Peak memory while a table of very many partitions is created on a branch and merged back.

    python benchmarks/memory.py [--partitions 100000 1000000] [--real 0]

The headers are in a real metastore; the partitions come from a generated port that makes them as they are asked for,
as no metastore on one machine takes a million in reasonable time. `--real 100000` does the same on the real one. Each
count runs in a process of its own, whose peak resident set it is.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lab import Lab, Line, lab
from metasync import wiring
from metasync.metastore import ConnectionPool, Metastore
from metasync.model.hms import Partition, TableName

COUNT = 0
MAIN, MIRROR = TableName("sales", "orders"), TableName("sales__dev_0", "orders")
FACTS = {"numFiles": "4", "totalSize": "1048576", "numRows": "1000", "rawDataSize": "4194304"}
written: dict[tuple[TableName, str], Partition] = {}
"""What was changed after it was generated."""


class Generated(Metastore):
    """A metastore whose tables have as many partitions as are wanted."""

    def get_partition_names(self, name: TableName) -> tuple[str, ...]:
        return tuple(f"day=d{number:07}" for number in range(COUNT))

    def get_partitions(self, name: TableName, names: Sequence[str]) -> tuple[Partition, ...]:
        table = self.get_table(name)
        assert table is not None
        where = (table.sd.location or "").rstrip("/")
        return tuple(
            written.get((name, one))
            or Partition((one.removeprefix("day="),), replace(table.sd, location=f"{where}/{one}"), FACTS)
            for one in names
        )

    def add_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        self._may_write()

    def alter_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        self._may_write()
        if len(partitions) == 1:
            written[name, f"day={partitions[0].values[0]}"] = partitions[0]

    def copy_partition_statistics(self, *_: Any) -> None:
        """They have none."""


def born_and_merged(made: Lab, metastore: Metastore) -> None:
    """A partition is changed on the mirror by somebody who works on this metastore, and the change merged."""
    day = ["day=d0000000"]
    found = metastore.get_partitions(MIRROR, day)[0]
    metastore.alter_partitions(MIRROR, [replace(found, parameters={**found.parameters, "checked": "yes"})])
    made.lake.write("dev-0", "sales/orders/day=d0000000/more")
    made.lake.merge("dev-0")
    made.sync()
    merged = metastore.get_partitions(MAIN, day)[0]
    assert merged.parameters["checked"] == "yes" and "/main/" in (merged.sd.location or "")


def one(count: int, real: bool) -> None:
    """In a process of its own: prints the peak, in megabytes, and the seconds."""
    global COUNT  # noqa: PLW0603 - of this process
    start = time.perf_counter()
    if real:
        with lab() as made:
            made.make_mirrored(count)
            born_and_merged(made, made.metastore)
    else:
        COUNT = count
        wiring.Metastore = Generated  # type: ignore[misc]
        with lab() as made:
            made.make_mirrored(1)
            born_and_merged(made, Generated(ConnectionPool(made.built.settings.metastore)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} {time.perf_counter() - start:.0f}")


def peaks(counts: Sequence[int], real: int) -> list[Line]:
    lines = []
    for count, on_real in (*((count, False) for count in counts), *([(real, True)] if real else [])):
        command = [sys.executable, __file__, "--one", str(count), *(["--on-real"] if on_real else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, took = done.stdout.split()[-2:]
        kind = "on a real metastore" if on_real else "generated"
        what = f"peak memory, {count:,} partitions created and merged, {kind}"
        lines.append(Line(what, f"{peak} MB", "-", f"{peak} MB", "<= 300 MB", f"in {took} s"))
        print(f"  {lines[-1]}", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--one", type=int)
    parser.add_argument("--on-real", action="store_true")
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one, chosen.on_real)
    else:
        peaks(chosen.partitions, chosen.real)


if __name__ == "__main__":
    main()
