"""Creations: one table of many partitions, and many small tables.

python benchmarks/creations.py [--partitions 10000] [--tables 500] [--turns 5] [--apart]

`--apart` gives the metastore cores of its own while the small tables are created.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lab import APART, Calls, Lab, Line, Timed, drop_all, lab, noted, timed


def turns(made: Lab, count: int) -> tuple[Timed, Calls]:
    """Creations of one branch after another, each followed by its calls made again; the first turn is the warm-up."""
    times = Timed()
    for turn in range(count + 1):
        name = f"dev-{turn}"
        made.branch(name)
        with noted(made.built) as made_calls:
            ours = timed(made.sync)
        mirrors = f"sales__dev_{turn}"
        there = made.metastore.get_all_tables(mirrors)
        drop_all(made.metastore, mirrors)
        made.metastore.drop_empty_database(mirrors)
        floor = made.replay(made_calls.least())
        assert made.metastore.get_all_tables(mirrors) == there
        made.end(name)
        if turn:
            times.ours.append(ours)
            times.floor.append(floor)
        print(f"  turn {turn}: {ours:.2f} s, floor {floor:.2f} s", flush=True)
    return times, made_calls


def one_large(partitions: int, count: int) -> Line:
    with lab() as made:
        made.make_table("orders", 20, partitions)
        made.sync(full=True)
        times, calls = turns(made, count)
    return times.line(f"creation of one table, {partitions:,} partitions x 20 columns", "<= 1.10", calls)


def many_small(tables: int, count: int, *, cores_apart: bool = False) -> Line:
    with lab(cores_apart=cores_apart) as made:
        for number in range(tables):
            made.make_table(f"t{number:04}", 8, 0)
        made.sync(full=True)
        times, calls = turns(made, count)
    where = APART if cores_apart else ""
    return times.line(f"creation of {tables} small tables on one ref{where}", "<= 1.15", calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--tables", type=int, default=500)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--apart", action="store_true")
    chosen = parser.parse_args()
    for line in (
        *([one_large(chosen.partitions, chosen.turns)] if chosen.partitions else []),
        *([many_small(chosen.tables, chosen.turns, cores_apart=chosen.apart)] if chosen.tables else []),
    ):
        print(line)


if __name__ == "__main__":
    main()
