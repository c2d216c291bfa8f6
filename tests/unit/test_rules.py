"""Whose a table is, which rule is meant, and how things are called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.model.hms import (
    FieldSchema,
    Order,
    SerDeInfo,
    SkewedInfo,
    StorageDescriptor,
    Table,
    TableName,
    TableType,
)
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.planning import spark
from metasync.planning.belonging import Asker, as_canonical, as_of_ref, may_hold_tables
from metasync.planning.names import database_may_match, logical_name, physical_name
from metasync.planning.partition_names import partition_name, values_of_name
from metasync.planning.patterns import compile_error, covers, matches
from metasync.planning.rules import RuleSet, may_take_database, problems, takes_table
from metasync.settings.models import Rule, Target

COLUMNS = (FieldSchema("id", "int", ""), FieldSchema("b", "string", "text"))
SD = StorageDescriptor(
    cols=COLUMNS,
    location="s3a://lake/main/wh/t",
    input_format="in",
    output_format="out",
    num_buckets=4,
    serde_info=SerDeInfo("s", "lib", {"path": "s3a://lake/main/wh/t", "x": "s3a://lake/main/wh/t"}),
    bucket_cols=("id",),
    sort_cols=(Order("b", 1),),
    skewed_info=SkewedInfo(("id",), (("1",),), ((("1",), "s3a://lake/main/wh/t/one"),)),
)
TABLE = Table(
    "sales",
    "t",
    SD,
    (FieldSchema("dt", "string", ""),),
    {
        "k": "v", "EXTERNAL": "TRUE", "numRows": "7", "transient_lastDdlTime": "9", "metasync.name": "x", "spark.sql.statistics.size": "1",
        "avro.schema.url": "s3a://lake/main/schemas/t.avsc", spark.SCHEMA: '{"type": "struct", "fields": []}', "impala.events.x": "1",
    },
    TableType.EXTERNAL, "ana", 1, 100, 200, 30,
)  # fmt: skip


# Whose a table is


def rule(**more: Any) -> Rule:
    return Rule(**({"name": "dev", "repository": "lake", "branches": ["dev*"], "tables": ["sales.*"]} | more))


REF = Ref(RefType.BRANCH, "dev")
RULES = RuleSet((rule(),))
ASKER = Asker("metasync", "lake", REF, 1, {TableName("old", "t"): TableName("sales", "was")})


def marked(**more: str) -> dict[str, str]:
    return {
        "metasync.instance": "metasync", "metasync.repository": "lake", "metasync.ref": "branch/dev",
        "metasync.incarnation": "1", "metasync.name": "sales__dev.t", "metasync.table": "sales.t",
    } | {key.replace("_", ".", 1): value for key, value in more.items()}  # fmt: skip


def test_canonical_tables() -> None:
    found = as_canonical(TABLE, "lake", Ref(RefType.BRANCH, "main"))
    assert found is not None and (found.physical, found.logical, found.kind) == (
        TableName("sales", "t"),
        TableName("sales", "t"),
        "canonical",
    )
    assert as_canonical(TABLE, "lake", Ref(RefType.BRANCH, "dev")) is None
    mirror = replace(TABLE, database="sales__dev", parameters=marked())
    assert as_canonical(mirror, "lake", Ref(RefType.BRANCH, "main")) is None
    assert (
        as_canonical(replace(TABLE, parameters={"metasync.making": "birth-1"}), "lake", Ref(RefType.BRANCH, "main"))
        is None
    )
    view = replace(TABLE, table_type=TableType.VIEW, sd=StorageDescriptor())
    assert as_canonical(view, "lake", Ref(RefType.BRANCH, "main")) is not None
    assert as_canonical(replace(TABLE, sd=StorageDescriptor()), "lake", Ref(RefType.BRANCH, "main")) is None


def test_tables_of_a_mirrored_ref() -> None:
    on_dev = replace(TABLE, database="sales__dev", sd=replace(SD, location="s3a://lake/dev/wh/t"), parameters={})
    mine = as_of_ref(replace(on_dev, parameters=marked()), ASKER, RULES)
    assert mine is not None and (mine.kind, mine.logical, mine.physical) == (
        "mirror",
        TableName("sales", "t"),
        TableName("sales__dev", "t"),
    )
    assert mine.marks is not None and mine.marks.instance == "metasync"
    making = as_of_ref(replace(on_dev, parameters=marked(metasync_making="birth-1")), ASKER, RULES)
    assert making is not None and making.kind == "making"
    for other in (
        {"metasync_instance": "x"},
        {"metasync_repository": "x"},
        {"metasync_ref": "branch/x"},
        {"metasync_incarnation": "2"},
    ):
        assert as_of_ref(replace(on_dev, parameters=marked(**other)), ASKER, RULES) is None
    assert as_of_ref(replace(on_dev, parameters={"metasync.making": "x"}), ASKER, RULES) is None
    users = as_of_ref(on_dev, ASKER, RULES)
    assert (
        users is not None
        and users.kind == "belonging"
        and users.logical == TableName("sales", "t")
        and users.marks is None
    )
    assert as_of_ref(replace(on_dev, sd=SD), ASKER, RULES) is None
    assert as_of_ref(replace(on_dev, database="hr__dev"), ASKER, RULES) is None
    pinned = as_of_ref(replace(on_dev, database="old"), ASKER, RULES)
    assert pinned is not None and pinned.logical == TableName("sales", "was")
    hashing = RuleSet((rule(target={"on_collision": "hash"}),))
    hashed = physical_name(hashing.rules[0].target, "lake", REF, TableName("sales", "t"), hashed=True)
    apart = replace(on_dev, database=hashed.database, name=hashed.table)
    found = as_of_ref(apart, ASKER, hashing)
    assert found is not None and found.logical == TableName("sales", "t")
    assert as_of_ref(apart, ASKER, RULES) is None


def test_databases_worth_reading() -> None:
    assert may_hold_tables("sales__dev", ASKER, RULES) and may_hold_tables("old", ASKER, RULES)
    assert not may_hold_tables("sales", ASKER, RULES) and not may_hold_tables("sales__dev2", ASKER, RULES)
    assert not may_hold_tables("sales__other", replace(ASKER, ref=Ref(RefType.BRANCH, "other")), RULES)
    assert database_may_match(Target(), "lake", REF, "anything__dev") and not database_may_match(
        Target(), "lake", REF, "anything"
    )


# Rules


def test_which_rule_is_meant() -> None:
    first, second = (
        rule(tables=["sales.o*"]),
        rule(name="all", repository="la*", tags=["v*"], ignore_parameters=["etl.*"], canonical_branch="prod"),
    )
    rules = RuleSet((first, second))
    orders, items, tag = TableName("sales", "orders"), TableName("sales", "items"), Ref(RefType.TAG, "v1")
    assert (
        rules.of_repository("lake") == (first, second)
        and rules.of_repository("lava") == (second,)
        and rules.of_repository("x") == ()
    )
    assert rules.of_ref("lake", REF) == (first, second) and rules.of_ref("lake", tag) == (second,)
    assert rules.of_table("lake", REF, orders) is first and rules.of_table("lake", REF, items) is second
    assert rules.of_table("lake", Ref(RefType.BRANCH, "x"), orders) is None
    lake = Repository("lake", 1, "", "main")
    assert rules.canonical_branches(lake) == {"main": [first], "prod": [second]}
    assert rules.is_watched(lake, Ref(RefType.BRANCH, "main")) and rules.is_watched(lake, Ref(RefType.BRANCH, "prod"))
    assert (
        rules.is_watched(lake, REF)
        and not rules.is_watched(lake, tag)
        and not rules.is_watched(lake, Ref(RefType.BRANCH, "x"))
    )
    assert rules.ignored_parameters("lake") == ("etl.*",) and rules.ignored_parameters("x") == ()
    assert rules.named("all") is second and rules.named("x") is None
    assert takes_table(first, orders) and not takes_table(first, items)
    assert takes_table(rule(tables=["SALES.*", "re:sales[.]x"]), orders)
    assert not takes_table(rule(tables=["sales.*", "!sales.o*"]), orders)


@pytest.mark.parametrize(
    ("tables", "database", "may"),
    [(["sales.*"], "sales", True), (["SALES.*"], "sales", True), (["sales.*"], "hr", False), (["re:x[.]y"], "hr", True), (["!hr.*"], "hr", True),
     (["*.*", "!hr.*"], "hr", True), (["s*.t"], "sales", True)],
)  # fmt: skip
def test_databases_that_a_rule_may_take(tables: list[str], database: str, may: bool) -> None:
    assert may_take_database(rule(tables=tables), database) is may


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([rule()], []),
        ([rule(branches=["re:("])], ["re:("]),
        ([rule(tables=["re:("])], ["re:("]),
        ([rule(repository="re:(")], ["re:("]),
        ([rule(tags=["!re:("])], ["re:("]),
        ([rule(target={"database": "{database}", "table": "{table}"})], ["has no {ref}"]),
        ([rule(branches=["dev"], target={"database": "{database}_x", "table": "{table}"})], []),
        ([rule(branches=["dev"], tags=["v"], target={"database": "x", "table": "{table}"})], ["has no {ref}"]),
        ([rule(branches=["re:dev"], target={"database": "x", "table": "{table}"})], ["has no {ref}"]),
        ([rule(branches=["dev?"], target={"database": "x", "table": "{table}"})], ["has no {ref}"]),
        ([rule(target={"database": "x", "table": "{ref}_{table}"})], []),
        ([rule(target={"database": "{ref}", "table": "t"})], ["has no {table}"]),
        ([rule(target={"database": "{ref}_{table}", "table": "t"})], []),
        ([rule(), rule(name="later", branches=["dev-1"])], ["'later' is shadowed by rule 'dev'"]),
        ([rule(branches=["dev-1"]), rule(name="later")], []),
        ([rule(), rule(name="later", repository="pond")], []),
        ([rule(), rule(name="later", tags=["v*"])], []),
        ([rule(), rule(name="later", tables=["hr.*"])], []),
        ([rule(), rule(name="later", tables=["SALES.x"])], ["'later' is shadowed"]),
    ],
)  # fmt: skip
def test_problems_of_rules(made: list[Rule], words: list[str]) -> None:
    found = problems(made)
    assert len(found) == len(words), found
    assert all(word in one and "rule '" in one for word, one in zip(words, found, strict=True))


def test_patterns_in_lists() -> None:
    assert matches("a", ["a"]) and not matches("a", ["A"]) and matches("ab", ["a*"]) and not matches("ab", ["a"])
    assert matches("x", ["!a"]) and not matches("a", ["!a"]) and not matches("a", ["*", "!a"]) and not matches("a", [])
    assert (
        matches("dev-12", ["re:dev-\\d+"])
        and not matches("dev-12x", ["re:dev-\\d+"])
        and not matches("dev-1", ["*", "!re:dev.*"])
    )
    assert compile_error("re:(") == "'re:(' is no regular expression of RE2, which runs in linear time: missing ): ("
    assert compile_error("re:a+") is None and compile_error("!re:a") is None and compile_error("[") is None
    assert covers(["*"], ["a"]) and covers(["a*"], ["ab*"]) and not covers(["a"], ["a*"]) and covers(["a?"], ["a?"])
    assert (
        not covers(["a?"], ["ab"])
        and not covers(["re:.*"], ["a"])
        and covers(["re:.*"], ["re:.*"])
        and not covers(["*"], ["re:a"])
    )
    assert covers(["a"], []) and not covers([], ["a"]) and not covers(["*", "!a"], ["b"]) and covers(["*"], ["a", "!b"])
    assert (
        covers(["*"], ["!b"])
        and not covers(["a*"], ["!b"])
        and not covers(["a[b]"], ["ab"])
        and covers(["a*"], ["a[b]"])
    )
    assert not covers(["a", "b"], ["a", "c"]) and covers(["a", "b"], ["b"])


# Names


def test_names_of_partitions() -> None:
    keys = (FieldSchema("DT", "string"), FieldSchema("c", "string"))
    assert partition_name(keys, ("2024:01", "")) == "dt=2024%3A01/c=__HIVE_DEFAULT_PARTITION__"
    assert values_of_name("dt=2024%3A01/c=x") == ("2024:01", "x")
    assert partition_name(keys[:1], ("a b=c/d%e{[^",)) == "dt=a b%3Dc%2Fd%25e%7B%5B%5E"
    assert partition_name(keys[:1], ("\x01\x7f\"#'*?\\]",)) == "dt=%01%7F%22%23%27%2A%3F%5C%5D"
    assert values_of_name("a=b=c") == ("b=c",)


def test_names_parse_back() -> None:
    target = Target(database="{repository}_{database}", table="{ref_type}_{ref}_{table}")
    made = physical_name(target, "lake", REF, TableName("sales", "t"))
    assert made == TableName("lake_sales", "branch_dev_t")
    assert logical_name(target, "lake", REF, made, hashed=False) == TableName("sales", "t")
    assert logical_name(target, "pond", REF, made, hashed=False) is None
    assert logical_name(target, "lake", Ref(RefType.TAG, "dev"), made, hashed=False) is None
    assert logical_name(target, "lake", Ref(RefType.BRANCH, "dev2"), made, hashed=False) is None
