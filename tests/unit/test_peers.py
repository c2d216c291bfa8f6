"""What peers get wrong, each as a test of ours; and the cases of lakectl's own tests of moving locations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metasync.model.hms import FieldSchema, Partition, SerDeInfo, StorageDescriptor, Table, TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.belonging import Asker, as_of_ref
from metasync.planning.definition import Home, header_of, table_from
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.locations import absolute, relative
from metasync.planning.rules import RuleSet
from metasync.settings import parse_settings
from tests.one_partition import partition_from, partition_of

MAIN, DEV = Home("lake", "main"), Home("lake", "dev-1")
SD = StorageDescriptor((FieldSchema("id", "int"),), "s3a://lake/main/wh/t", serde_info=SerDeInfo(serialization_lib="x"))
TABLE = Table("sales", "t", SD, (FieldSchema("dt", "string"),))


@pytest.mark.parametrize(
    ("location", "moved"),
    [
        ("s3a://lake/main/wh/t", "s3a://lake/dev-1/wh/t"),
        ("s3a://lake/main/wh/t/dt=1", "s3a://lake/dev-1/wh/t/dt=1"),
        ("s3a://lake/main/wh//t/", "s3a://lake/dev-1/wh//t/"),
        ("lake/main/wh/t", "lake/main/wh/t"),
        ("s3a://", "s3a://"),
        ("s3a:// /% :", "s3a:// /% :"),
        ("s3a://lake/mainly/t", "s3a://lake/mainly/t"),
    ],
)
def test_lakectls_cases_of_locations(location: str, moved: str) -> None:
    assert absolute(relative(location, "lake", "main"), "dev-1") == moved


@pytest.mark.parametrize(
    "change",
    [
        {"sd": replace(SD, cols=(FieldSchema("id", "bigint"),))},
        {"sd": replace(SD, cols=(FieldSchema("renamed", "int"),))},
        {"sd": replace(SD, location="s3a://lake/main/elsewhere")},
        {"sd": replace(SD, serde_info=SerDeInfo(serialization_lib="y"))},
        {"parameters": {"k": "v"}},
    ],
)
def test_partitions_are_not_equal_because_their_column_counts_are(change: dict[str, object]) -> None:
    """lakectl compared last access time and the number of columns."""
    one = Partition(("1",), replace(SD, location="s3a://lake/main/wh/t/dt=1"))
    other = replace(one, **change)  # type: ignore[arg-type]
    assert partition_of(one, TABLE, MAIN) != partition_of(other, TABLE, MAIN)


def test_partition_keys_are_lists_and_not_joined_texts() -> None:
    """lakectl joined values with a dash, Hudi compared them without order."""
    assert partition_key(("a-b", "c")) != partition_key(("a", "b-c"))
    assert partition_key(("a", "b")) != partition_key(("b", "a"))


def test_each_partition_keeps_its_own_location() -> None:
    """Hudi shared one storage descriptor among partitions, and a cascade repointed them."""
    parts = [Partition((str(n),), replace(SD, location=f"s3a://lake/main/wh/t/dt={n}")) for n in range(3)]
    target = table_from(header_of(TABLE, MAIN), "sales__dev_1", "t", "dev-1")
    made = [partition_from(partition_of(p, TABLE, MAIN), target, "dev-1") for p in parts]
    assert [p.sd.location for p in made] == [f"s3a://lake/dev-1/wh/t/dt={n}" for n in range(3)]


def test_partitions_outside_of_the_table_stay_where_they_are() -> None:
    outside = Partition(("1",), replace(SD, location="s3a://other/x"))
    again = partition_from(partition_of(outside, TABLE, MAIN), TABLE, "dev-1")
    assert again.sd.location == "s3a://other/x"


def test_a_definition_on_one_ref_is_the_definition_on_another() -> None:
    on_dev = replace(TABLE, database="sales__dev_1", sd=replace(SD, location="s3a://lake/dev-1/wh/t"))
    assert header_of(on_dev, DEV) == header_of(TABLE, MAIN)


@pytest.mark.parametrize(
    ("location", "belongs"),
    [
        ("s3a://lake/dev-1/wh/x", True),
        ("s3a://lake/dev-10/wh/x", False),
        ("s3a://lake/main/wh/x", False),
        ("s3a://lakes/dev-1/wh/x", False),
        ("hdfs://lake/dev-1/x", False),
    ],
)
def test_a_table_belongs_by_its_ref_and_not_by_a_prefix_of_it(location: str, belongs: bool) -> None:
    """Descriptors listed by a bare prefix take the neighbours too."""
    rules = RuleSet.of(parse_settings('rules: [{name: d, repository: lake, branches: ["*"], tables: ["sales.*"]}]'))
    asker = Asker("metasync", "lake", Ref(RefType.BRANCH, "dev-1"), 1, {})
    table = replace(TABLE, database="sales__dev_1", name="x", sd=replace(SD, location=location))
    found = as_of_ref(table, asker, rules)
    assert (found is not None and found.logical == TableName("sales", "x")) is belongs


def test_copies_with_our_marks_are_not_ours() -> None:
    rules = RuleSet.of(parse_settings('rules: [{name: d, repository: lake, branches: ["*"], tables: ["sales.*"]}]'))
    asker = Asker("metasync", "lake", Ref(RefType.BRANCH, "dev-1"), 1, {})
    marks = {
        "metasync.instance": "metasync", "metasync.repository": "lake", "metasync.ref": "branch/dev-1",
        "metasync.incarnation": "1", "metasync.name": "sales__dev_1.t", "metasync.table": "sales.t",
    }  # fmt: skip
    ours = replace(TABLE, database="sales__dev_1", parameters=marks)
    found = as_of_ref(ours, asker, rules)
    assert found is not None and found.kind == "mirror"
    renamed = as_of_ref(replace(ours, name="t__dbt_backup"), asker, rules)
    assert renamed is None
    other_life = as_of_ref(replace(ours, parameters={**marks, "metasync.incarnation": "2"}), asker, rules)
    assert other_life is None
