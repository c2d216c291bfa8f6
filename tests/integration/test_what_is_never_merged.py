"""Views, Iceberg tables and what else no merge carries, on a real metastore: reported, and gone with their ref."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.application.plan_text import plan_lines
from metasync.application.queries import Queries
from metasync.application.readiness import Waiter
from metasync.model.hms import StorageDescriptor, Table, TableName, TableType
from metasync.planning.rules import RuleSet
from metasync.store.stores import open_stores
from tests.conftest import World


def view(world: World, name: str) -> None:
    """A view over main's table, as Spark makes it: without a location."""
    found = TableName.parse(name)
    text = f"select * from {world.name('t')}"
    made = Table(found.database, found.table, StorageDescriptor(), table_type=TableType.VIEW)
    world.tables.metastore.create_table(replace(made, view_original_text=text, view_expanded_text=text))


def iceberg(world: World, name: str, where: str, metadata: str) -> None:
    """An Iceberg table as its Hive catalog registers it."""
    world.tables.create_table(
        name, where, [("id", "bigint")], table_type="ICEBERG", metadata_location=f"{metadata}/metadata/1.json"
    )


def kinds(result: object) -> dict[str, str]:
    return {n.kind: n.subject for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


def test_what_users_made_in_a_branchs_database_goes_with_it(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    mine = [world.name(name, "dev-1") for name in ("v", "ice", "t", "made")]
    view(world, mine[0])
    iceberg(world, mine[1], world.location("wh/ice", "dev-1"), world.location("wh/ice", "dev-1"))
    world.tables.create_table(mine[3], world.location("wh/made", "dev-1"), [("id", "bigint")])
    world.sync()
    world.lake.delete_branch("dev-1")
    assert not world.sync().failures
    store = world.tables.metastore
    assert [name for name in mine if store.get_table(TableName.parse(name)) is not None] == []
    assert store.get_database(TableName.parse(mine[0]).database) is None
    assert world.tables.table(world.name("t")) is not None


def test_what_is_not_mirrored_is_named_once_wherever_people_ask(world: World) -> None:
    world.create_table("t")
    iceberg(world, world.name("ice"), world.location("wh/ice"), world.location("wh/ice"))
    world.branch("dev-1")
    world.branch("dev-2")
    plan = world.sync().plans[0]
    ice = world.name("ice")
    lines = [line.text for line in plan_lines(plan) if ice in line.text]
    assert len(lines) == 1 and lines[0].startswith(f"{ice} on 2 refs: an Iceberg table")
    with open_stores(world.settings().store) as stores:
        queries = Queries(world.settings(), stores)
        (note,) = (note for note in queries.status().notes if note.kind == "not-mirrored")
        assert (note.subject, note.message[:26]) == (ice, "is not mirrored on 2 refs:")
        assert not queries.status().attention
        counts = {ref.ref: ref.not_mirrored for ref in queries.refs(world.repository).items}
        assert counts["branch/dev-1"] == counts["branch/dev-2"] == 1 and counts["branch/main"] == 0
        states = {table.logical: table.state for table in queries.ref(world.repository, "dev-1").tables}
        assert states == {world.name("t"): "mirror", ice: "not-mirrored"}
        said = queries.explain(world.repository, "dev-1", ice)
        assert said.mirror is None and "is not mirrored for branch/dev-1" in said.sentence
        assert queries.explain(world.repository, "dev-1", world.name("t")).mirror == world.name("t", "dev-1")
        waiter = Waiter(RuleSet.of(world.settings()), stores)
        event = waiter.queue_sync(world.repository, "dev-1")
        stores.queue.done([event])
        found = waiter.state(world.repository, "dev-1", event)
        assert (found.state, found.made, found.planned) == ("ready", 1, 1)
        (table,) = found.not_mirrored
        assert table.startswith(f"{ice}: an Iceberg table")


@pytest.mark.parametrize("elsewhere", ["location", "metadata_location"])
def test_a_table_that_does_not_lie_on_the_branch_stays_with_its_database(world: World, elsewhere: str) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    ice, here = world.name("ice", "dev-1"), world.location("wh/ice", "dev-1")
    main = world.location("wh/ice")
    iceberg(world, ice, *((main, here) if elsewhere == "location" else (here, main)))
    view(world, world.name("v", "dev-1"))
    world.lake.delete_branch("dev-1")
    result = world.sync()
    assert not result.failures and kinds(result)["foreign-table"] == ice
    store = world.tables.metastore
    assert store.get_table(TableName.parse(ice)) is not None
    assert store.get_database(TableName.parse(ice).database) is not None
    for gone in ("t", "v"):
        assert store.get_table(TableName.parse(world.name(gone, "dev-1"))) is None
    assert not world.sync().plans[0].pending


@pytest.mark.parametrize("what", ["iceberg", "view"])
def test_a_mirror_that_became_another_kind_of_table_is_a_conflict(world: World, what: str) -> None:
    world.create_table("t", "id:bigint")
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.tables.drop_table(mirror)
    if what == "view":
        view(world, mirror)
    else:
        where = world.location("wh/t", "dev-1")
        iceberg(world, mirror, where, where)
    before = world.tables.table(world.name("t"))
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.failures
    assert [conflict.reason for plan in result.plans for _, conflict in plan.conflicts] == ["format-not-merged"]
    assert world.tables.table(world.name("t")) == before
    world.lake.delete_branch("dev-1")
    assert not world.sync().failures
    assert world.tables.metastore.get_table(TableName.parse(mirror)) is None
