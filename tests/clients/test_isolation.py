"""Whatever an engine does with a branch's tables, main's files and rows stay what they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Lakehouse

pytestmark = [
    pytest.mark.clients,
    pytest.mark.metastore,
    # Foreign code's own warnings.
    pytest.mark.filterwarnings("default"),
]


def three_tables(house: Lakehouse) -> None:
    """A managed table, an external one and one of Spark's own format, two partitions each."""
    for name, how, place in (
        ("managed", "STORED AS PARQUET", ""),
        ("external", "STORED AS ORC", f"LOCATION '{house.world.location('wh/outside')}'"),
    ):
        kind = "EXTERNAL " if place else ""
        columns = "(id bigint, name string) PARTITIONED BY (day string)"
        house.sql(f"CREATE {kind}TABLE {house.table(name)} {columns} {how} {place}")
    house.sql(
        f"CREATE TABLE {house.table('own')} (id bigint, name string, day string) USING parquet PARTITIONED BY (day)"
    )
    for name in ("managed", "external", "own"):
        house.sql(f"INSERT INTO {house.table(name)} VALUES (1, 'a', 'd1'), (2, 'b', 'd2')")


def state(house: Lakehouse) -> dict[str, Any]:
    rows = {}
    for name in sorted(house.world.tables.tables(house.world.database)):
        house.session.catalog.refreshTable(house.table(name))
        rows[name] = sorted(house.sql(f"SELECT * FROM {house.table(name)}"), key=str)
    return {"files": house.files("main"), "rows": rows}


DESTRUCTION = {
    "dropped": "DROP TABLE {t}",
    "purged": "DROP TABLE {t} PURGE",
    "overwritten": "INSERT OVERWRITE TABLE {t} SELECT 9, 'z', 'd1'",
    "renamed": "ALTER TABLE {t} RENAME TO {db}.renamed_{name}",
    "a partition dropped": "ALTER TABLE {t} DROP PARTITION (day = 'd1') PURGE",
    "repaired": "MSCK REPAIR TABLE {t} SYNC PARTITIONS",
    "created anew": "DROP TABLE {t}; CREATE TABLE {t} USING parquet AS SELECT 1 AS id",
}


@pytest.mark.parametrize("what", DESTRUCTION)
def test_main_keeps_its_files_and_rows(lakehouse: Lakehouse, what: str) -> None:
    three_tables(lakehouse)
    lakehouse.branch("dev-1")
    before, database = state(lakehouse), f"{lakehouse.world.database}__dev_1"
    for name in ("managed", "external", "own"):
        for statement in DESTRUCTION[what].split("; "):
            text = statement.format(db=database, t=f"{database}.{name}", name=name)
            if name == "external" and text.startswith("CREATE TABLE"):
                continue
            lakehouse.sql(text)
    assert state(lakehouse) == before
    lakehouse.world.lake.delete_branch("dev-1")
    lakehouse.world.sync()
    assert state(lakehouse) == before


def test_a_database_that_is_dropped_with_all_it_holds_takes_its_own_branchs_files_alone(lakehouse: Lakehouse) -> None:
    three_tables(lakehouse)
    lakehouse.branch("dev-1")
    before, branch = state(lakehouse), lakehouse.files("dev-1")
    lakehouse.sql(f"DROP DATABASE {lakehouse.world.database}__dev_1 CASCADE")
    assert state(lakehouse) == before
    left = set(lakehouse.files("dev-1"))
    outside = {path for path in branch if path.startswith("wh/outside/")}
    assert outside and outside <= left, "only what lay in the database's own directory is gone"


def test_a_tag_is_not_deleted_by_anybody(lakehouse: Lakehouse) -> None:
    three_tables(lakehouse)
    lakehouse.commit("main")
    lakehouse.tag("v1")
    files = lakehouse.files("v1")
    database = f"{lakehouse.world.database}__v1"
    for name in ("managed", "external", "own"):
        lakehouse.sql(f"ALTER TABLE {database}.{name} DROP PARTITION (day = 'd1')")
        lakehouse.sql(f"DROP TABLE {database}.{name} PURGE")
    assert lakehouse.files("v1") == files


def test_a_partition_on_mains_path_is_safe_once_a_sync_has_seen_it(lakehouse: Lakehouse) -> None:
    three_tables(lakehouse)
    lakehouse.branch("dev-1")
    before, mirror = state(lakehouse), lakehouse.table("managed", "dev-1")
    where = lakehouse.world.location("wh/db/managed/day=d1")
    lakehouse.sql(f"ALTER TABLE {mirror} ADD PARTITION (day = 'd7') LOCATION '{where}'")
    lakehouse.world.lake.write("dev-1", "notes/why")
    lakehouse.world.branch("dev-2", "dev-1")
    lakehouse.world.sync()
    lakehouse.sql(f"ALTER TABLE {mirror} DROP PARTITION (day = 'd7')")
    lakehouse.sql(f"DROP TABLE {mirror}")
    assert state(lakehouse) == before


def test_a_database_that_branches_share(lakehouse: Lakehouse) -> None:
    world = lakehouse.world
    shared = f"shared_{world.database}"
    world.rule = f'    target: {{database: "{shared}", table: "{{table}}__{{ref}}"}}\n'
    world.tables.create_database(shared, world.location("wh/shared"))
    three_tables(lakehouse)
    lakehouse.branch("dev-1")
    before = state(lakehouse)
    lakehouse.sql(f"ALTER TABLE {shared}.managed__dev_1 RENAME TO {shared}.other")
    lakehouse.sql(f"DROP TABLE {shared}.own__dev_1")
    lakehouse.sql(f"DROP TABLE {shared}.other PURGE")
    assert state(lakehouse) == before


def test_two_databases_with_one_table_name(lakehouse: Lakehouse) -> None:
    world = lakehouse.world
    other = f"{world.database}b"
    world.rule = "    merge: full\n"
    world.also = f'"{other}.*"'
    world.tables.create_database(other, world.location("wh/other.db"))
    for database, rows in ((world.database, "(1, 'one')"), (other, "(2, 'two')")):
        lakehouse.sql(f"CREATE TABLE {database}.t (id bigint, name string) USING parquet")
        lakehouse.sql(f"INSERT INTO {database}.t VALUES {rows}")
    lakehouse.branch("dev-1")
    for database in (world.database, other):
        mirror = f"{database}__dev_1"
        lakehouse.session.sql(f"SELECT * FROM {database}.t").write.mode("overwrite").saveAsTable(f"{mirror}.t")
        lakehouse.sql(f"CREATE TABLE {mirror}.new AS SELECT * FROM {mirror}.t")
    lakehouse.merge("dev-1")
    for database, row in ((world.database, (1, "one")), (other, (2, "two"))):
        for table in ("t", "new"):
            lakehouse.session.catalog.refreshTable(f"{database}.{table}")
            assert lakehouse.sql(f"SELECT * FROM {database}.{table}") == [row]
    places = {(world.tables.table(f"{d}.{t}").sd.location or "") for d in (world.database, other) for t in ("t", "new")}
    assert places == {world.location(f"wh/{d}/{t}") for d in ("db", "other.db") for t in ("t", "new")}
