"""Cases that went wrong once: chains of merges, lost stores, stale plans, crashes half way, tables that move."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from metasync.engine.scope import Scope
from metasync.errors import ChangedMeanwhile, Incompatible, MetastoreUnavailable, UsageError
from metasync.lakefs import LakeFS
from metasync.metastore.client import Metastore
from metasync.model.hms import Table, TableName
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.store.mirrors import MirrorStore
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


def test_a_birth_that_is_refused_holds_up_nobody_elses_merges(world: World) -> None:
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


def test_a_merge_in_the_middle_of_a_birth_is_in_what_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("call", ["finish_table", "alter_partitions"])
def test_what_is_half_built_goes_with_its_ref(world: World, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.branch("dev-1")

    def fail(*_: object, **__: object) -> None:
        raise MetastoreUnavailable("gone for a moment")

    monkeypatch.setattr(Metastore, call, fail)
    assert world.sync().failures
    monkeypatch.undo()
    half = world.tables.table(world.name("t", "dev-1"))
    assert "metasync.making" in half.parameters
    world.lake.delete_branch("dev-1")
    assert not world.sync().failures
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_a_squash_merge_that_nobody_announced_waits_for_its_source(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    commit = world.lake.merge("dev-1", squash_merge=True, message="release 7")
    assert "source-unknown" in kinds(world.sync())
    with parts(world.settings()) as built:
        with pytest.raises(UsageError):
            built.commands.merger.tell_source(world.repository, commit, "nobody")
        built.commands.merger.tell_source(world.repository, commit[:12], "dev-1")
        assert not built.controller.sync(Scope(world.repository)).failures
    assert world.tables.columns(world.name("t")) == ["id", "a"]


def test_a_branch_that_no_rule_mirrors_goes_and_comes_again(world: World) -> None:
    world.create_table("t")
    world.branch("feature")
    world.sync()
    world.lake.delete_branch("feature")
    assert not world.sync().failures
    world.branch("feature")
    assert not world.sync().failures
    with parts(world.settings()) as built:
        assert [row.incarnation for _, row in built.refs.every() if row.ref.name == "feature"] == [2]


def test_a_refused_plan_does_not_outlive_the_state_it_was_made_for(world: World) -> None:
    world.extra = "safety: {max_ref_drops: 1}\n"
    world.create_table("t")
    for number in range(2):
        world.branch(f"dev-{number}")
    world.sync()
    for number in range(2):
        world.lake.delete_branch(f"dev-{number}")
    refused = world.sync().plan_id
    assert refused is not None
    world.lake.create_branch("dev-0")
    with parts(world.settings()) as built, pytest.raises(ChangedMeanwhile, match="not those that it was made for"):
        built.commands.approver.apply(refused)
    assert world.tables.exists(world.name("t", "dev-0"))


def test_a_persons_decision_ends_no_birth_that_still_waits(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    for name, value in ((world.name("t"), "main"), (world.name("t", "dev-1"), "dev")):
        world.tables.set_parameter(name, "comment", value)
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.tables.create_database(f"{world.database}__dev_2", world.location("elsewhere"))
    world.tables.create_table(world.name("t", "dev-2"), world.location("elsewhere/t"), [("x", "int")])
    world.branch("dev-2")
    world.sync()
    with parts(world.settings()) as built:
        (conflict,) = built.decisions.conflicts()
        built.commands.resolver.resolve(conflict.id, "ours")
    assert [notice.kind for notice in world.sync().plans[0].refusals] == ["foreign-table"]


def test_resolving_a_conflict_does_not_apply_what_was_not_asked(world: World) -> None:
    world.create_table("t", "id:bigint old:string", comment="base")
    world.branch("dev-1")
    world.sync()
    world.tables.drop_column(world.name("t", "dev-1"), "old")
    world.tables.set_parameter(world.name("t", "dev-1"), "comment", "dev")
    world.tables.set_parameter(world.name("t"), "comment", "main")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    with parts(world.settings()) as built:
        (conflict,) = built.decisions.conflicts()
        assert conflict.path == ("parameters", "comment")
        built.commands.resolver.resolve(conflict.id, "theirs")
        (plan,) = built.decisions.waiting_plans()
        assert "-column old" in plan.reason
    assert world.tables.table(world.name("t")).parameters["comment"] == "dev"
    assert world.tables.columns(world.name("t")) == ["id", "old"]


def test_a_drop_that_waits_is_refused_when_partitions_came_since(world: World) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.branch("dev-1")
    world.sync()
    world.tables.drop_table(world.name("t", "dev-1"))
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    assert world.tables.exists(world.name("t"))
    world.tables.add_partitions(world.name("t"), ("2",))
    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        with pytest.raises(ChangedMeanwhile):
            built.commands.approver.apply(plan.id)
    assert world.tables.partitions(world.name("t")) == [("1",), ("2",)]


def test_a_partition_that_somebody_wrote_back_half_made_is_put_back(world: World) -> None:
    """A user's ALTER ... CASCADE reads partitions and writes them back; between, a merge may have moved one."""
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.sync()
    world.tables.add_partitions(world.name("t", "dev-1"), ("1",))
    world.lake.write("dev-1", "wh/t/other")
    world.lake.merge("dev-1")
    world.sync()
    main = world.name("t")
    half_made = world.tables.partition(main, "1")
    place = half_made.sd.location
    half_made = replace(half_made, sd=replace(half_made.sd, location=world.location("").rstrip("/")))
    world.tables.metastore.alter_partitions(TableName.parse(main), [half_made])
    world.branch("dev-2")
    assert not world.sync().failures
    assert world.tables.partition(main, "1").sd.location == place
    mirror = world.tables.partition(world.name("t", "dev-2"), "1")
    assert mirror.sd.location == place.replace("/main/", "/dev-2/")
    again = world.sync()
    assert not again.outcomes and not again.plans[0].pending


