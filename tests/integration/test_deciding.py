"""What people do about merges: metadata alone, undo, choices item by item, comparing refs."""

from __future__ import annotations

import pytest

from metasync.engine.commands.table_log import TableLog
from metasync.errors import UsageError
from metasync.model.lakefs import Ref, RefType
from metasync.planning.descriptions import describe_item
from metasync.wiring import parts
from tests.conftest import World


def branched(world: World, columns: str = "id:bigint", keys: str = "") -> str:
    world.create_table("t", columns, keys)
    world.branch("dev-1")
    world.sync()
    return world.name("t", "dev-1")


def test_metadata_is_merged_where_lakefs_has_no_data_to_merge(world: World) -> None:
    mirror = branched(world)
    world.tables.add_column(mirror, "b", "int")
    with parts(world.settings()) as built:
        shown = built.commands.comparer.merge(world.repository, "dev-1", "main")
        assert [describe_item(item) for change in shown.merges for item in change.items] == ["+column b int"]
        assert world.tables.columns(world.name("t")) == ["id"]
        result = built.commands.merger.merge_metadata(world.repository, "dev-1", "main")
        assert not result.failures
        assert world.tables.columns(world.name("t")) == ["id", "b"]
        assert not built.commands.comparer.merge(world.repository, "dev-1", "main").pending
        with pytest.raises(UsageError, match="no branch or tag 'nowhere'"):
            built.commands.merger.merge_metadata(world.repository, "nowhere", "main")
    # A merge of data after it offers nothing anew.
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    assert not any(plan.pending for plan in world.sync().plans)


def test_a_merge_is_undone_but_for_what_somebody_changed_since(world: World) -> None:
    mirror = branched(world, keys="dt:string")
    world.create_table("u")
    world.sync()
    main = world.name("t")
    world.tables.add_column(mirror, "b", "int")
    world.tables.add_partitions(mirror, ("1",))
    world.tables.set_parameter(mirror, "k", "dev")
    world.lake.write("dev-1", "wh/t/dt=1/f")
    commit = world.lake.merge("dev-1")
    world.sync()
    assert world.tables.columns(main) == ["id", "b"] and world.tables.partitions(main) == [("1",)]
    world.tables.set_parameter(main, "mine", "x")
    with parts(world.settings()) as built:
        result = built.commands.undoer.undo(commit[:12])
        assert not result.failures and not result.conflicts
        assert world.tables.columns(main) == ["id"] and world.tables.partitions(main) == []
        parameters = world.tables.table(main).parameters
        assert "k" not in parameters and parameters["mine"] == "x"
        assert built.commands.undoer.undo(commit).outcomes == ()
    # As after `git revert`: the branch's changes are history and do not come back by themselves.
    world.lake.write("dev-1", "wh/t/dt=1/g")
    world.lake.merge("dev-1")
    assert not any(plan.pending for plan in world.sync().plans)
    assert world.tables.columns(main) == ["id"]


def test_undo_stops_where_somebody_went_on(world: World) -> None:
    mirror = branched(world)
    main = world.name("t")
    world.tables.set_parameter(mirror, "k", "dev")
    world.lake.write("dev-1", "wh/t/f")
    commit = world.lake.merge("dev-1")
    world.sync()
    world.tables.set_parameter(main, "k", "later")
    with parts(world.settings()) as built:
        result = built.commands.undoer.undo(commit)
        assert result.conflicts == 1
        assert world.tables.table(main).parameters["k"] == "later"
        assert built.decisions.conflicts() == ()
        with pytest.raises(UsageError, match="there is no merge or plan 'ffff'"):
            built.commands.undoer.plan("ffff")


def test_an_applied_plan_is_undone(world: World) -> None:
    mirror = branched(world, "id:bigint old:string")
    main = world.name("t")
    world.tables.drop_column(mirror, "old")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        with pytest.raises(UsageError, match="only an applied plan"):
            built.commands.undoer.plan(str(plan.id))
        built.commands.approver.apply(plan.id)
        assert world.tables.columns(main) == ["id"]
        assert not built.commands.undoer.undo(str(plan.id)).failures
    assert world.tables.columns(main) == ["id", "old"]


def test_a_table_made_by_a_merge_is_taken_back(world: World) -> None:
    branched(world)
    where = world.location("wh/born", "dev-1")
    world.tables.create_table(world.name("born", "dev-1"), where, [("id", "bigint")])
    world.lake.write("dev-1", "wh/born/f")
    commit = world.lake.merge("dev-1")
    world.sync()
    assert world.tables.exists(world.name("born"))
    with parts(world.settings()) as built:
        assert not built.commands.undoer.undo(commit).failures
    assert not world.tables.exists(world.name("born"))


