"""What waits for what: merges for earlier merges, new branches for merges into their parents."""

from __future__ import annotations

import time

import pytest

from metasync.engine.scope import Scope
from metasync.errors import MetastoreUnavailable
from metasync.lakefs import LakeFS
from metasync.metastore.client import Metastore
from metasync.model.hms import TableName
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.wiring import parts
from tests.conftest import World


def kinds(result: object) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_chain_of_merges_within_one_look(world: World, deleted: bool) -> None:
    world.create_table("t")
    world.branch("dev-int")
    world.branch("dev-1", "dev-int")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1", "dev-int")
    world.lake.merge("dev-int")
    if deleted:
        world.lake.delete_branch("dev-int")
    assert not world.sync().failures
    assert world.tables.columns(world.name("t")) == ["id", "a"]


def test_a_merge_of_main_brings_what_earlier_merges_into_it_brought_late(world: World) -> None:
    """Main is read at a commit before all merges up to it are done; and it moves on before the last of them is."""
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    for column in ("a", "b", "c"):
        world.tables.add_column(world.name("t", "dev-1"), column, "int")
        world.lake.write("dev-1", f"wh/t/{column}")
        world.lake.merge("dev-1")
        with parts(world.settings()) as built:
            # Nothing is written: each merge is of the branch as it was then.
            built.controller.plan(Scope(world.repository))
    world.lake.write("main", "wh/other/1")
    world.lake.merge("main", "dev-2")
    with parts(world.settings()) as built:
        assert built.controller.sync(Scope(world.repository), passes=1).more
    assert world.tables.columns(world.name("t")) == ["id", "a"]
    world.lake.write("main", "wh/other/2")
    assert not world.sync().failures
    for ref in (None, "dev-2"):
        assert world.tables.columns(world.name("t", ref)) == ["id", "a", "b", "c"]


def test_a_merge_into_a_branch_that_was_not_seen_before(world: World) -> None:
    world.create_table("t")
    world.sync()
    world.branch("dev-1")
    world.tables.add_column(world.name("t"), "a", "int")
    world.lake.write("main", "wh/t/f")
    world.lake.merge("main", "dev-1")
    result = world.sync()
    assert not result.failures and len(result.plans) < 6
    assert world.tables.columns(world.name("t", "dev-1")) == ["id", "a"]


@pytest.mark.parametrize("deleted", [False, True])
def test_merges_into_a_branch_whose_tables_are_still_to_be_made(world: World, deleted: bool) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.tables.add_partitions(world.name("t", "dev-1"), ("2",))
    where = world.location("wh/born", "dev-1")
    world.tables.create_table(world.name("born", "dev-1"), where, [("id", "bigint")])
    world.branch("dev-2")
    with parts(world.settings()) as built:
        built.pauses.begin(None, "not yet", "ana", None)
    world.sync()
    world.lake.write("dev-1", "wh/t/dt=2/f", "wh/born/f")
    world.lake.merge("dev-1", "dev-2")
    world.lake.write("dev-2", "wh/t/g")
    world.lake.merge("dev-2")
    if deleted:
        world.lake.delete_branch("dev-2")
    with parts(world.settings()) as built:
        assert built.pauses.end()
    assert not world.sync().failures
    for ref in [None] if deleted else [None, "dev-2"]:
        assert world.tables.columns(world.name("t", ref)) == ["id", "a"]
        assert world.tables.partitions(world.name("t", ref)) == [("1",), ("2",)]
        assert world.tables.exists(world.name("born", ref))
    assert world.tables.exists(world.name("t", "dev-2")) is not deleted
    again = world.sync()
    assert not again.outcomes and not again.plans[0].pending
    with parts(world.settings()) as built:
        assert not built.decisions.conflicts() and not built.ledger.open_merges(1)


def test_a_chain_through_a_branch_that_is_gone_by_the_time(world: World) -> None:
    """dev-1 -> dev-2 -> main, with dev-2 deleted before anybody looks: its merges are done in the store."""
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.tables.add_partitions(world.name("t", "dev-1"), ("2",))
    world.lake.write("dev-1", "wh/t/dt=2/f")
    world.lake.merge("dev-1", "dev-2")
    world.tables.add_column(world.name("t", "dev-2"), "b", "int")
    world.lake.write("dev-2", "wh/t/g")
    world.lake.merge("dev-2")
    world.lake.delete_branch("dev-2")
    before = world.directories()
    for _ in range(2):
        assert not world.sync().failures
    assert world.tables.columns(world.name("t")) == ["id", "b", "a"]
    assert world.tables.partitions(world.name("t")) == [("2",)]
    assert f"{world.database}__dev_2" not in world.tables.databases() and world.directories() == before


