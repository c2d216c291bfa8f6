"""Partition discovery, and what an empty directory says about a dropped partition."""

from __future__ import annotations

from dataclasses import replace

from metasync.model.hms import TableName
from metasync.planning.changes import DiscoverPartitions
from tests.conftest import World


def test_a_commit_on_a_branch_makes_and_ends_partitions(world: World) -> None:
    world.rule = "    partitions: discover\n"
    world.create_table("t", "id:bigint", "dt:string country:string")
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.lake.write(
        "dev-1", "wh/t/dt=1/country=de/f", "wh/t/dt=2024%3A01/country=fr/f", "wh/t/_delta_log/x", "wh/t/odd/x"
    )
    before = world.directories()
    result = world.sync(full=False)
    assert not result.failures and world.directories() == before
    assert world.tables.partitions(mirror) == [("1", "de"), ("2024:01", "fr")]
    assert world.tables.partition(mirror, "2024:01", "fr").sd.location == world.location(
        "wh/t/dt=2024%3A01/country=fr", "dev-1"
    )
    world.lake.delete("dev-1", "wh/t/dt=1/country=de/f")
    world.sync(full=False)
    assert world.tables.partitions(mirror) == [("2024:01", "fr")]
    assert not any(isinstance(c, DiscoverPartitions) for plan in world.sync().plans for c in plan.changes)
    assert world.tables.partitions(world.name("t")) == []


def test_a_merge_brings_the_partitions_of_its_data_and_a_plain_commit_on_main_does_not(world: World) -> None:
    world.rule = "    partitions: discover\n"
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.sync()
    world.lake.write("main", "wh/t/dt=own/f")
    world.sync()
    assert world.tables.partitions(world.name("t")) == []
    world.lake.write("dev-1", "wh/t/dt=2/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures
    assert world.tables.partitions(world.name("t")) == [("2",)]
    # What came to main by discovery and to the branch by discovery is one thing, not two.
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.conflicts and world.tables.partitions(world.name("t")) == [("2",)]


def test_a_dropped_partition_without_data_is_no_loss(world: World) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("empty",), ("full",))
    world.lake.write("main", "wh/t/dt=full/f")
    world.branch("dev-1")
    world.sync()
    world.tables.drop_partitions(world.name("t", "dev-1"), ("empty",), ("full",))
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    result = world.sync()
    assert world.tables.partitions(world.name("t")) == [("full",)]
    (change,) = (change for plan in result.plans for change in plan.merges)
    assert [item.path[1] for item in change.withheld] == ['["full"]']


def test_discovery_leaves_alone_what_somebody_pointed_elsewhere(world: World) -> None:
    from dataclasses import replace

    world.rule = "    partitions: discover\n"
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.lake.write("main", "wh/t/dt=1/f")
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    found = world.tables.partition(mirror, "1")
    elsewhere = world.location("wh/rewritten", "dev-1")
    name = world.tables.table(mirror).table_name
    world.tables.metastore.alter_partitions(name, [replace(found, sd=replace(found.sd, location=elsewhere))])
    world.lake.delete("dev-1", "wh/t/dt=1/f")
    world.sync()
    assert world.tables.partitions(mirror) == [("1",)]


def test_a_directory_gets_no_second_partition(world: World) -> None:
    world.rule = "    partitions: discover\n"
    world.create_table("t", "id:bigint", "month:int")
    name = world.name("t")
    world.tables.add_partitions(name, ("1",))
    partition = world.tables.partition(name, "1")
    place = world.location("wh/t/month=01")
    world.tables.metastore.alter_partitions(
        TableName.parse(name), [replace(partition, sd=replace(partition.sd, location=place))]
    )
    world.lake.write("main", "wh/t/month=01/f")
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    assert world.tables.partitions(mirror) == [("1",)]
    world.lake.write("dev-1", "wh/t/month=01/g")
    world.sync(full=False)
    assert world.tables.partitions(mirror) == [("1",)]
    world.lake.merge("dev-1")
    assert not world.sync().failures
    assert world.tables.partitions(name) == [("1",)]
    world.lake.delete("dev-1", "wh/t/month=01/f", "wh/t/month=01/g")
    world.sync(full=False)
    assert world.tables.partitions(mirror) == []
