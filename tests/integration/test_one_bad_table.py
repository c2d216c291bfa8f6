"""One bad table stops only itself: a fault at each place where a table is worked on, for one table of five."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from metasync.engine.apply import create, delete, merge_applier
from metasync.engine.observe.merge_sides import MergeSides
from metasync.engine.record.recorder import Recorder
from metasync.engine.track import manifest_reader, table_reader
from metasync.metastore.builder import TableBuilder
from metasync.metastore.client import Metastore
from metasync.planning import plan_creation, plan_merge
from metasync.store.versions import VersionStore
from metasync.wiring import parts
from tests.conftest import World

TABLES = ("a", "b", "bad", "d", "e")


class Broken(Exception):
    """What nobody foresaw."""


def about(value: Any) -> bool:
    """Whether an argument is about the bad table."""
    logical, physical = getattr(value, "logical", None), getattr(value, "physical", None)
    names = (value, logical, physical, getattr(value, "table_name", None), getattr(value, "subject", None))
    return any(
        getattr(name, "table", None) == "bad" or str(name).endswith(".bad") for name in names if name is not None
    )


def failing(real: Callable[..., Any]) -> Callable[..., Any]:
    def broken(*arguments: Any, **options: Any) -> Any:
        if any(about(value) for value in (*arguments, *options.values())):
            raise Broken("it is broken")
        return real(*arguments, **options)

    return broken


def failing_in_bulk(real: Callable[..., Any]) -> Callable[..., Any]:
    def broken(self: Metastore, database: str, names: Any) -> Any:
        if "bad" in names:
            raise Broken("the whole answer cannot be read")
        return real(self, database, names)

    return broken


READ = [
    (table_reader, "as_canonical"),
    (table_reader, "as_of_ref"),
    (table_reader, "header_of"),
    (manifest_reader.ManifestReader, "read"),
    (Metastore, "get_constraints"),
    (VersionStore, "add"),
]
APPLIED = [(merge_applier.MergeApplier, "merge"), (Recorder, "_merged")]


def prepare(world: World) -> None:
    for name in TABLES:
        world.create_table(name)
    world.branch("dev-1")
    assert not world.sync().failures


def work(world: World) -> None:
    for name in TABLES:
        world.tables.add_column(world.name(name, "dev-1"), "added", "int")
    world.lake.write("dev-1", *(f"wh/{name}/f" for name in TABLES))
    world.lake.merge("dev-1")


def merged(world: World) -> list[str]:
    return [name for name in TABLES if "added" in world.tables.columns(world.name(name))]


def said(world: World) -> str:
    """What status says needs somebody, and what notifications are made of."""
    with parts(world.settings()) as built:
        return "\n".join(f"{n.kind} {n.subject}: {n.message}" for n in built.queries.status().attention)


def check_only_bad_failed(world: World, result: Any, *, written: bool = False) -> None:
    assert merged(world) == [name for name in TABLES if name != "bad" or written]
    failures = [f.subject for f in result.failed_tables] + [str(o.change.physical) for o in result.failures]
    assert any(".bad" in subject for subject in failures), failures
    assert "failed" in said(world) and ".bad" in said(world) and "broken" in said(world)


@pytest.mark.parametrize(
    ("owner", "name"),
    [*READ, (MergeSides, "view"), (plan_merge, "plan_table_merge"), *APPLIED],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_merge_of_one_bad_table(world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    prepare(world)
    work(world)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing(getattr(owner, name)))
        # What cannot be recorded was written before, and is found so by the next try.
        check_only_bad_failed(world, world.sync(), written=name == "_merged")
        with parts(world.settings()) as built:
            (merge,) = built.ledger.find_merges("")
            assert merge.state == "partial"
        # A merge that comes later goes on without the table, and is open for it too.
        world.tables.add_column(world.name("a", "dev-1"), "later", "int")
        world.tables.add_column(world.name("bad", "dev-1"), "later", "int")
        world.lake.write("dev-1", "wh/a/later")
        world.lake.merge("dev-1")
        world.branch("dev-2")
        world.sync()
        assert "later" in world.tables.columns(world.name("a"))
        assert world.tables.exists(world.name("a", "dev-2"))
        assert "later" not in world.tables.columns(world.name("bad"))
        assert ".bad" in said(world)
    # Once it works, what was open is done, in the order in which it came.
    for _ in range(3):
        result = world.sync()
    assert not result.failures and not result.failed_tables and ".bad" not in said(world)
    assert merged(world) == list(TABLES) and "later" in world.tables.columns(world.name("bad"))
    with parts(world.settings()) as built:
        assert {merge.state for merge in built.ledger.find_merges("")} == {"done"}
    assert world.tables.exists(world.name("bad", "dev-2"))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *(one for one in READ if one[1] != "as_of_ref"),
        (TableBuilder, "build"),
        (create.MirrorCreator, "create"),
        (plan_creation, "_plan_mirror"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_creation_of_one_bad_table(world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    for one in TABLES:
        world.create_table(one)
    world.branch("dev-1")
    with monkeypatch.context() as patched:
        broken = failing(getattr(owner, name))
        if name == "build":
            real = TableBuilder.build

            def broken(self: Any, blueprint: Any) -> Any:
                if blueprint.table.name == "bad":
                    raise Broken("it is broken")
                return real(self, blueprint)

        patched.setattr(owner, name, broken)
        world.sync()
        mirrors = world.tables.tables(world.name("a", "dev-1").partition(".")[0])
        assert set(mirrors) >= {"a", "b", "d", "e"} and "bad" not in mirrors
        assert ".bad" in said(world) and "broken" in said(world)
    world.sync()
    assert world.tables.exists(world.name("bad", "dev-1")) and "broken" not in said(world)


def test_a_bulk_read_that_one_table_spoils(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(world)
    work(world)
    with monkeypatch.context() as patched:
        patched.setattr(Metastore, "get_tables", failing_in_bulk(Metastore.get_tables))
        patched.setattr(Metastore, "get_table", failing(Metastore.get_table))
        result = world.sync()
    check_only_bad_failed(world, result)


def test_a_drop_of_one_bad_table(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(world)
    world.lake.delete_branch("dev-1")
    with monkeypatch.context() as patched:
        patched.setattr(delete.MirrorDropper, "drop", failing(delete.MirrorDropper.drop))
        world.sync()
        assert world.tables.tables(world.name("a", "dev-1").partition(".")[0]) == ["bad"]
        assert ".bad" in said(world)
    world.sync()
    assert world.name("a", "dev-1").partition(".")[0] not in world.tables.databases()


def test_a_column_named_like_a_sentinel(world: World) -> None:
    world.create_table("good")
    world.tables.create_table(world.name("star"), world.location("wh/star"), [("id", "bigint"), ("*", "bigint")])
    world.branch("dev-1")
    world.sync()
    for name in ("good", "star"):
        world.tables.add_column(world.name(name, "dev-1"), "added", "int")
    world.lake.write("dev-1", "wh/good/f")
    world.lake.merge("dev-1")
    result = world.sync()
    assert not result.failures and not result.failed_tables
    assert world.tables.columns(world.name("star")) == ["id", "*", "added"]
    assert world.tables.columns(world.name("good")) == ["id", "added"]


class Watcher:
    """Counts what is made."""

    def __init__(self) -> None:
        self.made = 0

    def planned(self, _plan: Any) -> None:
        return

    def __call__(self, _outcome: Any) -> None:
        self.made += 1


def test_a_merge_that_is_cut_short_still_knows_what_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(world)
    work(world)
    watcher = Watcher()
    with monkeypatch.context() as patched:
        patched.setattr(plan_merge, "plan_table_merge", failing(plan_merge.plan_table_merge))
        world.sync(stop=lambda: watcher.made >= 2, watcher=watcher)
    world.sync()
    world.sync()
    assert merged(world) == list(TABLES) and ".bad" not in said(world)
    with parts(world.settings()) as built:
        assert [merge.state for merge in built.ledger.find_merges("")] == ["done"]


def test_a_ref_that_goes_with_a_table_that_cannot_be_read_keeps_its_tables(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(world)
    work(world)
    world.lake.delete_branch("dev-1")
    database = world.name("a", "dev-1").partition(".")[0]
    with monkeypatch.context() as patched:
        patched.setattr(table_reader, "header_of", failing(table_reader.header_of))
        for _ in range(2):
            result = world.sync()
            assert not result.more
            assert world.tables.tables(database) == list(TABLES) and ".bad" in said(world)
    for _ in range(2):
        world.sync()
    assert merged(world) == list(TABLES)
    assert database not in world.tables.databases() and ".bad" not in said(world)


def test_several_merges_that_are_open_for_a_table_are_done_in_one_reconcile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(world)
    with monkeypatch.context() as patched:
        patched.setattr(plan_merge, "plan_table_merge", failing(plan_merge.plan_table_merge))
        for number in range(3):
            world.tables.add_column(world.name("bad", "dev-1"), f"c{number}", "int")
            world.lake.write("dev-1", f"wh/bad/{number}")
            world.lake.merge("dev-1")
            world.sync()
    world.sync()
    assert world.tables.columns(world.name("bad")) == ["id", "c0", "c1", "c2"]
    with parts(world.settings()) as built:
        assert {merge.state for merge in built.ledger.find_merges("")} == {"done"}


def test_what_a_merge_still_owes_the_source_of_another_comes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(world)
    world.branch("dev-2")
    world.sync()
    work(world)
    with monkeypatch.context() as patched:
        patched.setattr(plan_merge, "plan_table_merge", failing(plan_merge.plan_table_merge))
        world.sync()
    world.lake.merge("main", "dev-2")
    world.sync(full=False)
    assert [name for name in TABLES if "added" not in world.tables.columns(world.name(name, "dev-2"))] == ["bad"]
    world.sync()
    assert "added" in world.tables.columns(world.name("bad", "dev-2"))
    with parts(world.settings()) as built:
        assert {merge.state for merge in built.ledger.find_merges("")} == {"done"}


def test_a_table_that_could_not_be_read_when_a_branch_was_created_comes_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("a")
    world.sync()
    world.create_table("bad")
    world.branch("dev-1")
    with monkeypatch.context() as patched:
        patched.setattr(table_reader, "header_of", failing(table_reader.header_of))
        for full in (False, False, True):
            world.sync(full=full)
            assert world.tables.exists(world.name("a", "dev-1")) and not world.tables.exists(world.name("bad", "dev-1"))
            assert ".bad" in said(world)
    world.sync(full=False)
    assert world.tables.exists(world.name("bad", "dev-1")) and ".bad" not in said(world)
