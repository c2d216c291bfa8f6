"""From an accepted event to a visible mirror: a branch is made, its webhook is sent to a `metasync serve`.

    python benchmarks/events.py [--turns 5]

The floor: the calls of such a creation, made again by themselves.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lab import REPOSITORY, Lab, Line, drop_all, lab, noted
from benchmarks.webhook import wait_for
from metasync.model.hms import TableName, TableType
from metasync.model.marks import MAKING
from metasync.sandbox.metastore import free_port
from metasync.sandbox.stack import TOKEN
from metasync.store import open_database
from metasync.store.database import Database
from metasync.store.schema import mirrors


def send(port: int, branch: str, commit: str) -> float:
    """The webhook of a new branch; gives the time at which it was accepted."""
    event = {
        "event_type": "post-create-branch", "event_time": "2026-11-22T17:10:43Z", "action_name": "metasync",
        "hook_id": "notify", "repository_id": REPOSITORY, "branch_id": branch, "source_ref": "main",
        "commit_id": commit,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/hooks/lakefs", json.dumps(event).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
    return time.perf_counter()


def until_made(database: Database, name: TableName) -> float:
    """Waits for the service's own note that it is done: asking the metastore meanwhile would be in its way."""
    made = select(mirrors.c.made_at).where(mirrors.c.physical == str(name), mirrors.c.made_at.is_not(None))
    while True:
        with database.reading() as connection:
            if connection.execute(made).one_or_none() is not None:
                return time.perf_counter()
        time.sleep(0.004)


def bare(made: Lab, count: int) -> list[float]:
    """The calls of a creation of a like table, of a rule and an instance of the floor's own."""
    times = []
    for turn in range(count + 1):
        made.branch(f"dev-floor-{turn}")
        with noted(made.built) as calls:
            made.sync()
        mirrors = f"bare__dev_floor_{turn}"
        drop_all(made.metastore, mirrors)
        made.metastore.drop_empty_database(mirrors)
        times.append(made.replay(calls.least()))
        made.end(f"dev-floor-{turn}")
    return times[1:]


def accepted_to_visible(count: int) -> Line:
    with lab(tables="bare.*", branches="dev-floor-*", extra="instance: floor\n") as made:
        made.make_table("orders", 8, 0, "bare")
        made.make_table("orders", 8, 0, "sales")
        made.sync(full=True)
        port = free_port()
        config = made.folder / "serve.yaml"
        text = made.sandbox.configuration(
            store=f"sqlite:///{made.folder / 'serve.db'}", listen=f"127.0.0.1:{port}"
        ).replace('["dev-*"]', '["dev-*", "!dev-floor-*"]')
        config.write_text(f"logging: {{level: error}}\nevents: {{poll: {{interval: 1h}}}}\n{text}", encoding="utf-8")
        with (made.folder / "serve.log").open("wb") as log:
            command = [sys.executable, "-m", "metasync", "-c", str(config), "serve"]
            service = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(port, "/readyz")
            head, database = made.lake.head("main"), open_database(f"sqlite:///{made.folder / 'serve.db'}")
            ours = []
            for turn in range(count + 1):
                made.branch(f"dev-{turn}")
                accepted = send(port, f"dev-{turn}", head)
                mirror = TableName(f"sales__dev_{turn}", "orders")
                ours.append(until_made(database, mirror) - accepted)
                found = made.metastore.get_table(mirror)
                assert found is not None and found.table_type == TableType.EXTERNAL and MAKING not in found.parameters
                print(f"  turn {turn}: visible after {ours[-1] * 1000:.0f} ms", flush=True)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=60)
        floor = bare(made, count)
    mine, least = statistics.median(ours[1:]), statistics.median(floor)
    return Line(
        "event accepted -> small mirror visible",
        f"{mine * 1000:.0f} ms",
        f"{least * 1000:.0f} ms",
        f"+{(mine - least) * 1000:.0f} ms",
        "<= floor + 50 ms",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    print(accepted_to_visible(parser.parse_args().turns))


if __name__ == "__main__":
    main()
