"""What Trino does to mirrors, and what of it a merge carries to main."""

from __future__ import annotations

import pytest

from metasync.model.hms import TableType
from metasync.planning.table_type import deletes_data
from tests.trino.conftest import TrinoLakehouse

pytestmark = [pytest.mark.trino, pytest.mark.metastore]
FORMATS = ("PARQUET", "ORC", "TEXTFILE", "JSON", "AVRO")


def create(house: TrinoLakehouse, how: str) -> str:
    table = house.table("orders")
    house.sql(f"CREATE TABLE {table} (id bigint, name varchar, day varchar)"
              f" WITH (format = '{how}', partitioned_by = ARRAY['day'])")  # fmt: skip
    house.sql(f"INSERT INTO {table} VALUES (1, 'a', 'd1'), (2, 'b', 'd1'), (3, 'c', 'd2')")
    return table


@pytest.mark.parametrize("how", FORMATS)
def test_a_branch_is_worked_on_and_merged(lakehouse: TrinoLakehouse, how: str) -> None:
    world = lakehouse.world
    world.rule = "    merge: full\n"
    main = create(lakehouse, how)
    lakehouse.branch("dev-1")
    mirror = lakehouse.table("orders", "dev-1")
    before, files = lakehouse.sql(f"SELECT * FROM {main} ORDER BY id"), lakehouse.files("main")
    assert lakehouse.sql(f"SELECT * FROM {mirror} ORDER BY id") == before and len(before) == 3
    lakehouse.sql(f"INSERT INTO {mirror} VALUES (4, 'd', 'd3')")
    lakehouse.sql(f"ALTER TABLE {mirror} ADD COLUMN amount bigint COMMENT 'in cents'")
    lakehouse.sql(f"DELETE FROM {mirror} WHERE day = 'd1'")
    lakehouse.sql(
        f"CREATE TABLE {lakehouse.table('copied', 'dev-1')} WITH (format = '{how}') AS SELECT id FROM {mirror}"
    )
    lakehouse.sql(f"COMMENT ON TABLE {mirror} IS 'every order'")
    lakehouse.sql(f"ANALYZE {mirror}")
    done = lakehouse.sql(f"SELECT id, name, amount, day FROM {mirror} ORDER BY id")
    assert done == [(3, "c", None, "d2"), (4, "d", None, "d3")]
    assert lakehouse.sql(f"SELECT * FROM {main} ORDER BY id") == before and lakehouse.files("main") == files
    result = lakehouse.merge("dev-1")
    assert not result.conflicts
    assert lakehouse.sql(f"SELECT id, name, amount, day FROM {main} ORDER BY id") == done
    copied = world.tables.table(lakehouse.table("copied"))
    assert deletes_data(copied) and copied.sd.location == world.location("wh/db/copied")
    assert lakehouse.sql(f"SELECT count(*) FROM {lakehouse.table('copied')}") == [(2,)]
    assert not world.sync().outcomes and not world.lake.uncommitted("dev-1")


def test_a_table_is_dropped_and_created_again_or_renamed(lakehouse: TrinoLakehouse) -> None:
    world = lakehouse.world
    world.rule = "    merge: full\n"
    main = create(lakehouse, "ORC")
    lakehouse.branch("dev-1")
    mirror, files = lakehouse.table("orders", "dev-1"), lakehouse.files("main")
    lakehouse.sql(f"DROP TABLE {mirror}")
    lakehouse.sql(
        f"CREATE TABLE {mirror} WITH (format = 'PARQUET', partitioned_by = ARRAY['day'])"
        " AS SELECT BIGINT '9' AS id, CAST('i' AS varchar) AS name, CAST('d9' AS varchar) AS day"
    )
    lakehouse.sql(f"ALTER TABLE {mirror} RENAME TO {lakehouse.table('sales', 'dev-1')}")
    lakehouse.sql(f"ALTER TABLE {lakehouse.table('sales', 'dev-1')} RENAME TO {mirror}")
    assert lakehouse.files("main") == files
    assert lakehouse.sql(f"SELECT count(*) FROM {main}") == [(3,)]
    assert not lakehouse.merge("dev-1").conflicts
    assert lakehouse.sql(f"SELECT * FROM {main}") == [(9, "i", "d9")]


def test_what_trino_notes_of_itself_on_both_sides_is_no_conflict(lakehouse: TrinoLakehouse) -> None:
    main = create(lakehouse, "PARQUET")
    lakehouse.branch("dev-1")
    for name, ref in ((main, "main"), (lakehouse.table("orders", "dev-1"), "dev-1")):
        lakehouse.sql(f"ANALYZE {name}")
        lakehouse.world.tables.set_parameter(name, "trino_version", f"of {ref}")
        lakehouse.world.tables.set_parameter(name, "presto_query_id", f"q-{ref}")
    assert not lakehouse.merge("dev-1").conflicts


def test_a_tag_is_read_and_never_deleted_from(lakehouse: TrinoLakehouse) -> None:
    create(lakehouse, "PARQUET")
    lakehouse.commit("main")
    lakehouse.tag("v1")
    tagged, files = lakehouse.table("orders", "v1"), lakehouse.files("v1")
    assert lakehouse.sql(f"SELECT count(*) FROM {tagged}") == [(3,)]
    assert lakehouse.world.tables.table(tagged).table_type == TableType.EXTERNAL
    lakehouse.sql(f"DELETE FROM {tagged} WHERE day = 'd1'")
    assert lakehouse.sql(f"SELECT count(*) FROM {tagged}") == [(1,)], "its partition is gone, and no file"
    lakehouse.sql(f"DROP TABLE {tagged}")
    assert lakehouse.files("v1") == files