def test_a_partition_that_lies_elsewhere_does_not_come_to_main(world: World) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.add_partitions(world.name("t", "dev-1"), ("1",))
    found = world.tables.partition(world.name("t", "dev-1"), "1")
    away = replace(found, sd=replace(found.sd, location=world.location("wh/t/dt=1", "dev-2")))
    world.tables.metastore.alter_partitions(TableName.parse(world.name("t", "dev-1")), [away])
    world.lake.write("dev-1", "wh/t/dt=1/f")
    world.lake.merge("dev-1")
    assert world.sync().conflicts == 1
    assert world.tables.partitions(world.name("t")) == []


def test_a_source_that_changes_during_a_birth_does_not_change_the_mirror(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.branch("dev-1")
    real = Metastore.finish_table
    touched: list[str] = []

    def finish(self: Metastore, table: Table) -> None:
        real(self, table)
        if not touched:
            touched.append("once")
            world.tables.add_partitions(world.name("t"), ("3",))
            world.tables.drop_partitions(world.name("t"), ("1",))

    monkeypatch.setattr(Metastore, "finish_table", finish)
    assert not world.sync().failures
    monkeypatch.undo()
    mirror = world.name("t", "dev-1")
    assert touched and world.tables.partitions(mirror) == [("1",), ("2",)]
    assert world.tables.partition(mirror, "1").sd.location == world.location("wh/t/dt=1", "dev-1")


def test_an_outage_between_a_table_and_its_partitions_is_made_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("own",), ("same",))
    own = world.tables.partition(world.name("t"), "own")
    name = TableName.parse(world.name("t"))
    extra = (*own.sd.cols, replace(own.sd.cols[0], name="extra"))
    world.tables.metastore.alter_partitions(name, [replace(own, sd=replace(own.sd, cols=extra))])
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.tables.add_column(mirror, "a", "int", cascade=False)
    same = world.tables.partition(mirror, "same")
    columns = world.tables.table(mirror).sd.cols
    changed = replace(same, sd=replace(same.sd, cols=columns))
    world.tables.metastore.alter_partitions(TableName.parse(mirror), [changed])
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    real = Metastore.alter_partitions

    def fail(self: Metastore, *arguments: object) -> None:
        raise MetastoreUnavailable("gone for a moment")

    monkeypatch.setattr(Metastore, "alter_partitions", fail)
    assert world.sync().failures
    monkeypatch.setattr(Metastore, "alter_partitions", real)
    assert not world.sync().failures
    assert [c.name for c in world.tables.partition(world.name("t"), "same").sd.cols] == ["id", "a"]
    assert [c.name for c in world.tables.partition(world.name("t"), "own").sd.cols] == ["id", "extra"]


