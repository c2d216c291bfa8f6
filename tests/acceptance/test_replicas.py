"""Two services on one PostgreSQL: one is killed, one is stopped past its lease and woken again.

Every event is processed once in effect: what is made is made once, every merge is entered and recorded once, and a
process whose lease was taken writes nothing more.
"""

from __future__ import annotations

import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.acceptance.test_commands import post
from tests.conftest import World, fresh_database, until
from tests.faults.thrift import Call
from tests.replicas import Replica

LEASE = 4.0


class Pair:
    """Both replicas, and the store that they share."""

    def __init__(self, world: World, url: str, folder: Path) -> None:
        self.world = world
        world.extra = "events: {poll: {interval: 1h}, retry_delay: 1s}\n"
        store = f"store: {{url: '{url}', lease: {LEASE:.0f}s}}"
        text = world.text().replace(world.sandbox.metastore.uri, "METASTORE")
        lines = [line for line in text.splitlines() if not line.startswith(("store:", "server:"))]
        server = f"server: {{listen: 'LISTEN', token: {world.sandbox.token}}}"
        self.text = "\n".join([store, server, *lines]) + "\n"
        self.a, self.b = (Replica(name, folder, self.text, world.sandbox.metastore.port) for name in ("a", "b"))

    def parts(self) -> Parts:
        text = self.text.replace("METASTORE", self.world.sandbox.metastore.uri).replace("LISTEN", "127.0.0.1:1")
        return parts(parse_settings(text, "metasync.yaml", {}))  # type: ignore[return-value]

    def tell(self, replica: Replica, kind: str, branch: str, **more: str) -> None:
        body = {"event_type": kind, "repository_id": self.world.repository, "branch_id": branch, **more}
        assert post(f"http://127.0.0.1:{replica.port}", self.world.sandbox.token, body) == 202

    def settled(self) -> None:
        def quiet() -> bool:
            with self.parts() as built:  # type: ignore[attr-defined]
                return bool(built.queue.depth()[0] == 0)

        until("the queue is empty", quiet, 90)

    def done_once(self) -> None:
        """What was done, and that nothing of it was done twice."""
        with self.parts() as built:  # type: ignore[attr-defined]
            history = built.history.rows(self.world.repository, limit=10_000)
            assert not built.queue.list(["dead"]), [event.error for event in built.queue.list(["dead"])]
            merges = built.ledger.find_merges("")
        done = [(row.action, row.ref, row.physical, row.cause) for row in history]
        assert len(done) == len(set(done)), sorted(done)
        assert len({merge.commit for merge in merges}) == len(merges)
        assert all(merge.state == "done" for merge in merges)


