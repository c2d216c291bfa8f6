"""Merges on a real metastore: what is carried, withheld, in conflict, and what comes along."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.model.hms import FieldSchema, TableName
from tests.conftest import World


def notices(result: object) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


def test_a_merge_carries_additions_withholds_what_is_destructive_and_applies_it_on_purpose(world: World) -> None:
    from metasync.wiring import parts

    world.create_table("t", "id:bigint old:string", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.lake.write("main", "wh/t/dt=1/f")
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.tables.drop_column(mirror, "old")
    world.tables.add_column(mirror, "new", "string")
    world.tables.add_partitions(mirror, ("3",))
    world.tables.drop_partitions(mirror, ("1",))
    world.tables.set_parameter(world.name("t"), "mine", "kept")
    world.lake.write("dev-1", "wh/t/dt=3/f")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.failures and not result.conflicts
    main = world.name("t")
    assert world.tables.columns(main) == ["id", "old", "new"]
    assert world.tables.partitions(main) == [("1",), ("2",), ("3",)]
    assert world.tables.table(main).parameters["mine"] == "kept"
    # A metastore from 4.0 on makes every table EXTERNAL that is not transactional.
    made_external = world.sandbox.metastore.server.version >= "4"
    assert world.tables.table(main).table_type == ("EXTERNAL_TABLE" if made_external else "MANAGED_TABLE")
    assert world.tables.partition(main, "3").sd.location == world.location("wh/t/dt=3")
    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        assert not built.commands.approver.apply(plan.id).failures
        assert built.decisions.waiting_plans() == ()
    assert world.tables.columns(main) == ["id", "new"]
    assert world.tables.partitions(main) == [("2",), ("3",)]
    world.lake.write("dev-1", "wh/t/dt=3/g")
    world.lake.merge("dev-1")
    assert all(not plan.pending for plan in world.sync().plans)


def test_a_stored_plan_refuses_when_the_table_moved(world: World) -> None:
    from metasync.errors import ChangedMeanwhile
    from metasync.wiring import parts

    world.create_table("t", "id:bigint old:string")
    world.branch("dev-1")
    world.sync()
    world.tables.drop_column(world.name("t", "dev-1"), "old")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    world.tables.add_column(world.name("t"), "since", "int")
    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        with pytest.raises(ChangedMeanwhile, match="changed since"):
            built.commands.approver.apply(plan.id)
    assert world.tables.columns(world.name("t")) == ["id", "old", "since"]


def test_a_conflict_is_kept_and_resolved_for_either_side(world: World) -> None:
    from metasync.wiring import parts

    for side in ("ours", "theirs"):
        world.create_table(side, "id:bigint")
    world.branch("dev-1")
    world.sync()
    for side in ("ours", "theirs"):
        world.tables.set_parameter(world.name(side, "dev-1"), "comment", "dev")
        world.tables.add_column(world.name(side, "dev-1"), "more", "int")
        world.tables.set_parameter(world.name(side), "comment", "main")
    world.lake.write("dev-1", "wh/x")
    world.lake.merge("dev-1")
    assert world.sync().conflicts == 2
    for side in ("ours", "theirs"):
        assert world.tables.columns(world.name(side)) == ["id"]
        with parts(world.settings()) as built:
            (conflict,) = [c for c in built.decisions.conflicts() if c.logical.table == side]
            assert not built.commands.resolver.resolve(conflict.id, side).failures  # type: ignore[arg-type]
        expected = "main" if side == "ours" else "dev"
        assert world.tables.table(world.name(side)).parameters["comment"] == expected
        assert world.tables.columns(world.name(side)) == ["id", "more"]
    world.lake.write("dev-1", "wh/y")
    world.lake.merge("dev-1")
    assert not world.sync().conflicts


def test_tables_created_on_a_branch_come_with_the_merge_and_go_with_the_branch(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    name = world.name("born", "dev-1")
    world.tables.create_table(name, world.location("wh/born", "dev-1"), [("id", "bigint")], [("dt", "string")])
    world.tables.add_partitions(name, ("1",))
    world.lake.write("dev-1", "wh/born/dt=1/f")
    world.lake.merge("dev-1")
    world.sync()
    main = world.tables.table(world.name("born"))
    assert main.table_type == world.tables.table(name).table_type
    assert main.sd.location == world.location("wh/born")
    assert not [k for k in main.parameters if k.startswith("metasync.")]
    assert world.tables.partitions(world.name("born")) == [("1",)]
    world.lake.delete_branch("dev-1")
    world.sync()
    assert world.tables.tables(world.database) == ["born", "t"]
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_a_merge_and_a_delete_before_metasync_looks_lose_nothing(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.lake.delete_branch("dev-1")
    result = world.sync()
    assert not result.failures
    assert world.tables.columns(world.name("t")) == ["id", "a"]
    assert not world.tables.exists(world.name("t", "dev-1"))


def test_a_merge_back_and_a_branch_off_a_branch(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "b", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.branch("dev-2", "dev-1")
    world.sync()
    assert world.tables.columns(world.name("t", "dev-2")) == ["id", "b"]
    world.tables.add_column(world.name("t"), "a", "int")
    world.lake.write("main", "wh/t/m")
    world.lake.merge("dev-1")
    world.sync()
    assert world.tables.columns(world.name("t")) == ["id", "a", "b"]
    world.lake.merge("main", "dev-1")
    world.sync()
    assert world.tables.columns(world.name("t", "dev-1")) == ["id", "b", "a"]
    world.lake.write("dev-2", "wh/t/g")
    world.lake.merge("dev-2")
    assert not world.sync().conflicts
    assert world.tables.columns(world.name("t")) == ["id", "a", "b"]


def test_the_tables_of_lakectl_metastores_own_merge_test(world: World) -> None:
    """20 partitions; on the branch 17 is dropped, 19 gets a column, 20 is added with three columns; then merged."""
    world.rule = "    merge: full\n"
    world.create_table("t", "one:string two:string", "p:string")
    world.tables.add_partitions(world.name("t"), *((f"{n:02d}",) for n in range(20)))
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.tables.drop_partitions(mirror, ("17",))
    world.tables.add_column(mirror, "three", "string", cascade=False)
    store = world.tables.metastore
    table = world.tables.table(mirror)
    nineteen = world.tables.partition(mirror, "19")
    store.alter_partitions(table.table_name, [replace(nineteen, sd=replace(nineteen.sd, cols=table.sd.cols))])
    world.tables.add_partitions(mirror, ("20",))
    world.lake.write("dev-1", "wh/t/p=20/f")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.failures and not result.conflicts
    main = world.name("t")
    found = {p.values[0]: p for p in store.iter_partitions(TableName.parse(main), table.partition_keys)}
    assert len(found) == 20 and "17" not in found
    names = {value: [c.name for c in p.sd.cols] for value, p in found.items()}
    assert names["19"] == names["20"] == ["one", "two", "three"] and names["03"] == ["one", "two"]
    assert world.tables.table(main).sd.location == world.location("wh/t")
    assert world.tables.columns(main) == ["one", "two", "three"]


def test_partitions_with_columns_of_their_own_are_not_flattened(world: World) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("own",), ("same",))
    store = world.tables.metastore
    table = world.tables.table(world.name("t"))
    own = world.tables.partition(world.name("t"), "own")
    columns = (*own.sd.cols, FieldSchema("extra", "int"))
    store.alter_partitions(table.table_name, [replace(own, sd=replace(own.sd, cols=columns))])
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int", cascade=False)
    same = world.tables.partition(world.name("t", "dev-1"), "same")
    mirror = world.tables.table(world.name("t", "dev-1"))
    store.alter_partitions(mirror.table_name, [replace(same, sd=replace(same.sd, cols=mirror.sd.cols))])
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures
    assert [c.name for c in world.tables.partition(world.name("t"), "own").sd.cols] == ["id", "extra"]
    assert [c.name for c in world.tables.partition(world.name("t"), "same").sd.cols] == ["id", "a"]


def test_an_empty_partition_comes_to_main_without_a_directory(world: World) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.sync()
    world.tables.add_partitions(world.name("t", "dev-1"), ("empty",), ("full",))
    world.lake.write("dev-1", "wh/t/dt=full/f")
    world.lake.merge("dev-1")
    world.ref_root("main/wh/t/dt=full")
    before = world.directories()
    world.sync()
    assert world.tables.partition(world.name("t"), "empty").sd.location == world.location("wh/t/dt=empty")
    assert {d for d in world.directories() - before if d.startswith("main")} == set()


def test_keys_are_merged_and_refer_to_the_destinations_own_tables(world: World) -> None:
    from metasync.model.hms import ForeignKeyColumn, PrimaryKeyColumn

    world.create_table("parent")
    world.create_table("child", "id:bigint parent_id:bigint")
    world.branch("dev-1")
    world.sync()
    store = world.tables.metastore
    parent, child = (TableName.parse(world.name(name, "dev-1")) for name in ("parent", "child"))
    store.add_primary_key(parent, [PrimaryKeyColumn("id", 1, "")])
    store.add_foreign_key(child, [ForeignKeyColumn("parent_id", 1, "", parent, "id")])
    world.lake.write("dev-1", "wh/parent/f")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.failures and not result.conflicts
    main_parent, main_child = (TableName.parse(world.name(name)) for name in ("parent", "child"))
    assert [k.column for k in store.get_constraints(main_parent).primary_key] == ["id"]
    assert [k.parent for k in store.get_constraints(main_child).foreign_keys] == [main_parent]
    world.branch("dev-2")
    world.sync()
    (key,) = store.get_constraints(TableName.parse(world.name("child", "dev-2"))).foreign_keys
    assert str(key.parent) == world.name("parent", "dev-2")
    # A key that went on the branch waits; it is dropped once somebody says so.
    store.drop_constraint(TableName.parse(world.name("child", "dev-2")), key.name)
    world.lake.write("dev-2", "wh/child/f")
    world.lake.merge("dev-2")
    assert not world.sync().failures
    assert store.get_constraints(main_child).foreign_keys
    from metasync.wiring import parts

    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        assert not built.commands.approver.apply(plan.id).failures
    assert not store.get_constraints(main_child).foreign_keys
    assert store.get_constraints(main_parent).primary_key


def test_a_merge_carries_statistics_where_the_data_is_the_sources_alone(world: World) -> None:
    from hmsclient.genthrift.hive_metastore import ttypes

    store = world.tables.metastore

    def analysed(database: str, name: str, highest: int) -> None:
        data = ttypes.ColumnStatisticsData(longStats=ttypes.LongColumnStatsData(1, highest, 0, 5))
        found = [ttypes.ColumnStatisticsObj("id", "bigint", data)]
        of_table = ttypes.ColumnStatistics(ttypes.ColumnStatisticsDesc(True, database, name), found)
        store.write("update", name, lambda c: c.update_table_column_statistics(of_table))

    def highest(name: str) -> int | None:
        request = ttypes.TableStatsRequest(world.database, name, ["id"])
        found = store.read("get", name, lambda c: c.get_table_statistics_req(request)).tableStats
        return found[0].statsData.longStats.highValue if found else None

    names, key = ("alone", "mixed", "untouched"), "spark.sql.statistics.numRows"
    for name in names:
        world.create_table(name)
        analysed(world.database, name, 1)
        world.tables.set_parameter(world.name(name), key, "1")
    world.branch("dev-1")
    world.sync()
    for name in names:
        analysed(f"{world.database}__dev_1", name, 9)
        world.tables.set_parameter(world.name(name, "dev-1"), key, "9")
    world.lake.write("main", "wh/mixed/main")
    world.lake.write("dev-1", "wh/alone/f", "wh/mixed/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures
    assert {name: highest(name) for name in names} == {"alone": 9, "mixed": None, "untouched": 1}
    rows = {name: world.tables.table(world.name(name)).parameters.get(key) for name in names}
    assert rows == {"alone": "9", "mixed": None, "untouched": "1"}


def test_a_merge_carries_statistics_of_the_partitions_whose_data_is_the_sources_alone(world: World) -> None:
    from hmsclient.genthrift.hive_metastore import ttypes

    store, values = world.tables.metastore, ("alone", "mixed", "untouched")
    world.create_table("t", keys="dt:string")
    world.tables.add_partitions(world.name("t"), *((value,) for value in values))

    def known(name: str, rows: str) -> None:
        table = TableName.parse(name)
        data = ttypes.ColumnStatisticsData(longStats=ttypes.LongColumnStatsData(1, int(rows), 0, 5))
        for partition in store.get_partitions(table, [f"dt={value}" for value in values]):
            store.alter_partitions(table, [replace(partition, parameters={**partition.parameters, "numRows": rows})])
            whose = ttypes.ColumnStatisticsDesc(False, table.database, table.table, f"dt={partition.values[0]}")
            found = ttypes.ColumnStatistics(whose, [ttypes.ColumnStatisticsObj("id", "bigint", data)])
            store.write("update", name, lambda c, found=found: c.update_partition_column_statistics(found))

    known(world.name("t"), "1")
    world.branch("dev-1")
    world.sync()
    known(world.name("t", "dev-1"), "9")
    world.lake.write("main", "wh/t/dt=mixed/main")
    world.lake.write("dev-1", "wh/t/dt=alone/f", "wh/t/dt=mixed/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures
    rows = {v: world.tables.partition(world.name("t"), v).parameters.get("numRows") for v in values}
    assert rows == {"alone": "9", "mixed": None, "untouched": "1"}
    request = ttypes.PartitionsStatsRequest(world.database, "t", ["id"], [f"dt={value}" for value in values])
    stats = store.read("get", "t", lambda c: c.get_partitions_statistics_req(request)).partStats
    assert {v: stats[f"dt={v}"][0].statsData.longStats.highValue for v in values if stats.get(f"dt={v}")} == {
        "alone": 9,
        "untouched": 1,
    }