def test_a_change_undone_by_somebody_after_a_crash_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "b", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    real = Metastore.alter_table

    def alter(self: Metastore, table: object, **options: bool) -> None:
        real(self, table, **options)  # type: ignore[arg-type]
        raise MetastoreUnavailable("the answer was lost")

    monkeypatch.setattr(Metastore, "alter_table", alter)
    assert world.sync().failures
    monkeypatch.undo()
    assert world.tables.columns(world.name("t")) == ["id", "b"]
    world.tables.drop_column(world.name("t"), "b")
    world.tables.set_parameter(world.name("t"), "transient_lastDdlTime", str(int(time.time()) + 100))
    result = world.sync()
    assert result.conflicts == 1 and world.tables.columns(world.name("t")) == ["id"]


def test_a_refusal_of_the_metastore_blocks_no_later_merge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("bad")
    world.create_table("good")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.add_column(world.name("bad", "dev-1"), "a", "int")
    world.tables.add_column(world.name("good", "dev-2"), "a", "int")
    for branch in ("dev-1", "dev-2"):
        world.lake.write(branch, f"wh/{branch}")
        world.lake.merge(branch)
    real = Metastore.alter_table

    def alter(self: Metastore, table: object, **options: bool) -> None:
        if getattr(table, "name", "") == "bad":
            raise Incompatible("bad: refused")
        real(self, table, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Metastore, "alter_table", alter)
    result = world.sync()
    assert result.conflicts == 1 and not result.failures
    assert world.tables.columns(world.name("good")) == ["id", "a"]


def test_a_clock_that_goes_ahead_ends_no_branch(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    late = LakeFSEvent(EventType.DELETE_BRANCH, world.repository, Ref(RefType.BRANCH, "dev-1"), time.time() + 100)
    with parts(world.settings()) as built:
        result = built.controller.sync(Scope(world.repository, (late,)))
    assert len(result.plans) == 1 and not result.outcomes
    assert world.tables.exists(world.name("t", "dev-1"))


def test_a_mirror_made_before_a_crash_is_known_as_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.branch("dev-1")
    monkeypatch.setattr(MirrorStore, "made", lambda *_: None)
    world.sync()
    monkeypatch.undo()
    world.sync()
    world.tables.drop_table(world.name("t", "dev-1"))
    world.sync()
    with parts(world.settings()) as built:
        (row,) = [r for _, r in built.refs.every() if r.ref.name == "dev-1"]
        assert built.versions.in_force(row)[TableName.parse(world.name("t"))].definition is None
    assert not world.tables.exists(world.name("t", "dev-1"))


def test_observe_mode_refuses_to_apply_and_prune_drops_no_database_of_a_user(world: World) -> None:
    world.create_table("t")
    mine = f"{world.database}__dev_1"
    world.tables.create_database(mine, world.location("wh/mine"))
    world.branch("dev-1")
    world.sync()
    world.lake.delete_branch("dev-1")
    world.sync()
    assert mine in world.tables.databases() and world.tables.tables(mine) == []
    world.extra = "mode: observe\n"
    with parts(world.settings()) as built, pytest.raises(UsageError):
        built.controller.execute(None, replace(built.controller.plan(Scope(world.repository)).plans[0]))  # type: ignore[arg-type]


def test_a_list_that_leaves_out_a_new_ref_ends_no_creation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.branch("dev-1")
    real = LakeFS.list_refs
    with monkeypatch.context() as patched:
        # Its creation waits for another pass, as for merges that come first.
        patched.setattr("metasync.engine.observe.observer._CREATED_AT_ONCE", 0)
        world.sync()
    with monkeypatch.context() as patched:
        patched.setattr(
            LakeFS, "list_refs", lambda self, name: {r: c for r, c in real(self, name).items() if r.name != "dev-1"}
        )
        world.sync()
    assert not world.tables.exists(world.name("t", "dev-1"))
    world.sync()
    assert world.tables.exists(world.name("t", "dev-1"))
