"""What Spark 3.5 does to mirrors, and what of it a merge carries to main."""

from __future__ import annotations

from pathlib import Path

import pytest

from metasync.errors import LakeFSError
from metasync.model.hms import TableName
from tests.clients.conftest import Lakehouse

pytestmark = [
    pytest.mark.clients,
    pytest.mark.metastore,
    # Foreign code's own warnings.
    pytest.mark.filterwarnings("default"),
]
FORMATS = {
    "parquet": "STORED AS PARQUET",
    "orc": "STORED AS ORC",
    "text": "ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE",
    "parquet, Spark's own": "USING parquet",
    "orc, Spark's own": "USING orc",
}


def create(house: Lakehouse, table: str, how: str, ref: str = "main", path: str = "wh/orders") -> None:
    """A table of orders by day, with two days, outside of any warehouse."""
    where = f"LOCATION '{house.world.location(path, ref)}'"
    if how.startswith("USING"):
        house.sql(f"CREATE TABLE {table} (id bigint, name string, day string) {how} PARTITIONED BY (day) {where}")
    else:
        columns = "(id bigint, name string) PARTITIONED BY (day string)"
        house.sql(f"CREATE EXTERNAL TABLE {table} {columns} {how} {where}")
    house.sql(f"INSERT INTO {table} VALUES (1, 'a', 'd1'), (2, 'b', 'd1'), (3, 'c', 'd2')")


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS.keys())
def test_a_mirror_is_read_and_written_and_its_changes_reach_main(lakehouse: Lakehouse, how: str) -> None:
    main, mirror = lakehouse.table("orders"), lakehouse.table("orders", "dev-1")
    create(lakehouse, main, how)
    lakehouse.branch("dev-1")
    rows = "SELECT id, name, day FROM {} ORDER BY id"
    assert lakehouse.sql(rows.format(mirror)) == [(1, "a", "d1"), (2, "b", "d1"), (3, "c", "d2")]

    lakehouse.sql(f"ALTER TABLE {mirror} ADD COLUMNS (amount int COMMENT 'in cents')")
    lakehouse.sql(f"INSERT INTO {mirror} PARTITION (day = 'd3') SELECT 4, 'd', 40")
    lakehouse.sql(f"INSERT OVERWRITE TABLE {mirror} PARTITION (day = 'd2') SELECT 5, 'e', 50")
    assert lakehouse.sql(f"SELECT id FROM {main} ORDER BY id") == [(1,), (2,), (3,)], "main is untouched by the branch"
    assert lakehouse.sql(f"SELECT id, amount FROM {mirror} WHERE day > 'd1' ORDER BY id") == [(4, 40), (5, 50)]

    lakehouse.merge("dev-1")
    assert lakehouse.sql(f"SELECT id, amount, day FROM {main} ORDER BY id") == [
        (1, None, "d1"),
        (2, None, "d1"),
        (4, 40, "d3"),
        (5, 50, "d2"),
    ]
    assert lakehouse.sql(f"SHOW PARTITIONS {main}") == [("day=d1",), ("day=d2",), ("day=d3",)]
    described = {row[0]: row[1:3] for row in lakehouse.sql(f"DESCRIBE {main}")}
    assert described["amount"] == ("int", "in cents")
    assert not lakehouse.world.sync().outcomes


def test_what_msck_repair_finds_on_a_mirror_reaches_main(lakehouse: Lakehouse) -> None:
    main, mirror = lakehouse.table("orders"), lakehouse.table("orders", "dev-1")
    create(lakehouse, main, "STORED AS PARQUET")
    lakehouse.branch("dev-1")
    lakehouse.session.sql("SELECT 9L AS id, 'z' AS name").write.parquet(
        lakehouse.world.location("wh/orders/day=d9", "dev-1")
    )
    assert lakehouse.sql(f"SELECT id FROM {mirror} WHERE day = 'd9'") == []
    lakehouse.sql(f"MSCK REPAIR TABLE {mirror}")
    assert lakehouse.sql(f"SELECT id FROM {mirror} WHERE day = 'd9'") == [(9,)]
    lakehouse.merge("dev-1")
    assert lakehouse.sql(f"SELECT id, name FROM {main} WHERE day = 'd9'") == [(9, "z")]


def test_a_mirror_that_save_as_table_overwrites_stays_the_branchs_table(lakehouse: Lakehouse) -> None:
    """Spark drops the mirror and creates another of the name, without our marks: it still belongs to the branch."""
    main, mirror = lakehouse.table("orders"), lakehouse.table("orders", "dev-1")
    where = lakehouse.world.location("wh/orders", "dev-1")
    lakehouse.sql(
        f"CREATE TABLE {main} (id bigint, name string) USING parquet LOCATION '{lakehouse.world.location('wh/orders')}'"
    )
    lakehouse.sql(f"INSERT INTO {main} VALUES (1, 'a')")
    lakehouse.branch("dev-1")
    frame = lakehouse.session.sql("SELECT 7L AS id, 'g' AS name, 70 AS amount")
    frame.write.mode("overwrite").format("parquet").option("path", where).saveAsTable(mirror)
    replaced = lakehouse.world.tables.table(mirror)
    assert "metasync.instance" not in replaced.parameters
    lakehouse.merge("dev-1")
    assert lakehouse.sql(f"SELECT id, name, amount FROM {main}") == [(7, "g", 70)]
    assert lakehouse.world.tables.table(main).sd.location.startswith(lakehouse.world.location("wh"))  # type: ignore[union-attr]


