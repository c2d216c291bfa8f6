"""Merges that read only what the metastore's notification log names, on a metastore that has one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from metasync.engine.scope import Scope
from metasync.metastore import Metastore, notification_log
from metasync.metastore.notification_log import LogPosition
from metasync.model.hms import PartitionValues, TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.definition import Home, PartitionReader
from metasync.planning.manifest import cut
from metasync.sandbox.stack import Sandbox
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.conftest import World, repositories
from tests.metastores.servers import LOG, chosen

KEYS = "day:string hour:string"


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One of the module's own, with a log."""
    server = chosen()
    if server is None or not server.version.startswith("3"):
        pytest.skip("needs a notification log, which the tests' 3.1.3 can have (make test-metastores)")
    server = replace(server, settings={**server.settings, **LOG})
    with Sandbox(tmp_path_factory.mktemp("log"), repositories(request.session), create=False, server=server) as made:
        # Its tables are made when somebody asks for it, and nothing can be changed before.
        made.table_user().metastore.log_position()
        yield made


@pytest.fixture
def built(world: World) -> Iterator[Parts]:
    uri = world.sandbox.metastore.uri
    text = world.text().replace(f"{{uris: [{uri}]}}", f"{{uris: [{uri}], notification_log: true}}")
    with parts(parse_settings(text, "metasync.yaml", {})) as made:
        assert made.settings.metastore.notification_log
        yield made


def sync(built: Parts, world: World) -> None:
    assert not built.controller.sync(Scope(world.repository)).failures


def values(number: int) -> PartitionValues:
    return (f"d{number:03}", "a/b" if number % 2 else "1")


def test_the_log_names_the_partitions_that_changed(world: World) -> None:
    world.create_table("t", keys=KEYS)
    store, name = world.tables.metastore, TableName.parse(world.name("t"))
    keys = world.tables.table(world.name("t")).partition_keys

    def since(position: LogPosition | None) -> frozenset[PartitionValues] | None:
        now = store.log_position()
        assert position is not None and now is not None
        return store.changed_partitions(name, keys, position, now)

    start = store.log_position()
    assert since(start) == frozenset()
    world.tables.add_partitions(world.name("t"), values(1), values(2), values(3))
    assert since(start) == {values(1), values(2), values(3)}
    later = store.log_position()
    world.create_table("other", keys=KEYS)
    world.tables.add_partitions(world.name("other"), values(7))
    assert since(later) == frozenset(), "another table's partitions are none of ours"
    found = world.tables.partition(world.name("t"), *values(2))
    store.alter_partitions(name, [replace(found, parameters={**found.parameters, "k": "v"})])
    world.tables.drop_partitions(world.name("t"), values(3))
    assert since(later) == {values(2), values(3)}
    position = store.log_position()
    world.tables.add_column(world.name("t"), "x", "int")
    assert since(position) is None, "a change of the table may be one of every partition"
    assert since(start) is None
    now = store.log_position()
    assert now is not None
    ahead, other = replace(now, number=now.number + 5), replace(now, at=now.at - 1)
    assert store.changed_partitions(name, keys, ahead, now) is None, "the log was begun anew"
    assert store.changed_partitions(name, keys, other, now) is None, "it is another metastore's"
    gone = replace(now, number=now.number - 10_000_000)
    assert store.changed_partitions(name, keys, gone, now) is None, "the log was cut off"


def test_a_renamed_partition_counts_under_both_names(world: World) -> None:
    world.create_table("t", keys=KEYS)
    world.tables.add_partitions(world.name("t"), values(1))
    store, name = world.tables.metastore, TableName.parse(world.name("t"))
    keys = world.tables.table(world.name("t")).partition_keys
    start = store.log_position()
    with store._pool.connection() as one:
        struct = one.client.get_partition(name.database, name.table, list(values(1)))
        struct.values = list(values(5))
        one.client.rename_partition(name.database, name.table, list(values(1)), struct)
    now = store.log_position()
    assert start is not None and now is not None
    assert store.changed_partitions(name, keys, start, now) == {values(1), values(5)}


