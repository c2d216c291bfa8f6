"""Types of mirrors, and where their databases lie, on a real metastore: `planning/table_type.py` says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.engine.apply.databases import Databases
from metasync.metastore import Metastore
from metasync.model.hms import Database, Partition, Table, TableName, TableType
from metasync.model.lakefs import Ref, RefType
from metasync.model.marks import PREFIX
from metasync.planning.table_type import IMPOSED, deletes_data
from metasync.wiring import parts
from tests.conftest import World


def managed(world: World, name: str, ref: str = "main", *, location: str = "", keys: str = "") -> Table:
    """A managed table; what 4.x makes of one (EXTERNAL, and purging) counts as such."""
    pairs = [tuple(word.split(":")) for word in keys.split()]
    where = location or world.location(f"wh/db/{name.rpartition('.')[2]}", ref)
    return world.tables.create_table(name, where, [("id", "bigint")], pairs)  # type: ignore[arg-type]


def own(table: Table) -> dict[str, str]:
    marks = (PREFIX, "transient_lastDdlTime")
    return {key: value for key, value in table.parameters.items() if not key.startswith(marks)}


def test_a_branch_has_tables_of_their_types_and_a_tag_has_none_that_delete(world: World) -> None:
    original = managed(world, world.name("t"), keys="dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    note = replace(original, name="note", table_type=TableType.EXTERNAL, parameters={"EXTERNAL": "TRUE", "k": "v"})
    world.tables.metastore.create_table(replace(note, sd=replace(note.sd, location=world.location("wh/db/note"))))
    world.branch("dev-1")
    world.tag("v1")
    before = world.directories()
    assert not world.sync().failures
    assert world.directories() == before and world.lake.uncommitted("dev-1") == []
    assert deletes_data(original)
    for name in ("t", "note"):
        main, mirror = world.tables.table(world.name(name)), world.tables.table(world.name(name, "dev-1"))
        assert (mirror.table_type, own(mirror)) == (main.table_type, own(main))
        tagged = world.tables.table(world.name(name, "v1"))
        assert tagged.table_type == TableType.EXTERNAL and dict(IMPOSED).items() <= tagged.parameters.items()
    # A branch off the tag has the table's own type again; a branch off the branch too.
    world.lake.write("dev-1", "wh/db/t/f")
    world.branch("dev-2", "v1")
    world.branch("dev-3", "dev-1")
    world.sync()
    for ref in ("dev-2", "dev-3"):
        assert world.tables.table(world.name("t", ref)).table_type == original.table_type
        assert deletes_data(world.tables.table(world.name("t", ref)))
    assert not world.sync().plans[0].pending


def test_a_mirror_of_which_a_partition_leaves_the_ref_deletes_nothing(world: World) -> None:
    managed(world, world.name("t"), keys="dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    store, name = world.tables.metastore, TableName.parse(world.name("t"))
    table = world.tables.table(world.name("t"))
    elsewhere = Partition(("2",), replace(table.sd, location="s3a://spare-bucket/elsewhere"))
    store.add_partitions(name, [replace(elsewhere, sd=replace(table.sd, location=world.location("wh/db/t/dt=2")))])
    store.alter_partitions(name, [elsewhere])
    world.branch("dev-1")
    assert not world.sync().failures
    mirror = world.tables.table(world.name("t", "dev-1"))
    assert mirror.table_type == TableType.EXTERNAL and not deletes_data(mirror)
    assert len(world.tables.partitions(world.name("t", "dev-1"))) == 2


def test_a_mirror_in_a_shared_database_deletes_nothing(world: World) -> None:
    world.rule = '    target: {database: "all_branches", table: "{table}__{ref}"}\n'
    shared = f"all_branches_{world.database}"
    world.rule = world.rule.replace("all_branches", shared)
    world.tables.metastore.create_database(Database(shared, world.location("wh/db")))
    managed(world, world.name("t"))
    world.branch("dev-1")
    assert not world.sync().failures
    mirror = world.tables.table(f"{shared}.t__dev_1")
    assert mirror.table_type == TableType.EXTERNAL and not deletes_data(mirror)


@pytest.mark.parametrize(
    ("main", "branch"),
    [("wh/db", "wh/db"), ("wh/db/", "wh/db"), ("", "{}.db"), ("/", "{}.db"), (None, "{}.db")],
)
def test_a_database_lies_where_mains_lies_and_never_at_a_root(world: World, main: str | None, branch: str) -> None:
    where = f"file://{world.folder}/elsewhere" if main is None else world.location(main)
    world.tables.metastore.drop_empty_database(world.database)
    world.tables.metastore.create_database(Database(world.database, where.replace("main//", "main/")))
    managed(world, world.name("t"))
    world.branch("dev-1")
    assert not world.sync().failures
    made = database(world.tables.metastore, f"{world.database}__dev_1")
    assert made.location_uri == world.location(branch.format(world.database), "dev-1")
    assert deletes_data(world.tables.table(world.name("t", "dev-1")))
    assert not [key for key in made.parameters if key == "metasync.making"]


def test_a_database_without_an_object_below_it(world: World) -> None:
    """From 3.1 on it is moved to its place. Before, on a branch, that costs a directory; on a tag, it stays."""
    world.tables.metastore.drop_empty_database(world.database)
    world.tables.metastore.create_database(Database(world.database, world.location("wh/empty.db")))
    managed(world, world.name("t"))
    world.branch("dev-1")
    world.tag("v1")
    before = world.directories()
    assert not world.sync().failures
    store = world.tables.metastore
    assert database(store, f"{world.database}__dev_1").location_uri == world.location("wh/empty.db", "dev-1")
    tagged = database(store, f"{world.database}__v1").location_uri
    if store.has_catalogs:
        assert tagged == world.location("wh/empty.db", "v1") and world.directories() == before
    else:
        assert tagged == world.location("", "v1").rstrip("/") and world.directories() == before | {"dev-1/wh/empty.db"}


def test_a_database_whose_creation_was_cut_short_is_moved_to_its_place(world: World) -> None:
    store = world.tables.metastore
    if not store.has_catalogs:
        pytest.skip("2.3 cannot move a database, so none is made in two steps")
    managed(world, world.name("t"))
    world.branch("dev-1")
    world.sync()
    name, place = f"{world.database}__dev_1", world.location("wh/db", "dev-1")
    whole = database(store, name)
    # As if the process had died between the two calls.
    half = {**whole.parameters, "metasync.making": place}
    store.alter_database(replace(whole, location_uri=world.location("", "dev-1"), parameters=half))
    with parts(world.settings()) as built:
        databases = Databases(built.lakefs, store)
        there = built.lakefs.get_repository(world.repository)
        assert there is not None
        assert databases.ensure(there, Ref(RefType.BRANCH, "dev-1"), name, lambda: whole)
    assert database(store, name).location_uri == place and database(store, name).parameters == whole.parameters


def test_new_tables_come_with_their_type_and_place(world: World) -> None:
    managed(world, world.name("kept"))
    world.branch("dev-1")
    world.sync()
    mirror = managed(world, world.name("born", "dev-1"), "dev-1")
    world.tables.metastore.alter_table(replace(mirror, parameters={**mirror.parameters, "discover.partitions": "true"}))
    # What Spark's overwrite does: the mirror is dropped, and created anew at the database's default place.
    old = world.tables.table(world.name("kept", "dev-1"))
    world.tables.drop_table(world.name("kept", "dev-1"))
    home = database(world.tables.metastore, f"{world.database}__dev_1").location_uri
    again = managed(world, world.name("kept", "dev-1"), location=f"{home}/kept")
    assert again.sd.location == old.sd.location
    world.lake.write("dev-1", "wh/db/born/f", "wh/db/kept/f")
    world.lake.merge("dev-1")
    world.sync()
    born, source = world.tables.table(world.name("born")), world.tables.table(world.name("born", "dev-1"))
    assert (born.table_type, own(born)) == (source.table_type, own(source))
    assert born.sd.location == world.location("wh/db/born")
    assert world.tables.table(world.name("kept")).sd.location == world.location("wh/db/kept")
    assert not [key for key in born.parameters if key.startswith(PREFIX)]


def test_types_of_tables_that_are_there_are_not_merged(world: World) -> None:
    main = managed(world, world.name("t"))
    world.branch("dev-1")
    world.sync()
    mirror = world.tables.table(world.name("t", "dev-1"))
    parameters = {**mirror.parameters, "EXTERNAL": "TRUE", "external.table.purge": "FALSE", "mine": "yes"}
    world.tables.metastore.alter_table(replace(mirror, table_type=TableType.EXTERNAL, parameters=parameters))
    world.lake.write("dev-1", "wh/db/t/f")
    world.lake.merge("dev-1")
    result = world.sync()
    after = world.tables.table(world.name("t"))
    assert after.table_type == main.table_type and own(after) == {**own(main), "mine": "yes"}
    said = [n.message for plan in result.plans for n in plan.notices if n.kind == "type-not-merged"]
    assert len(said) == 1 and "EXTERNAL" in said[0]


def database(store: Metastore, name: str) -> Database:
    found = store.get_database(name)
    assert found is not None
    return found


def test_a_mirror_that_gains_a_location_off_its_ref_deletes_nothing_from_then_on(world: World) -> None:
    managed(world, world.name("t"), keys="dt:string")
    managed(world, world.name("moved"))
    world.branch("dev-1")
    world.sync()
    name, store = world.name("t", "dev-1"), world.tables.metastore
    mirror = world.tables.table(name)
    assert deletes_data(mirror)
    where = world.location("wh/db/t/dt=1")
    world.tables.add_partitions(name, ("1",))
    store.alter_partitions(TableName.parse(name), [Partition(("1",), replace(mirror.sd, location=where))])
    other = world.tables.table(world.name("moved", "dev-1"))
    store.alter_table(replace(other, sd=replace(other.sd, location=world.location("wh/db/moved"))))
    # The header shows at the next reading, partitions where all of them are read: as a branch is made of this one.
    world.lake.write("dev-1", "wh/db/t/f")
    world.branch("dev-2", "dev-1")
    world.sync()
    for table in ("t", "moved"):
        assert not deletes_data(world.tables.table(world.name(table, "dev-1"))), table
    assert not deletes_data(world.tables.table(world.name("t", "dev-2")))
    with parts(world.settings()) as built:
        history = [row for row in built.history.rows(world.repository) if row.action == "made external"]
    assert {row.logical for row in history} == {world.name("t"), world.name("moved")}
    assert not world.sync().plans[0].pending
    assert own(world.tables.table(world.name("t"))) == own(mirror), "main's table is what it was"


def test_a_partition_at_the_refs_root_is_a_partition(world: World) -> None:
    managed(world, world.name("t"), keys="dt:string")
    world.branch("dev-1")
    world.sync()
    name, store = world.name("t", "dev-1"), world.tables.metastore
    root = world.location("", "dev-1").rstrip("/")
    store.add_partitions(
        TableName.parse(name), [Partition(("1",), replace(world.tables.table(name).sd, location=root))]
    )
    world.lake.write("dev-1", "wh/db/t/f")
    world.lake.merge("dev-1")
    world.sync()
    assert world.tables.partition(world.name("t"), "1").sd.location == world.location("").rstrip("/")
