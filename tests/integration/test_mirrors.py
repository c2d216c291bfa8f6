"""Creation and deletion of mirrors, and what holds in between, on a real metastore."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.errors import ConfigurationError
from metasync.metastore.client import Metastore
from metasync.model.hms import TableName
from metasync.planning.changes import CreateMirror, FinishCreation
from tests.conftest import World

ODD = ["/ % : = ' \"", "ü表😀", "__HIVE_DEFAULT_PARTITION__", "a%2Fb", "2024:01", "a-b"]


def notices(result: object) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


def test_a_creation_and_a_deletion_without_a_directory(world: World) -> None:
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
        assert mirror.sd.location == world.location("wh/orders", ref)
        original = world.tables.table(world.name("orders")) if ref == "dev-1" else None
        assert mirror.table_type == (original.table_type if original else "EXTERNAL_TABLE")
        assert ref == "dev-1" or mirror.parameters["external.table.purge"] == "FALSE"
        assert mirror.parameters["comment"] == "orders"
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
    said = {str(one.logical): one.reason for plan in result.plans for one in plan.not_mirrored}
    assert "Iceberg" in said[world.name("ice")] and "view" in said[world.name("v")] and len(said) == 2
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


def test_many_deletions_at_once_are_refused_and_applied_on_purpose(world: World) -> None:
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


def test_a_repository_that_was_made_anew_deletes_nothing(world: World) -> None:
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


def test_a_table_whose_data_is_elsewhere_is_not_mirrored(world: World) -> None:
    world.create_table("files")
    world.create_table("sales", **{"spark.sql.sources.provider": "jdbc"})
    world.branch("dev-1")
    result = world.sync()
    assert world.tables.exists(world.name("files", "dev-1")) and not world.tables.exists(world.name("sales", "dev-1"))
    (missing,) = (one for plan in result.plans for one in plan.not_mirrored)
    assert str(missing.logical) == world.name("sales") and "provider jdbc" in missing.reason
    # It went on the branch as little as it was there.
    world.lake.write("dev-1", "wh/files/f")
    world.lake.merge("dev-1")
    assert not world.sync().failures and world.tables.exists(world.name("sales"))