def test_what_waited_for_a_person_on_a_branch_goes_with_the_branch(world: World) -> None:
    world.create_table("t", "id:bigint old:int", k="1")
    world.create_table("u", "id:bigint old:int")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.set_parameter(world.name("t", "dev-1"), "k", "one")
    world.tables.set_parameter(world.name("t", "dev-2"), "k", "two")
    world.tables.drop_column(world.name("u", "dev-1"), "old")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1", "dev-2")
    assert world.sync().conflicts == 1
    with parts(world.settings()) as built:
        assert len(built.decisions.waiting_plans()) == 1
    world.lake.delete_branch("dev-2")
    assert not world.sync().failures
    with parts(world.settings()) as built:
        assert not built.decisions.conflicts() and not built.decisions.waiting_plans()


def test_a_branch_off_a_merge_that_is_not_done_yet_has_what_it_brought(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.branch("dev-2")
    world.branch("feature", "dev-2")
    world.branch("dev-3", "feature")
    world.lake.write("main", "wh/t/later")
    assert not world.sync().failures
    for ref in (None, "dev-2", "dev-3"):
        assert world.tables.columns(world.name("t", ref)) == ["id", "a"]


def test_a_branch_off_a_branch_without_mirrors_waits_for_what_that_waits_for(world: World) -> None:
    world.rule = "    merge: full\n"
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.sync()
    for number in ("1", "2"):
        world.tables.add_partitions(world.name("t", "dev-1"), (number,))
        world.lake.write("dev-1", f"wh/t/dt={number}/f")
        world.lake.merge("dev-1")
    world.branch("feature")
    world.lake.write("feature", "elsewhere/f")
    world.branch("dev-2", "feature")
    told = [
        LakeFSEvent(
            EventType.CREATE_BRANCH,
            world.repository,
            Ref(RefType.BRANCH, ref),
            time.time(),
            source,
            world.lake.head(source),
        )
        for ref, source in (("feature", "main"), ("dev-2", "feature"))
    ]
    with parts(world.settings()) as built:
        assert not built.controller.sync(Scope(world.repository, tuple(told), full=True)).failures
    assert world.tables.partitions(world.name("t", "dev-2")) == [("1",), ("2",)]
    world.tables.add_partitions(world.name("t", "dev-2"), ("3",))
    world.lake.write("dev-2", "wh/t/dt=3/f")
    world.lake.merge("dev-2")
    assert not world.sync().failures
    assert world.tables.partitions(world.name("t")) == [("1",), ("2",), ("3",)]


def test_a_creation_that_is_refused_holds_up_nobody_elses_merges(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.branch("dev_1")
    assert "name-collision" in kinds(world.sync())
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.tables.add_column(world.name("t", "dev-2"), "b", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1", "dev_1")
    world.lake.write("dev_1", "wh/t/g")
    world.lake.merge("dev_1")
    world.lake.write("dev-2", "wh/t/h")
    world.lake.merge("dev-2")
    assert not world.sync().failures
    assert world.tables.columns(world.name("t")) == ["id", "a", "b"]
    assert world.tables.table(world.name("t", "dev-1")).parameters["metasync.ref"] == "branch/dev-1"


def test_a_merge_in_the_middle_of_a_creation_is_in_what_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("t", "u"):
        world.create_table(name, "id:bigint", "dt:string")
        world.tables.add_partitions(world.name(name), ("1",))
    world.branch("dev-1")
    world.sync()
    for name in ("t", "u"):
        world.tables.add_column(world.name(name, "dev-1"), "a", "int")
        world.tables.add_partitions(world.name(name, "dev-1"), ("2",))
    world.branch("dev-2")
    real = Metastore.alter_partitions

    def fail(self: Metastore, name: TableName, *arguments: object) -> None:
        if name == TableName.parse(world.name("u", "dev-2")):
            raise MetastoreUnavailable("gone for a moment")
        real(self, name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Metastore, "alter_partitions", fail)
    assert world.sync().failures
    monkeypatch.undo()
    # One is made, the other half-built.
    world.lake.write("dev-1", "wh/t/dt=2/f")
    world.lake.merge("dev-1", "dev-2")
    assert not world.sync().failures
    for name in ("t", "u"):
        assert world.tables.columns(world.name(name, "dev-2")) == ["id", "a"]
        assert world.tables.partitions(world.name(name, "dev-2")) == [("1",), ("2",)]
        assert "metasync.making" not in world.tables.table(world.name(name, "dev-2")).parameters
    again = world.sync()
    assert not again.outcomes and not again.plans[0].pending


def test_a_merge_into_a_branch_that_a_list_leaves_out_is_no_conflict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t"), "b", "int")
    world.lake.write("main", "wh/t/f")
    world.lake.merge("main", "dev-1")
    with parts(world.settings()) as built:
        built.pauses.begin(None, "first it is only entered", "ana", None)
    world.sync()
    with parts(world.settings()) as built:
        built.pauses.end()
    real = LakeFS.list_refs
    with monkeypatch.context() as patched:
        patched.setattr(
            LakeFS, "list_refs", lambda self, name: {r: c for r, c in real(self, name).items() if r.name != "dev-1"}
        )
        assert not world.sync().conflicts
    world.sync()
    assert world.tables.columns(world.name("t", "dev-1")) == ["id", "b"]
