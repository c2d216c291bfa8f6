"""A full reconcile with nothing to do: as many tables on as many refs.

python benchmarks/reconcile.py [--tables 2000] [--refs 20] [--turns 5]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lab import Line, Timed, lab, noted, timed


def nothing_to_do(tables: int, refs: int, count: int) -> Line:
    times = Timed()
    with lab() as made:
        for number in range(tables // refs):
            made.make_table(f"t{number:04}", 8, 0)
        for number in range(refs):
            made.branch(f"dev-{number}")
        while made.sync(full=True).outcomes:
            pass
        for turn in range(count + 1):
            with noted(made.built) as calls:
                ours = timed(lambda: made.sync(full=True))
            floor = made.replay(calls.least())
            if turn:
                times.ours.append(ours)
                times.floor.append(floor)
            print(f"  turn {turn}: {ours:.2f} s, floor {floor:.2f} s", flush=True)
    return times.line(f"reconcile with nothing to do, {tables:,} tables on {refs} refs", "<= 1.20", calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--refs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    print(nothing_to_do(chosen.tables, chosen.refs, chosen.turns))


if __name__ == "__main__":
    main()