@pytest.fixture
def pair(world: World, postgresql: str, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(world, fresh_database(postgresql, world.database), tmp_path)
    yield made
    made.a.close()
    made.b.close()


def hold_at(replica: Replica, method: str) -> tuple[threading.Event, threading.Event]:
    """Lets the first call of a method be done, and its answer wait: (it is done, answer it)."""
    reached, go = threading.Event(), threading.Event()

    def before(call: Call) -> None:
        if call.method == method and not reached.is_set():
            reached.set()
            go.wait(60)

    replica.proxy.before = before
    return reached, go


def test_one_is_stopped_past_its_lease_and_woken_again(pair: Pair) -> None:
    world = pair.world
    for name in ("t", "u", "v"):
        world.create_table(name)
    pair.a.start()
    pair.settled()
    reached, go = hold_at(pair.a, "create_table")
    world.branch("dev-1")
    pair.tell(pair.a, "post-create-branch", "dev-1", source_ref="main", commit_id=world.lake.head("dev-1"))
    assert reached.wait(60)
    pair.a.signal(signal.SIGSTOP)
    # What it had sent is done; it will read the answer when it wakes.
    go.set()
    pair.b.start()
    until("the other one takes over", lambda: world.tables.exists(world.name("v", "dev-1")), 60)
    pair.settled()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    commit = world.lake.merge("dev-1")
    pair.tell(pair.b, "post-merge", "main", commit_id=commit, merge_source="dev-1")
    pair.settled()
    assert world.tables.columns(world.name("t")) == ["id", "a"]
    world.tables.drop_column(world.name("t"), "a")
    written = len(pair.a.proxy.writes)
    pair.a.signal(signal.SIGCONT)
    until("it finds that its lease is gone", lambda: pair.a.said("left to whoever has the lease"), 60)
    assert len(pair.a.proxy.writes) == written, [call.method for call in pair.a.proxy.writes[written:]]
    # It is as good a replica as before, and the only one from here on.
    pair.b.kill()
    world.branch("dev-2")
    pair.tell(pair.a, "post-create-branch", "dev-2", source_ref="main", commit_id=world.lake.head("dev-2"))
    until("the woken one works", lambda: world.tables.exists(world.name("v", "dev-2")), 60)
    pair.settled()
    assert world.tables.columns(world.name("t")) == ["id"]
    pair.done_once()


def test_one_is_killed_in_the_middle_and_the_other_goes_on_within_the_lease(pair: Pair) -> None:
    world = pair.world
    for name in ("t", "u", "v"):
        world.create_table(name, "id:bigint", "dt:string")
        world.tables.add_partitions(world.name(name), ("1",), ("2",))
    pair.a.start()
    pair.b.start()
    pair.settled()
    replicas = [pair.a, pair.b]
    for number, method in enumerate(("create_table", "add_partitions_req", "alter_table_with_environment_context")):
        victims = [hold_at(replica, method) for replica in replicas]
        branch = f"dev-{number}"
        world.branch(branch)
        told = replicas[number % 2]
        pair.tell(told, "post-create-branch", branch, source_ref="main", commit_id=world.lake.head(branch))
        until("one of them is at it", lambda victims=victims: any(reached.is_set() for reached, _ in victims))  # type: ignore[misc]
        victim = next(i for i, (reached, _) in enumerate(victims) if reached.is_set())
        replicas[victim].kill()
        for one in replicas:
            one.proxy.before = lambda call: None
        for _, go in victims:
            go.set()
        table = world.name("v", branch)
        until("the other one finishes", lambda table=table: whole(world, table), 60)  # type: ignore[misc]
        pair.settled()
        replicas[victim].start()
    for number in range(3):
        for name in ("t", "u", "v"):
            assert world.tables.partitions(world.name(name, f"dev-{number}")) == [("1",), ("2",)]
    pair.done_once()


def whole(world: World, table: str) -> bool:
    return world.tables.exists(table) and "metasync.making" not in world.tables.table(table).parameters


def test_one_leads_and_hands_over(pair: Pair) -> None:
    pair.a.start()
    pair.b.start()
    pair.settled()

    def leader() -> str:
        with pair.parts() as built:  # type: ignore[attr-defined]
            return next((row.holder for row in built.leases.rows() if row.name == "leader"), "")

    first = leader()
    assert first
    leading = next(one for one in (pair.a, pair.b) if f":{one._process.pid}:" in first)  # type: ignore[union-attr]
    other = pair.b if leading is pair.a else pair.a
    leading.kill()
    until("the other one leads", lambda: leader() not in ("", first), 30)
    until("and polls at once", lambda: other.said("this replica leads now"), 30)
    # A leader that ends in peace hands over without a wait for its lease.
    leading.start()
    now = leader()
    assert other.end() == 0
    until("leads again", lambda: leader() not in ("", now), 30)


def test_a_service_on_sqlite_is_alone(world: World, tmp_path: Path) -> None:
    text = world.text()
    replicas = [
        Replica(name, tmp_path, text.replace(world.sandbox.metastore.uri, "METASTORE"), world.sandbox.metastore.port)
        for name in ("first", "second")
    ]
    replicas[0].launch()
    until("the first one serves", lambda: replicas[0].said("serving"))
    replicas[1].launch()
    until("the second one gives up", lambda: not replicas[1].running)
    assert "another metasync serves on the store" in replicas[1].log.read_text()
    replicas[0].kill()
    replicas[1].launch()
    until("nobody waits for one that was killed", lambda: replicas[1].said("serving"))
    for replica in replicas:
        replica.close()


def test_a_pipeline_waits_for_its_branch_over_http(pair: Pair) -> None:
    world = pair.world
    world.create_table("t")
    pair.a.start()
    world.branch("dev-1")
    url = f"http://127.0.0.1:{pair.a.port}/api/v1/repositories/{world.repository}/wait?ref=dev-1&timeout=60s"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {world.sandbox.token}"})
    with urllib.request.urlopen(request, timeout=90) as answer:
        assert answer.status == 200 and b'"state":"ready"' in answer.read()
    assert world.tables.exists(world.name("t", "dev-1"))
