"""One suite of statements, run on a branch and beside it on a control database: same outcome, same rows.

The control database holds what main held when the branch was created. After the merge main holds what it holds by then.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.conftest import SHORT, Lakehouse

pytestmark = [
    pytest.mark.clients,
    pytest.mark.metastore,
    # Foreign code's own warnings.
    pytest.mark.filterwarnings("default"),
]
FORMATS = {
    "parquet": "STORED AS PARQUET",
    "spark-parquet": "USING parquet",
    "orc": "STORED AS ORC",
    "spark-orc": "USING orc",
    "text": "ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE",
    "spark-csv": "USING csv",
    "spark-json": "USING json",
    "avro": "STORED AS AVRO",
}
SCENARIOS: dict[str, tuple[str, ...]] = {
    "inserts": ("INSERT INTO {t} VALUES (4, 'd', 'd1'), (5, 'e', 'd3')",),
    "dynamic overwrite": ("INSERT OVERWRITE TABLE {t} SELECT 7, 'g', 'd2'",),
    "columns": (
        "ALTER TABLE {t} ADD COLUMNS (amount int COMMENT 'in cents')",
        "INSERT INTO {t} SELECT id + 10, name, 70, day FROM {t} WHERE id = 3",
    ),
    "comments and properties": (
        "ALTER TABLE {t} SET TBLPROPERTIES ('owner.team' = 'finance', 'comment' = 'every order')",
        "ALTER TABLE {t} CHANGE COLUMN name name string COMMENT 'of the customer'",
        "ALTER TABLE {t} UNSET TBLPROPERTIES IF EXISTS ('owner.team')",
    ),
    "partitions": (
        "ALTER TABLE {t} ADD PARTITION (day = 'd8')",
        "ALTER TABLE {t} DROP PARTITION (day = 'd1')",
        "SHOW PARTITIONS {t}",
    ),
    "a partition renamed": ("ALTER TABLE {t} PARTITION (day = 'd1') RENAME TO PARTITION (day = 'd9')",),
    "repair": ("MSCK REPAIR TABLE {t}", "SHOW PARTITIONS {t}"),
    "statistics": (
        "INSERT INTO {t} VALUES (4, 'd', 'd1')",
        "ANALYZE TABLE {t} COMPUTE STATISTICS",
        "ANALYZE TABLE {t} COMPUTE STATISTICS FOR COLUMNS id",
    ),
    "truncate": ("TRUNCATE TABLE {t}", "INSERT INTO {t} VALUES (8, 'h', 'd1')"),
    "drop and create": (
        "DROP TABLE {t}",
        "CREATE TABLE {t} {how} {by} AS SELECT 9L AS id, 'i' AS name, 'd9' AS day",
    ),
    "drop with purge and create": (
        "DROP TABLE {t} PURGE",
        "CREATE TABLE {t} {columns}",
        "INSERT INTO {t} VALUES (1, 'x', 'y')",
    ),
    "save as table": ("SAVE {t} SELECT 9L AS id, 'i' AS name, 'd9' AS day", "SAVE {t} SELECT 9L AS id, 'd8' AS day"),
    "rename": ("ALTER TABLE {t} RENAME TO {db}.sales", "INSERT INTO {db}.sales VALUES (4, 'd', 'd1')"),
    "rename there and back": (
        "ALTER TABLE {t} RENAME TO {db}.backup",
        "CREATE TABLE {t} {how} {by} AS SELECT * FROM {db}.backup WHERE id > 1",
        "DROP TABLE {db}.backup",
    ),
    "new tables": (
        "CREATE TABLE {db}.fresh {columns}",
        "INSERT INTO {db}.fresh SELECT * FROM {t}",
        "CREATE TABLE {db}.copied {how} AS SELECT id, name FROM {t}",
        "CREATE TABLE {db}.placed (id bigint) USING json LOCATION '{root}/placed'",
        "INSERT INTO {db}.placed VALUES (1), (2)",
    ),
    "dropped": ("DROP TABLE {t}",),
    "what is refused": (
        "CREATE TABLE {t} (id bigint)",
        "SELECT nothing FROM {t}",
        "ALTER TABLE {t} CHANGE COLUMN id id string",
        "ALTER TABLE {t} RENAME TO {db}.orders",
        "ALTER TABLE {t} ADD PARTITION (month = 1)",
        "DROP TABLE {db}.nothing",
    ),
}
PARTITIONED = (True, False)


def cases() -> list[Any]:
    every = itertools.product(SCENARIOS, FORMATS, PARTITIONED)
    return [
        pytest.param(scenario, how, partitioned, id=f"{scenario}-{how}-{'partitioned' if partitioned else 'plain'}")
        for scenario, how, partitioned in every
        if not SHORT or (how, partitioned) == ("spark-parquet" if len(scenario) % 2 else "parquet", True)
    ]


@dataclass(frozen=True)
class Side:
    """A database that the statements run on, with its lake's root and its table's form."""

    house: Lakehouse
    database: str
    ref: str
    how: str
    partitioned: bool

    @property
    def words(self) -> dict[str, str]:
        by = "PARTITIONED BY (day)" if self.partitioned and self.how.startswith("USING") else ""
        hive = "PARTITIONED BY (day string)" if self.partitioned else ""
        columns = f"(id bigint, name string, day string) {self.how} {by}"
        if not self.how.startswith("USING"):
            columns = f"(id bigint, name string{'' if self.partitioned else ', day string'}) {hive} {self.how}"
        return {
            "db": self.database, "t": f"{self.database}.orders", "how": self.how, "columns": columns,
            "by": "PARTITIONED BY (day)" if self.partitioned else "",
            "root": self.house.world.location("wh", self.ref),
        }  # fmt: skip

    def run(self, statement: str) -> Any:
        """The rows of a statement, or the kind of error that it ends with."""
        from pyspark.errors import PySparkException

        text = statement.format(**self.words)
        try:
            if text.startswith("SAVE "):
                _, table, query = text.split(" ", 2)
                frame = self.house.session.sql(query)
                kind = self.how.rpartition(" ")[2].lower()
                writer = frame.write.mode("overwrite").format(kind)
                if kind == "textfile":
                    # Spark's own source of that name takes one column.
                    writer = writer.format("hive").option("fileFormat", kind)
                (writer.partitionBy("day") if self.partitioned else writer).saveAsTable(table)
                return []
            return sorted(self.house.sql(text), key=str)
        except PySparkException as error:
            return type(error).__name__, error.getErrorClass()

    def everything(self) -> dict[str, Any]:
        """Every table with its rows, its columns and its partitions, as Spark shows them."""
        found: dict[str, Any] = {}
        for name in sorted(self.house.world.tables.tables(self.database)):
            table = f"{self.database}.{name}"
            self.house.session.catalog.refreshTable(table)
            columns = [tuple(row)[:3] for row in self.house.session.sql(f"DESCRIBE {table}").collect()]
            try:
                partitions = self.house.sql(f"SHOW PARTITIONS {table}")
            except Exception as error:
                partitions = [(type(error).__name__,)]
            stored = self.house.world.tables.table(table)
            root = self.house.world.location("", self.ref)
            where = (stored.sd.serde_info.parameters.get("path") or stored.sd.location or "").removeprefix(root)
            rows = sorted(self.house.sql(f"SELECT * FROM {table}"), key=str)
            found[name] = (columns, partitions, stored.table_type, where, rows)
        return found


@pytest.mark.parametrize(("scenario", "how", "partitioned"), cases())
def test_a_branch_does_what_main_would_do(lakehouse: Lakehouse, scenario: str, how: str, partitioned: bool) -> None:
    world = lakehouse.world
    world.rule = "    merge: full\n"
    control_database = f"{world.database}_control"
    world.tables.create_database(control_database, world.location("wh/db", "control"))
    main = Side(lakehouse, world.database, "main", FORMATS[how], partitioned)
    branch = Side(lakehouse, f"{world.database}__dev_1", "dev-1", FORMATS[how], partitioned)
    control = Side(lakehouse, control_database, "control", FORMATS[how], partitioned)
    for side in (main, control):
        assert side.run("CREATE TABLE {t} {columns}") == []
        assert side.run("INSERT INTO {t} VALUES (1, 'a', 'd1'), (2, 'b', 'd1'), (3, 'c', 'd2')") == []
    lakehouse.branch("dev-1")
    before, files = main.everything(), lakehouse.files("main")
    assert branch.everything() == control.everything() == before
    for statement in SCENARIOS[scenario]:
        assert branch.run(statement) == control.run(statement), statement
        assert branch.everything() == control.everything(), statement
    assert lakehouse.files("main") == files and main.everything() == before, "main is what it was"
    lakehouse.merge("dev-1")
    assert main.everything() == control.everything()
    assert not world.sync().outcomes and not world.lake.uncommitted("dev-1")
