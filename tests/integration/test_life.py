"""Birth, life, end and merge on a real metastore."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.errors import ConfigurationError
from metasync.metastore.client import Metastore
from metasync.model.hms import FieldSchema, TableName
from metasync.planning.changes import CreateMirror, FinishCreation
from tests.conftest import World

ODD = ["/ % : = ' \"", "ü表😀", "__HIVE_DEFAULT_PARTITION__", "a%2Fb", "2024:01", "a-b"]


def notices(result: object) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


def test_a_birth_and_an_end_without_a_directory(world: World) -> None:
    world.create_table("orders", "id:bigint amount:double", "dt:string", comment="orders")
    world.tables.add_partitions(world.name("orders"), *((value,) for value in ODD))
    world.create_table("plain")
    world.sync()
    world.branch("dev-1")
    world.tag("v1.0")
    before = world.directories()
    assert not world.sync().failures
    assert world.directories() == before
    for ref in ("dev-1", "v1.0"):
        mirror = world.tables.table(world.name("orders", ref))
        assert mirror.table_type == "EXTERNAL_TABLE"
        assert mirror.sd.location == world.location("wh/orders", ref)
        assert mirror.parameters["external.table.purge"] == "FALSE" and mirror.parameters["comment"] == "orders"
        assert "metasync.making" not in mirror.parameters
        assert sorted(world.tables.partitions(world.name("orders", ref))) == sorted((v,) for v in ODD)
    assert world.lake.uncommitted("dev-1") == []
    again = world.sync()
    assert not again.plans[0].pending and not again.outcomes
    world.lake.delete_branch("dev-1")
    world.sync()
    assert f"{world.database}__dev_1" not in world.tables.databases()
    assert world.tables.tables(f"{world.database}__v1_0") == ["orders", "plain"]
    assert world.tables.tables(world.database) == ["orders", "plain"]


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


def test_tables_born_on_a_branch_come_with_the_merge_and_go_with_the_branch(world: World) -> None:
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
    assert main.sd.location == world.location("wh/born")
    assert main.table_type == "EXTERNAL_TABLE" and not [k for k in main.parameters if k.startswith("metasync.")]
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


def test_a_tag_of_an_old_commit_has_the_tables_of_that_commit(world: World) -> None:
    world.create_table("t")
    world.sync()
    old = world.lake.head("main")
    world.lake.write("main", "wh/t/f")
    world.tables.add_column(world.name("t"), "later", "int")
    world.sync()
    world.tag("v1", old)
    world.tag("v2", "main")
    world.sync()
    assert world.tables.columns(world.name("t", "v1")) == ["id"]
    assert world.tables.columns(world.name("t", "v2")) == ["id", "later"]


def test_a_mirror_belongs_to_its_users(world: World) -> None:
    world.create_table("gone")
    world.create_table("kept")
    world.branch("dev-1")
    world.sync()
    world.tables.drop_table(world.name("gone", "dev-1"))
    world.tables.set_parameter(world.name("kept", "dev-1"), "mine", "yes")
    world.sync()
    assert not world.tables.exists(world.name("gone", "dev-1"))
    assert world.tables.table(world.name("kept", "dev-1")).parameters["mine"] == "yes"
    world.create_table("later")
    world.sync()
    assert world.tables.tables(f"{world.database}__dev_1") == ["kept"]


def test_copies_and_foreign_tables_are_left_alone(world: World) -> None:
    world.create_table("t")
    world.tables.create_database(f"{world.database}__dev_1", world.location("wh"))
    elsewhere = world.tables.create_table(world.name("t", "dev-1"), world.location("elsewhere"), [("x", "int")])
    world.branch("dev-1")
    result = world.sync()
    assert "foreign-table" in notices(result)
    assert world.tables.table(world.name("t", "dev-1")) == elsewhere
    world.tables.drop_table(world.name("t", "dev-1"))
    world.sync()
    mirror = world.tables.table(world.name("t", "dev-1"))
    copy = replace(mirror, name="t_backup", sd=replace(mirror.sd, location=world.location("wh/elsewhere")))
    world.tables.metastore.create_table(copy)
    world.lake.delete_branch("dev-1")
    world.sync()
    assert world.tables.tables(f"{world.database}__dev_1") == ["t_backup"]


def test_two_refs_of_one_name_collide(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.branch("dev_1")
    result = world.sync()
    assert "name-collision" in notices(result)
    assert world.tables.table(world.name("t", "dev-1")).parameters["metasync.ref"] == "branch/dev-1"


def test_what_is_never_mirrored_is_said(world: World) -> None:
    world.create_table("ice", table_type="ICEBERG")
    view = world.tables.create_table(world.name("v"), world.location("wh/v"), [("id", "int")])
    world.tables.metastore.alter_table(
        replace(view, table_type="VIRTUAL_VIEW", view_original_text="select 1", view_expanded_text="select 1")
    )
    world.branch("dev-1")
    result = world.sync()
    said = [n.message for plan in result.plans for n in plan.notices if n.kind == "skipped"]
    assert any("Iceberg" in message for message in said) and any("view" in message for message in said)
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_nothing_is_dropped_because_of_a_changed_configuration(world: World) -> None:
    from metasync.wiring import parts

    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.rule = '    target: {database: "other_{database}_{ref}"}\n'
    world.sync()
    assert world.tables.exists(world.name("t", "dev-1"))
    real, world.database = world.database, "nothing"
    text = world.text().replace("instance: tnothing", f"instance: t{real}")
    world.database = real
    from metasync.engine.scope import Scope
    from metasync.settings import parse_settings

    with parts(parse_settings(text, "x", {})) as built:
        result = built.controller.sync(Scope(world.repository, full=True))
        assert "orphan" in notices(result)
        assert world.tables.exists(world.name("t", "dev-1"))
        built.commands.pruner.prune()
    assert not world.tables.exists(world.name("t", "dev-1"))


def test_many_ends_at_once_are_refused_and_applied_on_purpose(world: World) -> None:
    from metasync.wiring import parts

    world.extra = "safety: {max_ref_drops: 1}\n"
    world.create_table("t")
    for number in range(3):
        world.branch(f"dev-{number}")
    world.sync()
    for number in range(3):
        world.lake.delete_branch(f"dev-{number}")
    result = world.sync()
    assert "max_ref_drops" in result.refused and world.tables.exists(world.name("t", "dev-0"))
    # A look that finds the same refuses the same plan, under the number that people were told.
    assert world.sync().plan_id == result.plan_id
    with parts(world.settings()) as built:
        assert result.plan_id is not None
        built.commands.approver.apply(result.plan_id)
    assert not any(world.tables.exists(world.name("t", f"dev-{number}")) for number in range(3))


def test_a_branch_that_is_made_anew_gets_its_tables_anew(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "mine", "int")
    world.sync()
    world.lake.delete_branch("dev-1")
    world.sync()
    world.branch("dev-1")
    world.sync()
    assert world.tables.columns(world.name("t", "dev-1")) == ["id"]
    assert world.tables.table(world.name("t", "dev-1")).parameters["metasync.incarnation"] == "2"
    world.tag("v1")
    world.sync()
    world.lake.delete_tag("v1")
    world.lake.write("main", "wh/t/f")
    world.tables.add_column(world.name("t"), "since", "int")
    world.tag("v1")
    world.sync()
    assert world.tables.columns(world.name("t", "v1")) == ["id", "since"]


def test_a_repository_that_was_made_anew_ends_nothing(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    until_next_second(world)
    world.lake.delete_repository()
    world.lake.create_repository() if not world.sandbox.lakefs.is_real else recreate(world)
    result = world.sync()
    assert "repository-replaced" in notices(result)
    assert world.tables.exists(world.name("t", "dev-1"))


def until_next_second(world: World) -> None:
    import time

    from tests.conftest import until

    start = int(time.time())
    until("the next second", lambda: int(time.time()) > start)


def recreate(world: World) -> None:
    """A real lakeFS deletes a repository in the background, and needs a new namespace for the next."""
    import lakefs_sdk

    from metasync.errors import LakeFSError
    from tests.conftest import until

    creation = lakefs_sdk.RepositoryCreation(name=world.repository, storage_namespace=f"local://{world.repository}-2")
    create = world.lake.lakefs.repositories.create_repository

    def made() -> bool:
        try:
            world.lake.lakefs.once("create_repository", "", create, creation)
        except LakeFSError as error:
            assert "409" in str(error)
            return False
        return True

    until("the repository is made anew", made)


def test_statistics_and_keys_come_along(world: World) -> None:
    from hmsclient.genthrift.hive_metastore import ttypes

    world.create_table("parent", "id:bigint name:string")
    world.create_table("child", "id:bigint parent_id:bigint", "dt:string")
    world.tables.add_partitions(world.name("child"), ("1",))
    store = world.tables.metastore
    long = ttypes.ColumnStatisticsData(longStats=ttypes.LongColumnStatsData(1, 9, 0, 5))
    objects = [ttypes.ColumnStatisticsObj("id", "bigint", long)]
    of_table = ttypes.ColumnStatistics(ttypes.ColumnStatisticsDesc(True, world.database, "parent"), objects)
    store.write("update", "parent", lambda c: c.update_table_column_statistics(of_table))
    description = ttypes.ColumnStatisticsDesc(False, world.database, "child", partName="dt=1")
    of_partition = ttypes.ColumnStatistics(description, objects)
    store.write("update", "child", lambda c: c.update_partition_column_statistics(of_partition))
    key = ttypes.SQLPrimaryKey(world.database, "parent", "id", 1, f"pk_{world.database}", False, False, True)
    store.write("pk", "parent", lambda c: c.add_primary_key(ttypes.AddPrimaryKeyRequest([key])))
    foreign = ttypes.SQLForeignKey(
        world.database, "parent", "id", world.database, "child", "parent_id", 1, 0, 0, f"fk_{world.database}", None,
        False, False, True,
    )  # fmt: skip
    store.write("fk", "child", lambda c: c.add_foreign_key(ttypes.AddForeignKeyRequest([foreign])))
    world.branch("dev-1")
    assert not world.sync().failures
    mirror = f"{world.database}__dev_1"
    constraints = store.get_constraints(TableName(mirror, "parent"))
    assert [k.column for k in constraints.primary_key] == ["id"] and constraints.primary_key[0].rely
    (fk,) = store.get_constraints(TableName(mirror, "child")).foreign_keys
    assert fk.parent == TableName(mirror, "parent")
    request = ttypes.TableStatsRequest(mirror, "parent", ["id"])
    (found,) = store.read("stats", "parent", lambda c: c.get_table_statistics_req(request)).tableStats
    assert found.statsData.longStats.highValue == 9
    request = ttypes.PartitionsStatsRequest(mirror, "child", ["id"], ["dt=1"])
    result = store.read("stats", "child", lambda c: c.get_partitions_statistics_req(request))
    assert result.partStats["dt=1"][0].statsData.longStats.lowValue == 1


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


def test_wide_tables(world: World) -> None:
    world.create_table("wide", " ".join(f"c{n}:string" for n in range(5000)))
    world.branch("dev-1")
    assert not world.sync().failures
    assert len(world.tables.columns(world.name("wide", "dev-1"))) == 5000


def test_observe_mode_writes_nothing(world: World) -> None:
    world.extra = "mode: observe\n"
    world.create_table("t")
    world.branch("dev-1")
    result = world.sync()
    assert [type(change) for change in result.plans[0].changes] == [CreateMirror, FinishCreation]
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_a_table_that_cannot_be_read_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from metasync.errors import MetastoreError

    world.create_table("bad")
    world.create_table("good")
    world.branch("dev-1")
    real = Metastore.create_table

    def create(self: Metastore, table: object) -> None:
        if getattr(table, "name", "") == "bad":
            raise MetastoreError("bad: create_table: no")
        real(self, table)  # type: ignore[arg-type]

    monkeypatch.setattr(Metastore, "create_table", create)
    result = world.sync()
    assert [o.message for o in result.failures] == ["bad: create_table: no"]
    assert world.tables.exists(world.name("good", "dev-1"))
    monkeypatch.undo()
    assert not world.sync().failures
    assert world.tables.exists(world.name("bad", "dev-1"))


def test_rules_with_problems_do_not_start(world: World) -> None:
    world.rule = '    target: {database: "copy"}\n'
    with pytest.raises(ConfigurationError, match=r"has no \{ref\}"):
        world.sync()


@pytest.mark.parametrize("where", ["on the branch", "elsewhere"])
def test_the_database_of_mirrors_lies_on_their_own_ref(world: World, where: str) -> None:
    """lakectl's cases of copying a database: with a location on the branch, and without one that could be moved."""
    database = world.tables.metastore.get_database(world.database)
    assert database is not None
    if where == "elsewhere":
        world.tables.metastore.alter_database(replace(database, location_uri="file:///nowhere/x"))
    world.create_table("t")
    world.branch("dev-1")
    assert not world.sync().failures
    made = world.tables.metastore.get_database(f"{world.database}__dev_1")
    assert made is not None and made.parameters["metasync.ref"] == "branch/dev-1"
    # 2.3.9 keeps the place where a database was created: the ref's root. Later ones move it below.
    assert (made.location_uri or "").startswith(world.location("", "dev-1").rstrip("/"))


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

    for name in ("alone", "mixed", "untouched"):
        world.create_table(name)
        analysed(world.database, name, 1)
    world.branch("dev-1")
    world.sync()
    for name in ("alone", "mixed", "untouched"):
        analysed(f"{world.database}__dev_1", name, 9)
    world.lake.write("main", "wh/mixed/main")
    world.lake.write("dev-1", "wh/alone/f", "wh/mixed/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures
    assert {name: highest(name) for name in ("alone", "mixed", "untouched")} == {"alone": 9, "mixed": 1, "untouched": 1}
