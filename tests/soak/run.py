"""The whole of it: sets up, lets people and chaos loose for a while, lets all settle, and looks.

    python -m tests.soak.run --seconds 600 --seed 1

Two replicas of `metasync serve` share a real PostgreSQL; a real metastore; lakeFS, or the stand-in for it. Exit 0 where
every invariant holds; else 1, and the folder with all logs is kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from metasync.lakefs.actions import action_file, install
from metasync.model.hms import TableName
from metasync.sandbox.stack import Sandbox
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.conftest import fresh_database
from tests.faults.hooks import HookProxy
from tests.faults.http import HttpProxy
from tests.replicas import Replica
from tests.soak.chaos import Chaos
from tests.soak.checks import Checks, directories, snapshot
from tests.soak.model import POISONED, Lake
from tests.soak.people import People

LEASE = 4.0
SETTLING = 120.0
"""Seconds without anything done, after which what is not right is wrong."""


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int) -> None:
        import pgserver

        self.folder, self.seed = folder, seed
        self.dice = random.Random(seed)
        names = ("soak-a", "soak-b")
        self.written_over: set[str] = set()
        self.sandbox = Sandbox(folder / "sandbox", names, create=False)
        self.lakes = [Lake(name, f"s{name[-1]}") for name in names]
        self.postgresql = pgserver.get_server(folder / "postgresql")
        self.url = fresh_database(self.postgresql.get_uri(), "soak")

    def __enter__(self) -> Soak:
        self.sandbox.__enter__()
        self.people = [People(self.sandbox, lake, random.Random(self.dice.getrandbits(32))) for lake in self.lakes]
        for one in self.people:
            one.prepare()
        self.lakefs = HttpProxy(self.sandbox.lakefs.url)
        port = self.sandbox.metastore.port
        self.replicas = [Replica(name, self.folder, self.configuration(), port) for name in ("one", "two")]
        targets = [f"http://127.0.0.1:{replica.port}" for replica in self.replicas]
        self.hooks = HookProxy(self.dice.getrandbits(32), targets)
        for one in self.people:
            content = action_file(self.hooks.url, one.users.lakefs.version())
            install(one.users.lakefs, one.lake.repository, "main", content)
        self.chaos = Chaos(
            self.replicas, self.lakefs, self.hooks, self.url, LEASE, self.dice.getrandbits(32), self.lakes,
            self.sandbox.token,
        )  # fmt: skip
        self.foreign = self.make_foreign()
        self.before = snapshot(self.tables, self.foreign)
        for replica in self.replicas:
            replica.launch()
        for replica in self.replicas:
            replica.wait()
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.close()
        self.hooks.close()
        self.lakefs.close()
        self.sandbox.stop()
        self.postgresql.cleanup()

    @property
    def tables(self) -> Any:
        return self.people[0].tables

    def configuration(self) -> str:
        lakefs = self.sandbox.lakefs
        rules = "".join(
            f"  - {{name: {lake.database}, repository: {lake.repository}, branches: ['dev-*'], tags: ['v*'], "
            f"tables: ['{lake.database}.*']}}\n"
            for lake in self.lakes
        )
        return (
            f"instance: soak\nlakefs: {{endpoint_url: {self.lakefs.url}, access_key_id: {lakefs.access_key_id}, "
            f"secret_access_key: {lakefs.secret_access_key}, timeout: 2s}}\n"
            f"metastore: {{uris: [METASTORE], read_timeout: 20s}}\n"
            f"store: {{url: '{self.url}', lease: {LEASE:.0f}s}}\n"
            f"server: {{listen: 'LISTEN', token: {self.sandbox.token}}}\n"
            "events: {poll: {interval: 3s}, retry_delay: 500ms}\nreconcile: {schedule: '* * * * *'}\n"
            f"safety: {{max_ref_drops: 1000, max_ref_drop_share: 1.0}}\nrules:\n{rules}"
        )

    def parts(self) -> Parts:
        text = self.configuration().replace("METASTORE", self.sandbox.metastore.uri).replace("LISTEN", "127.0.0.1:1")
        text = text.replace(self.lakefs.url, self.sandbox.lakefs.url)
        return parts(parse_settings(text, "soak.yaml", {}))  # type: ignore[return-value]

    def make_foreign(self) -> list[str]:
        """Tables that are nobody's business: beside the mirrors, at a mirror's name, and with copied marks."""
        made = []
        for lake in self.lakes:
            database = f"{lake.database}__dev_taken"
            root = f"s3a://{lake.repository}/main"
            self.tables.create_database(database, f"{root}/elsewhere")
            for name in ("t0", "mine"):
                self.tables.create_table(f"{database}.{name}", f"{root}/elsewhere/{name}", [("x", "int")])
                made.append(f"{database}.{name}")
            copied = self.tables.table(f"{database}.mine")
            marks = {"metasync.instance": "soak", "metasync.name": "sa__dev_1.t0", "metasync.ref": "branch/dev-1"}
            self.tables.metastore.create_table(
                replace(copied, name="copied", parameters={**copied.parameters, **marks})
            )
            made.append(str(TableName(database, "copied")))
        return made

    def let_loose(self, seconds: float) -> None:
        end, mishap, told = time.monotonic() + seconds, 0.0, time.monotonic()
        self.seen: set[str] = set()
        while time.monotonic() < end:
            self.dice.choice(self.people).do()
            self.chaos.mend()
            if time.monotonic() > mishap:
                self.chaos.do()
                mishap = time.monotonic() + self.dice.uniform(1.0, 8.0)
            if time.monotonic() > told + 15:
                told = time.monotonic()
                self.seen |= directories(self.sandbox.metastore.lake)
                print(f"{end - told:5.0f} s left; {self.summary()}", flush=True)
            time.sleep(self.dice.uniform(0, 0.4))

    def settle(self) -> list[str]:
        """Everything works again; waits until nothing waits, and looks until a look finds nothing wrong."""
        self.chaos.calm()
        for replica in self.replicas:
            replica.wait()
        deadline, done = time.monotonic() + SETTLING, 0
        while True:
            with self.parts() as built:  # type: ignore[attr-defined]
                quiet = built.queue.depth()[0] == 0
                if done < (
                    done := built.history.newest() + sum(m.state == "done" for m in built.ledger.find_merges(""))
                ):
                    # As long as anything gets done, it is not stuck.
                    deadline = time.monotonic() + SETTLING
                if quiet:
                    self.resolve(built)
                    found = self.look(built)
                    if not found:
                        return []
            if time.monotonic() > deadline:
                return found if quiet else ["it does not become quiet"]
            time.sleep(2)

    def resolve(self, built: Parts) -> None:
        """A person settles the conflicts: both sides only added, so all of it is wanted; but for the nonsense."""
        while conflicts := [one for one in built.decisions.conflicts() if one.logical.table != POISONED]:
            built.commands.resolver.resolve(conflicts[0].id, "theirs")
            self.chaos.counts["conflicts resolved"] += 1
            if conflicts == [one for one in built.decisions.conflicts() if one.logical.table != POISONED]:
                raise AssertionError(f"a conflict cannot be resolved: {conflicts[0]}")

    def look(self, built: Parts) -> list[str]:
        checks = Checks(built, self.tables, [(one.lake, one.users) for one in self.people])
        found = checks.all()
        self.written_over = checks.written_over
        found += [violation for replica in self.replicas for violation in replica.proxy.violations]
        if snapshot(self.tables, self.foreign) != self.before:
            found.append("a foreign table was touched")
        if gone := self.seen - directories(self.sandbox.metastore.lake):
            found.append(f"directories are gone: {sorted(gone)[:5]}")
        return found

    def summary(self) -> str:
        doings = sum(sum(one.counts.values()) for one in self.people)
        kills = self.chaos.counts["kill"] + 2 * self.chaos.counts["silence"]
        return (
            f"{doings} doings, {self.hooks.counts['came']} webhooks, {sum(self.chaos.counts.values())} mishaps, "
            f"{kills} kills, {self.chaos.faults} faults"
        )

    def report(self) -> str:
        lines = [self.summary()]
        lines += [f"{one.lake.repository}: {dict(one.counts)}" for one in self.people]
        lines += [f"mishaps: {dict(self.chaos.counts)}", f"webhooks: {dict(self.hooks.counts)}"]
        with self.parts() as built:  # type: ignore[attr-defined]
            events = built.queue.list(limit=1_000_000)
            states = {state: sum(e.state == state for e in events) for state in sorted({e.state for e in events})}
            merges = built.ledger.find_merges("")
            unknown = sum(merge.state == "source-unknown" for merge in merges)
            lines.append(f"columns that a person and a merge wrote over at one moment: {sorted(self.written_over)}")
            lines.append(f"events: {states}; merges: {len(merges)}, {unknown} with an unknown source")
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="metasync-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, {options.seconds:.0f} s, in {folder}", flush=True)
    with Soak(folder, options.seed) as soak:
        soak.let_loose(options.seconds)
        wrong = soak.settle()
        print(soak.report(), flush=True)
    for line in wrong:
        print(f"WRONG: {line}", flush=True)
    if not wrong:
        print("every invariant holds", flush=True)
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