def test_merges_read_what_the_log_names_and_know_as_much(
    world: World, built: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random DDL on both sides, merge after merge: the store is what a full reading would make of them."""
    world.create_table("t", keys=KEYS)
    world.tables.add_partitions(world.name("t"), *map(values, range(300)))
    sync(built, world)
    world.branch("dev-1")
    sync(built, world)
    read: list[int] = []
    real = Metastore.get_partitions

    def counted(self: Metastore, name: TableName, names: list[str]) -> object:
        if self is built.metastore:
            read.append(len(names))
        return real(self, name, names)

    monkeypatch.setattr(Metastore, "get_partitions", counted)
    dice, fresh = random.Random(1), 1000
    for turn in range(5):
        for ref, own in (("dev-1", "dev-1"), ("main", None)):
            table = world.name("t", own)
            fresh += 1
            world.tables.add_partitions(table, values(fresh))
            changed = world.tables.partition(table, *values(dice.randrange(100) + 100 * (ref == "main")))
            altered = replace(changed, parameters={**changed.parameters, "turn": str(turn)})
            world.tables.metastore.alter_partitions(TableName.parse(table), [altered])
        world.lake.write("dev-1", f"wh/t/more-{turn}")
        world.lake.merge("dev-1")
        read.clear()
        sync(built, world)
        if turn:
            assert sum(read) <= 20, f"merge {turn} read {read} partitions"
        for ref, physical in (("main", world.name("t")), ("dev-1", world.name("t", "dev-1"))):
            assert in_the_books(world, built, ref) == in_full(world, ref, physical)


def test_what_came_after_the_logs_position_was_asked_for_is_merged(
    world: World, built: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition and its merge come while main is read for the first time in a pass, which finds the merge at once."""
    monkeypatch.setattr(notification_log, "_AT_ONCE", 1)
    world.create_table("t", keys=KEYS)
    world.tables.add_partitions(world.name("t"), values(1))
    sync(built, world)
    world.branch("dev-1")
    sync(built, world)
    for number in (2, 3):
        # From the second merge on, the log is read.
        world.tables.add_partitions(world.name("t", "dev-1"), values(number))
        world.lake.write("dev-1", f"wh/t/{number}")
        world.lake.merge("dev-1")
        sync(built, world)
    world.lake.write("dev-1", "wh/t/4")
    world.lake.write("main", "wh/elsewhere")
    real = Metastore.get_all_tables
    meanwhile = iter([values(4)])

    def read_while_somebody_merges(self: Metastore, database: str) -> object:
        if self is built.metastore and (new := next(meanwhile, None)):
            world.tables.add_partitions(world.name("t", "dev-1"), new)
            world.lake.merge("dev-1")
        return real(self, database)

    monkeypatch.setattr(Metastore, "get_all_tables", read_while_somebody_merges)
    sync(built, world)
    sync(built, world)
    for table in (world.name("t"), world.name("t", "dev-1")):
        assert len(world.tables.metastore.get_partition_names(TableName.parse(table))) == 4, table


def in_the_books(world: World, built: Parts, ref: str) -> list[str]:
    repository = built.lakefs.get_repository(world.repository)
    assert repository is not None
    row = built.refs.newest(built.repositories.id_of(repository), Ref(RefType.BRANCH, ref))
    assert row is not None
    version = built.versions.in_force(row)[TableName.parse(world.name("t"))]
    assert version.definition is not None
    return [chunk.hash for chunk in built.versions.definition(version.definition).manifest]


def in_full(world: World, ref: str, physical: str) -> list[str]:
    table = world.tables.table(physical)
    reader = PartitionReader(table, Home(world.repository, ref))
    found = world.tables.metastore.iter_partitions(table.table_name, table.partition_keys)
    return [chunk.hash for chunk, _ in cut(map(reader, found))]
