"""The union of what the peers' tests do to them (design, "Fault suite"), against real servers, seeded.

In the end the state must be the one that a run without a fault leaves, nothing is dropped because of an error, and no
call ever asks for data to be deleted (the proxy looks at each).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hmsclient.genthrift.hive_metastore import ttypes

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.errors import PermanentError, TemporaryError
from metasync.model.hms import TableName
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.wiring import parts
from tests.conftest import World
from tests.faults import http, thrift
from tests.faults.thrift import Call, ThriftProxy

MOST_TRIES = 60


@pytest.fixture
def proxy(world: World) -> Iterator[ThriftProxy]:
    running = ThriftProxy(world.sandbox.metastore.port)
    world.metastore = running.uri
    yield running
    running.close()
    assert not running.violations


@pytest.fixture
def lakefs(world: World) -> Iterator[http.HttpProxy]:
    running = http.HttpProxy(world.sandbox.lakefs.url)
    world.lakefs = running.url
    yield running
    running.close()


def settle(world: World) -> int:
    """Tries until nothing fails; how often it failed."""
    for failures in range(MOST_TRIES):
        try:
            result = world.sync()
        except (TemporaryError, PermanentError):
            continue
        if not result.failures and not result.more:
            return failures
    raise AssertionError("it does not settle")


def prepare(world: World) -> None:
    world.rule = "    merge: full\n"
    world.create_table("t", "id:bigint amount:double", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.create_table("plain", "id:bigint")
    settle(world)


def work(world: World, branch: str) -> None:
    mirror = world.name("t", branch)
    world.tables.add_column(mirror, "added", "string")
    world.tables.add_partitions(mirror, ("3",))
    world.tables.drop_partitions(mirror, ("1",))
    where = world.location("wh/born", branch)
    world.tables.create_table(world.name("born", branch), where, [("id", "bigint")], [("k", "string")])
    world.tables.add_partitions(world.name("born", branch), ("1",))
    world.lake.write(branch, "wh/t/dt=3/f", "wh/born/k=1/f")


def check_birth(world: World, branch: str) -> None:
    mirror = world.tables.table(world.name("t", branch))
    assert "metasync.making" not in mirror.parameters
    assert mirror.table_type == world.tables.table(world.name("t")).table_type
    assert world.tables.partitions(world.name("t", branch)) == [("1",), ("2",)]
    found = world.tables.partition(world.name("t", branch), "2")
    assert found.sd.location == world.location("wh/t/dt=2", branch)
    assert world.tables.tables(mirror.database) == ["plain", "t"]


def check_merge(world: World) -> None:
    assert world.tables.columns(world.name("t")) == ["id", "amount", "added"]
    assert world.tables.partitions(world.name("t")) == [("2",), ("3",)]
    assert [c.name for c in world.tables.partition(world.name("t"), "2").sd.cols] == ["id", "amount", "added"]
    assert world.tables.partitions(world.name("born")) == [("1",)]
    with parts(world.settings()) as built:
        assert not built.decisions.conflicts()
        merged = [row for row in built.history.rows(world.repository, limit=1000) if row.action == "merged"]
        assert len({(row.cause, row.logical) for row in merged}) == len(merged)


# The metastore


@pytest.mark.parametrize("kind", thrift.FAULTS)
def test_a_metastore_that_fails_now_and_then(world: World, proxy: ThriftProxy, kind: thrift.Fault) -> None:
    prepare(world)
    before = world.directories()
    proxy.choose = thrift.at_random(7, 0.12, (kind,))
    world.branch("dev-1")
    settle(world)
    check_birth(world, "dev-1")
    work(world, "dev-1")
    world.lake.merge("dev-1")
    settle(world)
    check_merge(world)
    world.lake.delete_branch("dev-1")
    settle(world)
    proxy.choose = thrift.calm
    assert len(proxy.faults) >= 5, proxy.faults
    settle(world)
    assert f"{world.database}__dev_1" not in world.tables.databases()
    assert world.tables.tables(world.database) == ["born", "plain", "t"]
    lost = {path for path in before - world.directories() if not path.startswith("dev-1")}
    assert not lost


@pytest.mark.parametrize(
    "method",
    [
        "create_database",
        "create_table",
        "alter_table_with_environment_context",
        "drop_table_with_environment_context",
        "drop_database",
        "add_partitions_req",
        "alter_partitions_with_environment_context",
        "drop_partitions_req",
    ],
)
def test_every_kind_of_write_may_fail_in_every_way(world: World, proxy: ThriftProxy, method: str) -> None:
    prepare(world)
    left: list[thrift.Fault] = ["middle", "after", "before"]

    def choose(call: Call) -> thrift.Fault | None:
        return left.pop() if call.method == method and left else None

    proxy.choose = choose
    world.branch("dev-1")
    settle(world)
    check_birth(world, "dev-1")
    work(world, "dev-1")
    world.lake.merge("dev-1")
    settle(world)
    check_merge(world)
    world.lake.delete_branch("dev-1")
    settle(world)
    assert f"{world.database}__dev_1" not in world.tables.databases()
    assert len(left) < 3, f"{method} was never called"


def test_a_batch_that_is_too_large_is_halved(world: World, proxy: ThriftProxy) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), *((f"{n:03d}",) for n in range(40)))
    sizes: list[int] = []

    def refuse(call: Call) -> Exception | None:
        if call.method == "add_partitions_req":
            sizes.append(len(call.arguments.request.parts))
            return ttypes.MetaException("rolling back to savepoint") if sizes[-1] > 7 else None
        return None

    proxy.refuse = refuse
    world.branch("dev-1")
    assert not world.sync().failures
    assert len(world.tables.partitions(world.name("t", "dev-1"))) == 40 and sizes[:4] == [40, 20, 10, 5]


def test_a_metastore_that_refuses_stops_that_table_alone(world: World, proxy: ThriftProxy) -> None:
    prepare(world)

    def refuse(call: Call) -> Exception | None:
        table = getattr(call.arguments, "tbl", None)
        bad = call.method == "create_table" and table is not None and table.tableName == "t"
        return ttypes.InvalidObjectException("t: nobody knows its SerDe") if bad else None

    proxy.refuse = refuse
    world.branch("dev-1")
    result = world.sync()
    assert [f.message.count("nobody knows its SerDe") for f in result.failures] == [1]
    assert world.tables.exists(world.name("plain", "dev-1"))
    proxy.refuse = lambda call: None
    assert settle(world) == 0
    check_birth(world, "dev-1")


@pytest.mark.parametrize("how", ["refused", "ended"])
def test_a_table_of_a_merge_that_will_never_be_whole_is_removed(world: World, proxy: ThriftProxy, how: str) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    settle(world)
    world.tables.create_table(world.name("born", "dev-1"), world.location("wh/born", "dev-1"), [("id", "bigint")])
    world.lake.write("dev-1", "wh/born/f")
    born = TableName.parse(world.name("born", "dev-2"))

    def is_last_step(call: Call) -> bool:
        table = getattr(call.arguments, "new_tbl", None)
        return table is not None and (table.dbName, table.tableName) == (born.database, born.table)

    if how == "refused":
        proxy.refuse = lambda call: ttypes.MetaException("no") if is_last_step(call) else None
    else:
        proxy.choose = lambda call: "before" if is_last_step(call) else None
    world.lake.merge("dev-1", "dev-2")
    result = world.sync()
    assert result.conflicts == 1 if how == "refused" else result.failures
    proxy.refuse, proxy.choose = (lambda call: None), thrift.calm
    if how == "ended":
        assert world.tables.exists(str(born))
        world.lake.delete_branch("dev-2")
        settle(world)
        assert f"{world.database}__dev_2" not in world.tables.databases()
    assert not world.tables.exists(str(born))


# People in between


def ddl_before(world: World, proxy: ThriftProxy, number: int, do: Callable[[], None]) -> list[str]:
    """Somebody does something right before the n-th call that metasync makes from now on."""
    start, done = len(proxy.calls), []

    def before(call: Call) -> None:
        if call.number - start == number and not done:
            done.append(call.method)
            do()

    proxy.before = before
    return done


@pytest.mark.parametrize("number", [1, 4, 7, 9, 11, 12, 13, 14, 15, 16, 18, 20])
def test_ddl_between_any_two_calls_of_a_merge_is_never_lost(world: World, proxy: ThriftProxy, number: int) -> None:
    world.create_table("t")
    world.branch("dev-1")
    settle(world)
    world.tables.add_column(world.name("t", "dev-1"), "added", "string")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")

    def alter() -> None:
        world.tables.set_parameter(world.name("t"), "by.a.user", "yes")
        world.tables.add_column(world.name("t"), "theirs", "int")

    done = ddl_before(world, proxy, number, alter)
    world.sync()
    proxy.before = lambda call: None
    world.sync()
    table = world.tables.table(world.name("t"))
    if done == ["alter_table_with_environment_context"]:
        # The last look was just before; only a metastore that compares and sets (4.0 and later) could tell.
        return
    if done:
        assert table.parameters.get("by.a.user") == "yes" and "theirs" in world.tables.columns(world.name("t"))
    with parts(world.settings()) as built:
        conflicts = {c.reason for c in built.decisions.conflicts()}
    assert "added" in world.tables.columns(world.name("t")) or conflicts == {"changed-while-merging"}, (done, conflicts)


@pytest.mark.parametrize("number", [2, 5, 8, 12, 16, 20, 25])
def test_a_branch_deleted_and_made_anew_in_the_middle_of_its_birth(
    world: World, proxy: ThriftProxy, number: int
) -> None:
    prepare(world)
    world.record_runs()
    world.branch("other")
    world.tables.add_column(world.name("plain"), "since", "int")
    world.lake.write("main", "wh/plain/since")
    settle(world)
    world.branch("dev-1")
    events: list[LakeFSEvent] = []

    def again() -> None:
        world.recreate("dev-1", "other")
        at, ref = world.lake.head("dev-1"), Ref(RefType.BRANCH, "dev-1")
        gone = LakeFSEvent(EventType.DELETE_BRANCH, world.repository, ref, 3.9e9, at)
        events.extend(
            [replace(gone, type=EventType.CREATE_BRANCH, event_time=4e9, source_ref="other", commit_id=at), gone]
        )

    done = ddl_before(world, proxy, number, again)
    for given in ((), tuple(events), ()):
        with parts(world.settings()) as built:
            built.controller.sync(Scope(world.repository, given or tuple(events), full=True))
    settle(world)
    assert done
    check_birth(world, "dev-1")
    assert world.tables.columns(world.name("plain", "dev-1")) == ["id"]


# lakeFS


@pytest.mark.parametrize("kind", http.FAULTS)
def test_a_lakefs_that_fails_drops_nothing(world: World, lakefs: http.HttpProxy, kind: http.Fault) -> None:
    world.create_table("t")
    for ref in ("dev-1", "dev-2"):
        world.branch(ref)
    world.tag("v1")
    world.sync()
    text = world.text
    world.text = lambda: text().replace("lakefs:\n", "lakefs:\n  timeout: 300ms\n")  # type: ignore[method-assign]
    lakefs.choose = lambda path: kind
    for _ in range(2):
        try:
            result: Result | None = world.sync()
        except (TemporaryError, PermanentError):
            result = None
        assert result is None or not [o for o in result.outcomes if o.state == "done"]
    lakefs.choose = http.calm
    assert not world.sync().outcomes
    for ref in ("dev-1", "dev-2", "v1"):
        assert world.tables.exists(world.name("t", ref))
    assert len(lakefs.faults) >= 2


@pytest.mark.parametrize("seed", range(3))
def test_a_lakefs_that_fails_now_and_then_loses_nothing(world: World, lakefs: http.HttpProxy, seed: int) -> None:
    prepare(world)
    text = world.text
    world.text = lambda: text().replace("lakefs:\n", "lakefs:\n  timeout: 300ms\n")  # type: ignore[method-assign]
    lakefs.choose = http.at_random(seed, 0.25)
    world.branch("dev-1")
    settle(world)
    if not world.tables.exists(world.name("t", "dev-1")):
        # An empty list hid the branch: the next look sees it.
        lakefs.choose = http.calm
        settle(world)
        lakefs.choose = http.at_random(seed + 100, 0.25)
    check_birth(world, "dev-1")
    work(world, "dev-1")
    world.lake.merge("dev-1")
    world.lake.delete_branch("dev-1")
    for _ in range(3):
        settle(world)
    lakefs.choose = http.calm
    settle(world)
    check_merge(world)
    assert f"{world.database}__dev_1" not in world.tables.databases()
    assert lakefs.faults


# Events


def events_of_a_life(world: World) -> list[LakeFSEvent]:
    """A branch is made, worked on, merged, deleted and made anew, with what lakeFS would have sent."""
    name, branch, main = world.repository, Ref(RefType.BRANCH, "dev-1"), Ref(RefType.BRANCH, "main")
    sent: list[LakeFSEvent] = []

    def send(kind: EventType, ref: Ref, at: float, source: str = "", commit: str = "", merged: str = "") -> None:
        sent.append(LakeFSEvent(kind, name, ref, at, source, commit, merged))

    world.record_runs()
    world.branch("dev-1")
    send(EventType.CREATE_BRANCH, branch, int(time.time()), "main", world.lake.head("dev-1"))
    world.sync()
    work(world, "dev-1")
    head = world.lake.head("dev-1")
    send(EventType.COMMIT, branch, int(time.time()), head, head)
    commit = world.lake.merge("dev-1")
    send(EventType.MERGE, main, int(time.time()), commit, commit, "dev-1")
    at = int(world.recreate("dev-1"))
    send(EventType.DELETE_BRANCH, branch, at, head)
    send(EventType.CREATE_BRANCH, branch, at, "main", world.lake.head("dev-1"))
    return sent


@pytest.mark.parametrize("seed", range(6))
def test_events_that_are_lost_doubled_and_out_of_order(world: World, seed: int) -> None:
    prepare(world)
    dice = random.Random(seed)
    events = [event for event in events_of_a_life(world) for _ in range(dice.choice((0, 1, 1, 2)))]
    dice.shuffle(events)
    while events:
        count = dice.randint(1, 3)
        some, events = events[:count], events[count:]
        with parts(world.settings()) as built:
            built.controller.sync(Scope(world.repository, tuple(some)))
    settle(world)
    check_merge(world)
    # The new life is main's, whatever came when: unless every event of it was lost, and nobody could tell.
    assert world.tables.exists(world.name("plain", "dev-1"))
    with parts(world.settings()) as built:
        rows = [row for _, row in built.refs.every(world.repository) if row.ref.name == "dev-1"]
        created = [h for h in built.history.rows(world.repository, limit=1000) if h.action == "created"]
    assert len(rows) == 1 and rows[0].incarnation in (1, 2)
    # Once for each life, and never twice in one.
    made = [h.physical for h in created]
    assert all(made.count(name) <= rows[0].incarnation for name in made)


def test_a_full_queue_of_the_same_news_is_one_look(world: World) -> None:
    prepare(world)
    world.branch("dev-1")
    with parts(world.settings()) as built:
        for _ in range(300):
            built.queue.put(world.repository, "poll", {})
        claim = built.queue.claim(built.leases)
        assert claim is not None and len(claim.events) == 300
        with built.leases.keep(claim.lease):
            result: Any = built.controller.sync(Scope(world.repository))
            built.queue.done(claim.ids)
        assert not result.failures and built.queue.depth() == (0, 0.0)
    check_birth(world, "dev-1")
