"""`metasync repair` on a real metastore: what metasync imposes is put right, what users set is not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from metasync.application.answers import Results
from metasync.engine.apply.repair import place_outside
from metasync.errors import MetastoreUnavailable, UsageError
from metasync.metastore import Metastore
from metasync.model.hms import Database, Partition, Table, TableName, TableType
from metasync.model.marks import PREFIX
from metasync.planning.changes import CreateMirror, MoveDatabase, RepairMirror
from metasync.planning.observed import Observed
from metasync.planning.plan import Plan
from metasync.planning.table_type import IMPOSED, as_external, deletes_data
from metasync.wiring import parts
from tests.conftest import World, until


def plan(world: World, ref: str = "dev-1", table: str = "", again: tuple[str, ...] = ()) -> Plan:
    with parts(world.settings()) as built:
        (found,) = built.orders.preview_repair(world.repository, ref, table, again).items
        return found


def repair(world: World, ref: str = "dev-1", table: str = "", again: tuple[str, ...] = ()) -> Results:
    with parts(world.settings()) as built:
        return built.orders.repair(world.repository, ref, table, again)


def done(results: Results) -> set[tuple[str, str]]:
    return {(outcome.change, outcome.state) for result in results.items for outcome in result.outcomes}


def managed(world: World, name: str, keys: str = "") -> Table:
    pairs = [tuple(word.split(":")) for word in keys.split()]
    where = world.location(f"wh/db/{name}")
    return world.tables.create_table(world.name(name), where, [("id", "bigint")], pairs)  # type: ignore[arg-type]


def as_earlier_versions_made_it(world: World, name: str, ref: str = "dev-1") -> Table:
    """Makes a mirror EXTERNAL, with nothing noted of its table's type."""
    table = as_external(world.tables.table(world.name(name, ref)))
    kept = {key: value for key, value in table.parameters.items() if not key.startswith(f"{PREFIX}own.")}
    world.tables.metastore.alter_table(replace(table, parameters=kept))
    return world.tables.table(world.name(name, ref))


