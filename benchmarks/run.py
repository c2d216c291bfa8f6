"""`make bench`: every line of docs/performance.md's table, measured now, on this machine.

    python -m benchmarks.run [--quick] [--only creations reconcile merges log events memory webhooks]

`--quick` measures less: fewer partitions and tables, fewer turns.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks import creations, events, memory, merges, reconcile
from benchmarks.lab import CAN_BE_APART, Line
from tests.metastores.servers import Missing

_APART = (False, True) if CAN_BE_APART else (False,)
Measure = Callable[[bool], Sequence[Line]]


def _creations(quick: bool) -> Sequence[Line]:
    large, small, turns = (2_000, 100, 2) if quick else (10_000, 500, 5)
    return creations.one_large(large, turns), *(creations.many_small(small, turns, cores_apart=a) for a in _APART)


def _reconcile(quick: bool) -> Sequence[Line]:
    return (reconcile.nothing_to_do(*((400, 20, 2) if quick else (2_000, 20, 5))),)


def _merges(quick: bool) -> Sequence[Line]:
    partitions, turns = (2_000, 2) if quick else (10_000, 5)
    return [merges.one_of_many(partitions, turns, cores_apart=a) for a in _APART]


def _log(quick: bool) -> Sequence[Line]:
    return merges.by_the_log((500, 2_000) if quick else (1_000, 10_000), 2 if quick else 5)


def _events(quick: bool) -> Sequence[Line]:
    return (events.accepted_to_visible(2 if quick else 5),)


def _memory(quick: bool) -> Sequence[Line]:
    return memory.peaks((10_000, 100_000) if quick else (100_000, 1_000_000), 0 if quick else 100_000)


MEASURES: dict[str, Measure] = {
    "creations": _creations,
    "reconcile": _reconcile,
    "merges": _merges,
    "log": _log,
    "events": _events,
    "memory": _memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=MEASURES, default=list(MEASURES))
    chosen = parser.parse_args()
    lines: list[Line] = []
    for name in chosen.only:
        print(f"{name}:", flush=True)
        try:
            lines += MEASURES[name](chosen.quick)
        except Missing as error:
            print(f"  not measured: {error}", flush=True)
    table = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}, medians after a warm-up")
    for heading in ("what", "metasync", "floor", "reached", "to reach"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(line.what, line.ours, line.floor, line.reached, line.wanted)
    console = Console(width=120)
    console.print(table)
    for line in lines:
        if line.calls:
            console.print(f"[bold]{line.what}[/bold]: {line.calls}", highlight=False)


if __name__ == "__main__":
    main()
