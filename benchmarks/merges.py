"""A merge of one changed partition of a table that has many.

    python benchmarks/merges.py [--partitions 10000] [--turns 5] [--apart] [--log]

The floor: the names and the partitions of both sides, read side by side in batches as large as ours, and the one
write.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lab import APART, Call, Calls, Lab, Line, Timed, lab, noted, seconds, timed
from metasync.model.hms import TableName
from tests.metastores.postgresql import on_postgresql
from tests.metastores.servers import LOG, server

SOURCE, DESTINATION = TableName("sales__dev_0", "orders"), TableName("sales", "orders")
_AT_ONCE = 1000


def change(made: Lab, turn: int) -> None:
    """What a person does on the branch: one partition's parameter, a file, a commit, a merge."""
    found = made.metastore.get_partitions(SOURCE, [f"day=d{turn:07}"])[0]
    made.metastore.alter_partitions(SOURCE, [replace(found, parameters={**found.parameters, "checked": str(turn)})])
    made.lake.write("dev-0", f"sales/orders/day=d{turn:07}/more-{turn}")
    made.lake.merge("dev-0")


def floor(made: Lab, calls: Calls) -> float:
    """Both sides read, side by side as metasync does; then what was written."""
    asked: list[Call] = []
    reads: list[Call] = []
    for side, name in enumerate((SOURCE, DESTINATION)):
        names = made.metastore.get_partition_names(name)
        asked.append((side, "get_partition_names", (name.database, name.table, -1)))
        for start in range(0, len(names), _AT_ONCE):
            some = list(names[start : start + _AT_ONCE])
            reads.append((side, "get_partitions_by_names", (name.database, name.table, some)))
    writes = [call for call in calls.made if not call[1].startswith("get_")]
    assert [method for _, method, _ in writes] == ["alter_partitions_with_environment_context"], writes
    return made.replay(Calls(asked)) + made.replay(Calls(reads)) + made.replay(Calls(writes))


def one_of_many(partitions: int, count: int, *, cores_apart: bool = False) -> Line:
    times = Timed()
    with lab(cores_apart=cores_apart) as made:
        made.make_mirrored(partitions)
        for turn in range(count + 1):
            change(made, turn)
            with noted(made.built) as calls:
                ours = timed(made.sync)
            merged = made.metastore.get_partitions(DESTINATION, [f"day=d{turn:07}"])[0]
            assert merged.parameters["checked"] == str(turn)
            least = floor(made, calls)
            if turn:
                times.ours.append(ours)
                times.floor.append(least)
            print(f"  turn {turn}: {ours:.2f} s, floor {least:.2f} s", flush=True)
    where = APART if cores_apart else ""
    return times.line(f"merge of 1 changed partition of {partitions:,}{where}", "<= 1.15", calls)


def by_the_log(counts: Sequence[int], count: int) -> list[Line]:
    """The same where a log says what changed: on 3.1.3, whose listener Maven Central has, and on PostgreSQL.

    On Derby each entry of the log takes longer than the one before. Raises Missing.
    """
    with_log = server("3.1.3")
    with_log = replace(with_log, settings={**with_log.settings, **LOG})
    lines = []
    for partitions in counts:
        times: list[float] = []
        with (
            tempfile.TemporaryDirectory(prefix="metasync-log-") as folder,
            on_postgresql(with_log, Path(folder)) as started,
            lab(server=started, notification_log=True) as made,
        ):
            made.make_mirrored(partitions)
            for turn in range(count + 1):
                # The first merge from a mirror reads it in full; it is the warm-up.
                change(made, turn)
                with noted(made.built) as calls:
                    times.append(timed(made.sync))
                print(f"  turn {turn}: {times[-1]:.2f} s", flush=True)
        assert "get_partition_names" not in str(calls), "the log was not used"
        ours = seconds(statistics.median(times[1:]))
        what = f"merge of 1 changed partition of {partitions:,}, by the notification log"
        lines.append(Line(what, ours, "-", ours, "independent of the count", str(calls)))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--log", action="store_true")
    chosen = parser.parse_args()
    if chosen.log:
        print(*by_the_log([chosen.partitions // 10, chosen.partitions], chosen.turns), sep="\n")
    else:
        print(one_of_many(chosen.partitions, chosen.turns, cores_apart=chosen.apart))


if __name__ == "__main__":
    main()
