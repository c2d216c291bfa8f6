"""Cases that went wrong once: chains of merges, lost stores, stale plans, crashes half way, tables that move."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from metasync.engine.observe.observer import Observer
from metasync.engine.scope import Scope
from metasync.errors import ChangedMeanwhile, Incompatible, MetastoreUnavailable, UsageError
from metasync.lakefs import LakeFS
from metasync.metastore.client import Metastore
from metasync.model.hms import Table, TableName
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.model.marks import MAKING
from metasync.store.mirrors import MirrorStore
from metasync.wiring import parts
from tests.conftest import World


def kinds(result: object) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("stops", [False, True])
def test_columns_that_the_metastore_takes_in_two_steps(
    world: World, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    """On the branch a column is renamed and dropped, and another comes: in one step types would change by position."""
    world.rule = "    merge: full\n"
    world.create_table("t", "id:bigint w:string v:date", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    world.branch("dev-1")
    world.sync()
    mirror = world.name("t", "dev-1")
    world.tables.drop_column(mirror, "v")
    world.tables.add_column(mirror, "z", "int")
    world.tables.set_parameter(world.name("t"), "mine", "kept")
    world.lake.write("dev-1", "wh/t/dt=1/f")
    world.lake.merge("dev-1")
    real, written = Metastore.alter_table, []

    def alter(self: Metastore, table: Table, **options: Any) -> None:
        if stops and written:
            raise MetastoreUnavailable("gone for a moment")
        written.append([column.name for column in table.sd.cols])
        real(self, table, **options)

    monkeypatch.setattr(Metastore, "alter_table", alter)
    assert bool(world.sync().failures) is stops
    monkeypatch.undo()
    assert written[0] == ["id", "w"] and written[1:2] == ([] if stops else [["id", "w", "z"]])
    assert not world.sync().failures
    main = world.tables.table(world.name("t"))
    assert [(column.name, column.type) for column in main.sd.cols] == [("id", "bigint"), ("w", "string"), ("z", "int")]
    assert world.tables.partition(world.name("t"), "1").sd.cols == main.sd.cols
    assert main.parameters["mine"] == "kept"
    assert all(not plan.pending for plan in world.sync().plans)


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
            built.commands.merger.name_source(world.repository, commit, "nobody")
        built.commands.merger.name_source(world.repository, commit[:12], "dev-1")
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


def test_a_persons_decision_ends_no_creation_that_still_waits(world: World) -> None:
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
    root = replace(half_made.sd, location=world.location("").rstrip("/"))
    half_made = replace(half_made, sd=root, parameters={**half_made.parameters, MAKING: "merge-1"})
    world.tables.metastore.alter_partitions(TableName.parse(main), [half_made])
    world.branch("dev-2")
    assert not world.sync().failures
    now = world.tables.partition(main, "1")
    assert now.sd.location == place and MAKING not in now.parameters
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


def test_a_source_that_changes_during_a_creation_does_not_change_the_mirror(
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


def test_a_clock_that_goes_ahead_deletes_no_branch(world: World) -> None:
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


def test_what_an_outage_cuts_short_before_it_is_planned_is_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    before = world.lake.head("dev-1")
    world.lake.write("dev-1", "wh/t/f")

    def head() -> str:
        with parts(world.settings()) as built:
            (row,) = [row for _, row in built.refs.every(world.repository) if row.ref.name == "dev-1"]
            return row.head

    def away(*_: object) -> None:
        raise MetastoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Observer, "_occupied", away)
        with pytest.raises(MetastoreUnavailable):
            world.sync(full=False)
    assert head() == before
    world.sync(full=False)
    assert head() == world.lake.head("dev-1")
