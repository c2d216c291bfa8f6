"""Patterns, names and locations, as properties."""

import re

from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.locations import absolute, is_relative, on_ref, relative
from metasync.planning.names import DATABASE_LIMIT, TABLE_LIMIT, logical_name, physical_name
from metasync.planning.patterns import covers, matches
from metasync.settings.models import Target
from tests.hypothesis_examples import examples

identifiers = st.text("abcz019_", min_size=1, max_size=12).filter(lambda text: text.strip("_"))
branch_names = st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_]{0,20}", fullmatch=True)
anything = st.text(min_size=1, max_size=400)
refs = st.builds(Ref, st.sampled_from(RefType), branch_names)
DEFAULT = Target()


@examples(200)
@given(refs, identifiers, identifiers)
def test_a_name_parses_back_to_its_table(ref: Ref, database: str, table: str) -> None:
    logical = TableName(database, table)
    assert logical_name(DEFAULT, "lake", ref, physical_name(DEFAULT, "lake", ref, logical)) == logical


@examples(200)
@given(anything, anything, anything)
def test_names_are_portable_and_within_hms_limits(ref: str, database: str, table: str) -> None:
    name = physical_name(DEFAULT, "lake", Ref(RefType.TAG, ref), TableName(database, table))
    assert re.fullmatch(r"[a-z0-9_]+", name.database) and len(name.database) <= DATABASE_LIMIT
    assert re.fullmatch(r"[a-z0-9_]+", name.table) and len(name.table) <= TABLE_LIMIT


def test_long_names_that_share_a_beginning_stay_apart_and_a_database_is_shared_by_its_tables() -> None:
    def name(ref: str, table: str = "t") -> TableName:
        return physical_name(DEFAULT, "lake", Ref(RefType.BRANCH, "x" * 200 + ref), TableName("sales", table))

    assert name("a") != name("b")
    assert name("a").database == name("a", "u").database


def test_the_examples_of_the_design() -> None:
    def name(ref: Ref) -> str:
        return physical_name(DEFAULT, "lake", ref, TableName("sales", "t")).database

    assert name(Ref(RefType.BRANCH, "dev-1")) == "sales__dev_1"
    assert name(Ref(RefType.TAG, "v1.0")) == "sales__v1_0"


def test_refs_of_one_name_are_told_apart_by_a_hash() -> None:
    dash, under = Ref(RefType.BRANCH, "dev-1"), Ref(RefType.BRANCH, "dev_1")
    table = TableName("sales", "t")
    assert physical_name(DEFAULT, "lake", dash, table) == physical_name(DEFAULT, "lake", under, table)
    assert physical_name(DEFAULT, "lake", dash, table, hashed=True) != physical_name(
        DEFAULT, "lake", under, table, hashed=True
    )


def test_an_ambiguous_target_parses_by_the_ref_that_asks() -> None:
    target = Target(database="{database}_{ref}")
    physical = TableName("a_b_c", "t")
    assert logical_name(target, "lake", Ref(RefType.BRANCH, "c"), physical) == TableName("a_b", "t")
    assert logical_name(target, "lake", Ref(RefType.BRANCH, "b_c"), physical) == TableName("a", "t")
    assert logical_name(target, "lake", Ref(RefType.BRANCH, "x"), physical) is None


@examples(200)
@given(st.sampled_from(["s3a", "s3", "s3n", "lakefs"]), branch_names, st.text(max_size=60))
def test_a_location_moves_to_its_ref_and_back_unchanged(scheme: str, ref: str, rest: str) -> None:
    location = f"{scheme}://lake/{ref}/{rest}"
    assert on_ref(location, "lake", ref)
    there = relative(location, "lake", ref)
    assert is_relative(there)
    assert absolute(there, ref) == location


def test_what_is_not_on_the_ref_stays_as_it_is() -> None:
    for location in (
        "s3a://lake/main/x",
        "s3a://other/dev-1/x",
        "hdfs://lake/dev-1/x",
        "s3a://lake//dev-1/x",
        "s3a://lake/dev-10/x",
        "/lake/dev-1/x",
        "",
    ):
        assert relative(location, "lake", "dev-1") == location
    for odd in (
        "s3a://lake/dev-1/t/",
        "s3a://lake/dev-1//t",
        "s3a://lake/dev-1/dt=2024%3A01",
        "s3a://lake/dev-1",
        "s3a://lake/dev-1/t-__PLACEHOLDER__",
    ):
        assert absolute(relative(odd, "lake", "dev-1"), "dev-2") == odd.replace("dev-1", "dev-2")


def test_patterns() -> None:
    assert matches("dev-1", ["dev-*"]) and not matches("Dev-1", ["dev-*"])
    assert matches("dev-1", ["re:dev-\\d"]) and not matches("xdev-1", ["re:dev-\\d"])
    assert not matches("dev-x", ["dev-*", "!dev-x"]) and matches("a", ["!b"]) and not matches("a", [])


globs = st.text("ab*?", min_size=1, max_size=6)


@examples(200)
@given(st.lists(globs, max_size=3), st.lists(globs, max_size=3), st.text("ab", max_size=6))
def test_covers_never_claims_too_much(wide: list[str], narrow: list[str], name: str) -> None:
    if covers(wide, narrow) and matches(name, narrow):
        assert matches(name, wide)


def test_a_table_name_is_two_words() -> None:
    assert TableName.parse("Sales.Orders") == TableName("sales", "orders")
