"""Where a ref's database lies."""

from __future__ import annotations

import pytest

from metasync.planning.database_places import place_like, place_of_table

ROOT = "s3a://lake/dev/"


@pytest.mark.parametrize(
    ("others", "place"),
    [
        (["s3a://lake/main/wh/sales.db"], "s3a://lake/dev/wh/sales.db"),
        (["s3://lake/main/wh/sales.db/"], "s3://lake/dev/wh/sales.db/"),
        (["s3a://lake/main", "s3a://lake/main/wh"], "s3a://lake/dev/wh"),
        (["s3a://lake/main/", None, "file:/warehouse/sales.db", "s3a://pond/main/wh"], "s3a://lake/dev/sales.db"),
        ([], "s3a://lake/dev/sales.db"),
    ],
)
def test_a_database_lies_as_another_does_and_never_at_a_root(others: list[str | None], place: str) -> None:
    assert place_like("lake", "dev", "sales", ROOT, others) == place


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("s3a://lake/dev/wh/sales.db/t", "s3a://lake/dev/wh/sales.db"),
        ("s3a://lake/dev/wh/sales.db/T/", "s3a://lake/dev/wh/sales.db"),
        ("s3a://lake/dev/wh/elsewhere", "s3a://lake/dev/sales.db"),
        ("s3a://lake/dev/t", "s3a://lake/dev/sales.db"),
    ],
)
def test_a_database_lies_where_its_first_table_shows(location: str, place: str) -> None:
    assert place_of_table("sales", "t", location, "dev") == place