def test_a_mirror_of_an_earlier_version_gets_the_type_of_its_table(world: World) -> None:
    original = managed(world, "t", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.branch("dev-1")
    assert not world.sync().failures
    old = as_earlier_versions_made_it(world, "t")
    world.tables.metastore.alter_table(replace(old, parameters={**old.parameters, "owner": "somebody"}))
    before = world.directories()
    (change,) = plan(world).changes
    assert isinstance(change, RepairMirror) and change.table_type == original.table_type and not change.marks
    assert world.tables.table(world.name("t", "dev-1")).table_type == TableType.EXTERNAL, "shown is not done"
    assert done(repair(world)) == {("repair-mirror", "done")}
    mirror = world.tables.table(world.name("t", "dev-1"))
    assert mirror.table_type == original.table_type and deletes_data(mirror)
    assert mirror.parameters["owner"] == "somebody"
    assert world.tables.partitions(world.name("t", "dev-1")) == [("1",), ("2",)]
    assert world.directories() == before and not plan(world).changes
    with parts(world.settings()) as built:
        (row,) = [row for row in built.history.rows(world.repository, limit=50) if row.action == "repaired"]
    assert "as its table is" in row.detail and row.cause == "metasync repair"
    # No merge sees a change in it.
    world.lake.write("dev-1", "wh/db/t/f")
    assert not world.sync().plans[0].pending


def test_one_whose_partition_lies_elsewhere_stays_external_and_is_told(world: World) -> None:
    managed(world, "t", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    managed(world, "u")
    world.branch("dev-1")
    world.sync()
    as_earlier_versions_made_it(world, "t")
    as_earlier_versions_made_it(world, "u")
    store, name = world.tables.metastore, TableName.parse(world.name("t", "dev-1"))
    table = world.tables.table(str(name))
    store.alter_partitions(name, [Partition(("1",), replace(table.sd, location=world.location("wh/db/t/dt=1")))])
    found = plan(world)
    assert [c.physical.table for c in found.changes if isinstance(c, RepairMirror)] == ["u"]
    (notice,) = [n for n in found.notices if n.kind == "not-repaired"]
    assert "stays EXTERNAL" in notice.message and world.location("wh/db/t/dt=1") in notice.message
    assert place_outside(store, table, world.repository, "dev-1") == world.location("wh/db/t/dt=1")
    repair(world)
    assert not deletes_data(world.tables.table(world.name("t", "dev-1")))
    assert deletes_data(world.tables.table(world.name("u", "dev-1")))


def test_a_partition_that_leaves_the_ref_between_plan_and_order_keeps_it_external(world: World) -> None:
    managed(world, "t", "dt:string")
    world.branch("dev-1")
    world.sync()
    table = as_earlier_versions_made_it(world, "t")
    with parts(world.settings()) as built:
        (found,) = built.orders.preview_repair(world.repository, "dev-1").items
        elsewhere = Partition(("1",), replace(table.sd, location=world.location("wh/db/t/dt=1", "dev-1")))
        world.tables.metastore.add_partitions(table.table_name, [elsewhere])
        moved = replace(table.sd, location=world.location("wh/db/t/dt=1"))
        world.tables.metastore.alter_partitions(table.table_name, [Partition(("1",), moved)])
        identity = built.lakefs.get_repository(world.repository)
        assert identity is not None
        result = built.controller.execute(Observed(identity, "", ""), found)
    assert [o.state for o in result.outcomes] == ["failed"] and "stays EXTERNAL" in result.outcomes[0].message
    assert not deletes_data(world.tables.table(world.name("t", "dev-1")))


def test_on_a_tag_and_of_a_type_that_somebody_set_nothing_is_changed(world: World) -> None:
    managed(world, "t")
    world.branch("dev-1")
    world.tag("v1")
    world.sync()
    mirror = world.tables.table(world.name("t", "dev-1"))
    kept = {k: v for k, v in mirror.parameters.items() if k not in IMPOSED}
    set_by_somebody = {**kept, "EXTERNAL": "TRUE", "external.table.purge": "FALSE"}
    world.tables.metastore.alter_table(replace(mirror, table_type=TableType.EXTERNAL, parameters=set_by_somebody))
    assert not plan(world).changes and not plan(world, "v1").changes
    assert done(repair(world)) == set()


def test_marks_that_somebody_took_away_are_written_again(world: World) -> None:
    managed(world, "t")
    world.branch("dev-1")
    world.sync()
    mirror = world.tables.table(world.name("t", "dev-1"))
    bare = {key: value for key, value in mirror.parameters.items() if not key.startswith(PREFIX)}
    world.tables.metastore.alter_table(replace(mirror, parameters={**bare, "k": "v"}))
    (change,) = plan(world).changes
    assert isinstance(change, RepairMirror) and not change.table_type
    assert done(repair(world)) == {("repair-mirror", "done")}
    found = world.tables.table(world.name("t", "dev-1"))
    marks = {k: v for k, v in mirror.parameters.items() if k.startswith(PREFIX) and ".own." not in k}
    assert marks.items() <= found.parameters.items() and found.parameters["k"] == "v"
    assert not plan(world).changes


def test_what_was_never_created_is_made_and_what_was_dropped_only_when_named(world: World) -> None:
    world.also = '"!*.later"'
    managed(world, "t", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    managed(world, "u")
    managed(world, "later")
    start = time.time()
    until("a later second", lambda: int(time.time()) > int(start))
    world.branch("dev-1")
    world.sync()
    until("a later second", lambda: int(time.time()) > int(start) + 1)
    managed(world, "afterwards")
    world.tables.drop_table(world.name("t", "dev-1"))
    world.sync()
    world.also = ""
    found = plan(world)
    assert [str(c.logical) for c in found.changes if isinstance(c, CreateMirror)] == [world.name("later")]
    (notice,) = [n for n in found.notices if n.kind == "not-repaired"]
    assert "--recreate" in notice.help and world.name("t") in notice.help
    assert done(repair(world)) == {("create-mirror", "done")}
    assert world.tables.exists(world.name("later", "dev-1")) and not world.tables.exists(world.name("t", "dev-1"))
    assert not world.sync().plans[0].pending
    # By the mirror's name as well as by the table's own.
    repair(world, again=(world.name("t", "dev-1"),))
    assert world.tables.partitions(world.name("t", "dev-1")) == [("1",)]
    assert deletes_data(world.tables.table(world.name("t", "dev-1")))
    result = world.sync()
    assert not result.plans[0].pending and not plan(world).changes
    # What comes back merges as what it was: nothing is dropped on main, nothing is in conflict.
    world.tables.add_column(world.name("later", "dev-1"), "more", "string")
    world.lake.write("dev-1", "wh/db/t/f")
    world.lake.merge("dev-1", "main")
    merged = world.sync()
    assert not merged.conflicts and not merged.failures and world.tables.exists(world.name("t"))
    assert [column.name for column in world.tables.table(world.name("later")).sd.cols] == ["id", "more"]


def test_an_order_that_was_cut_short_is_finished_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    managed(world, "t", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.branch("dev-1")
    world.sync()
    world.tables.drop_table(world.name("t", "dev-1"))
    world.sync()

    def away(*_: object) -> None:
        raise MetastoreUnavailable("the metastore is away")

    with monkeypatch.context() as patch:
        patch.setattr(Metastore, "add_partitions", away)
        assert done(repair(world, again=(world.name("t"),))) == {("create-mirror", "waiting")}
    assert not world.sync().plans[0].pending
    assert done(repair(world)) == {("create-mirror", "done")}
    assert world.tables.partitions(world.name("t", "dev-1")) == [("1",)]
    assert not plan(world).changes and not world.sync().plans[0].pending


def test_mirrors_in_a_shared_database_stay_as_they_are(world: World) -> None:
    shared = f"every_branch_{world.database}"
    world.rule = f'    target: {{database: "{shared}", table: "{{table}}__{{ref}}"}}\n'
    world.tables.metastore.create_database(Database(shared, world.location("wh/db")))
    managed(world, "t")
    world.branch("dev-1")
    assert not world.sync().failures
    found = plan(world)
    assert not found.changes and not found.notices


def test_one_table_alone(world: World) -> None:
    managed(world, "t")
    managed(world, "u")
    world.branch("dev-1")
    world.sync()
    as_earlier_versions_made_it(world, "t")
    as_earlier_versions_made_it(world, "u")
    (change,) = plan(world, table=world.name("t")).changes
    assert isinstance(change, RepairMirror) and change.physical.table == "t"
    repair(world, table=world.name("t"))
    assert not deletes_data(world.tables.table(world.name("u", "dev-1")))


def test_what_cannot_be_repaired_says_why(world: World) -> None:
    managed(world, "t")
    world.branch("dev-1")
    world.sync()
    for ref, table, words in (
        ("main", "", "canonical"),
        ("dev-7", "", "no branch"),
        ("dev-1", f"{world.database}.nothing", "no table"),
        ("dev-1", "word", "word"),
    ):
        with pytest.raises(UsageError, match=words):
            plan(world, ref, table)


def test_a_database_at_its_refs_root_is_moved_where_the_metastore_can(world: World, tmp_path: Path) -> None:
    managed(world, "t")
    world.branch("dev-1")
    world.sync()
    store, name = world.tables.metastore, f"{world.database}__dev_1"
    made = store.get_database(name)
    assert made is not None and made.location_uri == world.location("wh/db", "dev-1")
    root = world.location("", "dev-1")
    world.tables.drop_table(f"{name}.t")
    store.drop_empty_database(name)
    store.create_database(Database(name, root, parameters=made.parameters))
    found = plan(world)
    if not store.has_catalogs:
        assert not found.changes
        assert [n for n in found.notices if "CASCADE" in n.help]
        return
    (change,) = [c for c in found.changes if isinstance(c, MoveDatabase)]
    assert change.location == world.location("wh/db", "dev-1")
    before = world.directories()
    assert ("move-database", "done") in done(repair(world))
    moved = store.get_database(name)
    assert moved is not None and moved.location_uri == world.location("wh/db", "dev-1")
    assert world.directories() == before and not plan(world).changes