def test_items_are_chosen_one_by_one(world: World) -> None:
    mirror = branched(world)
    main = world.name("t")
    for name, ours, theirs in (("a", "1", "2"), ("b", "3", "4")):
        world.tables.set_parameter(main, name, ours)
        world.tables.set_parameter(mirror, name, theirs)
    world.tables.add_column(mirror, "new", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    assert world.sync().conflicts == 1
    with parts(world.settings()) as built:
        found = built.decisions.conflicts()
        assert [c.path for c in found] == [("parameters", "a"), ("parameters", "b")]
        with pytest.raises(UsageError, match="'column x' is not in conflict"):
            built.commands.resolver.resolve(found[0].id, "ours", ["column x"])
        assert built.commands.resolver.resolve(found[0].id, "theirs", ["parameter a"]).plans == ()
        assert world.tables.columns(main) == ["id"]
        assert built.commands.resolver.resolve(found[0].id, "ours", ["parameter b"]).outcomes[0].state == "done"
        assert built.decisions.conflicts() == ()
    table = world.tables.table(main)
    assert (table.parameters["a"], table.parameters["b"]) == ("2", "3")
    assert world.tables.columns(main) == ["id", "new"]
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    assert not any(plan.pending or plan.conflicts for plan in world.sync().plans)


def test_refs_are_compared(world: World) -> None:
    mirror = branched(world, keys="dt:string")
    world.tables.add_column(mirror, "b", "int")
    world.tables.add_partitions(mirror, ("1",))
    world.create_table("only_main")
    with parts(world.settings()) as built:
        found = built.commands.comparer.diff(world.repository, "main", "dev-1")
        words = {str(t.logical): [describe_item(item) for item in t.items] for t in found}
        assert words == {
            f"{world.database}.t": ["+column b int", "+partition (1)"],
            f"{world.database}.only_main": ["-table"],
        }
        assert built.commands.comparer.diff(world.repository, "main", "main") == ()


def test_a_tables_log_says_who_changed_what_and_from_where(world: World) -> None:
    from metasync.model.hms import TableName

    mirror = branched(world, "id:bigint old:int")
    world.tables.add_column(mirror, "b", "int")
    world.tables.drop_column(mirror, "old")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    with parts(world.settings()) as built:
        log = TableLog(built).log(world.repository, TableName(world.database, "t"), 10)
    lines = [(e.ref, [describe_item(i) for i in e.items], e.merged_from, bool(e.by)) for e in log]
    assert lines == [
        ("branch/main", ["+column b int"], "branch/dev-1", True),
        ("branch/dev-1", ["+column b int", "-column old"], "", False),
        ("branch/main", ["+table"], "", False),
    ]


def test_reverts_and_cherry_picks_are_told_with_the_command_that_helps(world: World) -> None:
    mirror = branched(world)
    world.tables.add_column(mirror, "b", "int")
    picked = world.lake.write("dev-1", "wh/t/f")
    merge = world.lake.merge("dev-1")
    world.sync()
    world.lake.revert("main", "main", parent=1)
    reverted = world.sync()
    (notice,) = (n for plan in reverted.plans for n in plan.notices if n.kind == "reverted")
    assert notice.help == f"metasync undo {merge[:12]}" and "branch/dev-1" in notice.message
    assert world.tables.columns(world.name("t")) == ["id", "b"]
    world.lake.cherry_pick("main", picked)
    told = world.sync()
    (notice,) = (n for plan in told.plans for n in plan.notices if n.kind == "cherry-picked")
    assert picked[:12] in notice.message and notice.help.startswith(f"metasync diff {world.repository}")
    with parts(world.settings()) as built:
        assert {row.action for row in built.history.rows(world.repository)} >= {"reverted", "cherry-picked"}


def conflict_of(world: World, source: str = "dev-1") -> int:
    """A conflict of `t` between a branch and main, by a merge of the branch; its number."""
    world.tables.set_parameter(world.name("t"), "k", "main")
    name = world.name("t", "dev-1")
    world.tables.set_parameter(name, "k", "dev")
    if source != "dev-1":
        # At a commit of its own, or lakeFS could not be asked from which branch it was created.
        world.lake.write("dev-1", "wh/t/e")
        world.branch(source, "dev-1")
    world.sync()
    world.lake.write(source, "wh/t/f")
    world.lake.merge(source)
    world.sync()
    with parts(world.settings()) as built:
        (row,) = built.decisions.conflicts()
        return row.id


def test_nothing_is_resolved_while_lakefs_does_not_show_the_repository(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    branched(world)
    number = conflict_of(world)
    with parts(world.settings()) as built:
        newest = built.versions.newest_id()
        monkeypatch.setattr(built.lakefs, "get_repository", lambda name: None)
        for order in (built.commands.resolver.preview, built.commands.resolver.resolve):
            with pytest.raises(UsageError, match="has no repository"):
                order(number, "ours")
        assert built.versions.newest_id() == newest, "no table counts as dropped"


def test_resolving_for_a_source_that_is_gone_does_not_touch_a_new_branch_of_its_name(world: World) -> None:
    branched(world)
    number = conflict_of(world, "feature")
    world.lake.delete_branch("feature")
    world.sync()
    world.branch("feature", "dev-1")
    world.lake.write("feature", "wh/t/g", message="of the new one")
    world.sync()
    head = world.lake.head("feature")
    with parts(world.settings()) as built:
        (repository,) = built.repositories.identities(world.repository)
        repository_id = built.repositories.id_of(repository)
        gone, alive = sorted(
            built.refs.incarnations(repository_id, Ref(RefType.BRANCH, "feature")), key=lambda row: row.id
        )
        assert (gone.state, alive.state) == ("gone", "live")
        built.commands.resolver.resolve(number, "theirs")
        holders = built.refs.at_commit(repository_id, [head]).get(head, [])
        assert gone.id not in {ref_id for ref_id, _ in holders}
    assert world.tables.table(world.name("t")).parameters["k"] == "dev"