def test_a_renamed_mirror_is_a_new_table_and_a_drop_that_waits(lakehouse: Lakehouse) -> None:
    main, mirror = lakehouse.table("orders"), lakehouse.table("orders", "dev-1")
    create(lakehouse, main, "STORED AS PARQUET")
    lakehouse.branch("dev-1")
    renamed = lakehouse.table("sales", "dev-1")
    lakehouse.sql(f"ALTER TABLE {mirror} RENAME TO {renamed}")
    lakehouse.sql(f"INSERT INTO {renamed} PARTITION (day = 'd2') SELECT 4, 'd'")
    lakehouse.merge("dev-1")
    database = lakehouse.world.database
    assert lakehouse.world.tables.tables(database) == ["orders", "sales"]
    assert lakehouse.sql(f"SELECT id FROM {lakehouse.table('sales')} ORDER BY id") == [(1,), (2,), (3,), (4,)]
    made = lakehouse.world.tables.metastore.get_table(TableName(database, "sales"))
    assert made is not None and not [key for key in made.parameters if key.startswith("metasync.")]


def test_a_table_that_is_made_on_the_branch_comes_to_main_and_ends_with_the_branch(lakehouse: Lakehouse) -> None:
    create(lakehouse, lakehouse.table("orders"), "STORED AS PARQUET")
    lakehouse.branch("dev-1")
    create(lakehouse, lakehouse.table("fresh", "dev-1"), "STORED AS ORC", "dev-1", "wh/fresh")
    lakehouse.merge("dev-1")
    assert lakehouse.sql(f"SELECT count(*) FROM {lakehouse.table('fresh')}") == [(3,)]
    lakehouse.world.lake.delete_branch("dev-1")
    assert not lakehouse.world.sync().failures
    assert f"{lakehouse.world.database}__dev_1" not in lakehouse.world.tables.databases()
    assert lakehouse.sql(f"SELECT count(*) FROM {lakehouse.table('fresh')}") == [(3,)]


def test_delta_keeps_its_schema_in_the_data(lakehouse: Lakehouse, delta_jars: list[str]) -> None:
    if not delta_jars:
        pytest.skip("needs Delta's jars, which Maven fetches")
    main, mirror = lakehouse.table("events"), lakehouse.table("events", "dev-1")
    where = lakehouse.world.location("wh/events")
    lakehouse.sql(f"CREATE TABLE {main} (id bigint, day string) USING delta LOCATION '{where}'")
    lakehouse.sql(f"INSERT INTO {main} VALUES (1, 'd1')")
    lakehouse.branch("dev-1")
    assert lakehouse.sql(f"SELECT id, day FROM {mirror}") == [(1, "d1")]
    lakehouse.sql(f"ALTER TABLE {mirror} ADD COLUMNS (amount int)")
    lakehouse.sql(f"INSERT INTO {mirror} VALUES (2, 'd2', 20)")
    assert lakehouse.sql(f"SELECT id FROM {main}") == [(1,)]
    lakehouse.merge("dev-1")
    assert lakehouse.sql(f"SELECT id, amount FROM {main} ORDER BY id") == [(1, None), (2, 20)]


def test_two_branches_that_append_to_one_delta_table_are_lakefss_conflict(
    lakehouse: Lakehouse, delta_jars: list[str]
) -> None:
    """Both write the log's next entry: lakeFS refuses the second merge, and its work is done again on a new branch."""
    if not delta_jars:
        pytest.skip("needs Delta's jars, which Maven fetches")
    world, main = lakehouse.world, lakehouse.table("events")
    lakehouse.sql(f"CREATE TABLE {main} (id bigint) USING delta LOCATION '{world.location('wh/events')}'")
    lakehouse.sql(f"INSERT INTO {main} VALUES (1)")
    lakehouse.branch("dev-1")
    lakehouse.branch("dev-2")
    for number, ref in ((2, "dev-1"), (3, "dev-2")):
        lakehouse.sql(f"INSERT INTO {lakehouse.table('events', ref)} VALUES ({number})")
    lakehouse.merge("dev-1")
    before = world.tables.table(main)
    with pytest.raises(LakeFSError, match="409"):
        lakehouse.merge("dev-2")
    assert not world.sync().outcomes and world.tables.table(main) == before
    assert lakehouse.sql(f"SELECT id FROM {main} ORDER BY id") == [(1,), (2,)]
    assert lakehouse.sql(f"SELECT id FROM {lakehouse.table('events', 'dev-2')} ORDER BY id") == [(1,), (3,)]
    lakehouse.branch("dev-3")
    lakehouse.sql(f"INSERT INTO {lakehouse.table('events', 'dev-3')} VALUES (3)")
    lakehouse.merge("dev-3")
    assert lakehouse.sql(f"SELECT id FROM {main} ORDER BY id") == [(1,), (2,), (3,)]
    said = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    assert "two branches that both write one are lakeFS's conflict" in said
