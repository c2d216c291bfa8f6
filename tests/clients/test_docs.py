"""docs/clients.md: its statements, run on a branch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.conftest import Lakehouse

pytestmark = [
    pytest.mark.clients,
    pytest.mark.metastore,
    # Foreign code's own warnings.
    pytest.mark.filterwarnings("default"),
]
TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")


def statements(of: str, house: Lakehouse) -> list[str]:
    """The statements of the blocks that are of a kind, about this test's tables."""
    block = "".join(re.findall(rf"^```{of}\n(.*?)^```", TEXT, re.M | re.S))
    named = block.replace("sales__dev_1", f"{house.world.database}__dev_1").replace(
        "sales.", f"{house.world.database}."
    )
    found = [one.strip() for one in named.split(";") if one.strip()]
    assert found
    return found


def test_the_statements_of_the_page(lakehouse: Lakehouse) -> None:
    columns = "(id bigint, name string, day string)"
    lakehouse.sql(f"CREATE TABLE {lakehouse.table('orders')} {columns} USING parquet PARTITIONED BY (day)")
    lakehouse.sql(f"INSERT INTO {lakehouse.table('orders')} VALUES (1, 'a', '2026-01-01'), (2, 'b', '2026-01-02')")
    lakehouse.branch("dev-1")
    files, (on_main,) = lakehouse.files("main"), statements("sql main", lakehouse)
    rows = lakehouse.sql(on_main)
    for statement in statements("sql", lakehouse):
        lakehouse.sql(statement)
    assert lakehouse.files("main") == files
    lakehouse.session.catalog.refreshTable(lakehouse.table("orders"))
    assert lakehouse.sql(on_main) == rows
    assert sorted(lakehouse.world.tables.tables(f"{lakehouse.world.database}__dev_1")) == ["orders", "orders_by_day"]
