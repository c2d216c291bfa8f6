"""A look after long silence: in bounded steps, in lakeFS's order, nothing lost, resumed where it was cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from metasync.engine.observe import observer
from metasync.engine.scope import Scope
from metasync.engine.track import lineage, merge_log
from metasync.lakefs import LakeFS
from metasync.wiring import parts
from tests.conftest import World


def kinds(result: Any) -> list[str]:
    return [n.kind for plan in result.plans for n in plan.notices]


def merges(world: World) -> list[tuple[str, str]]:
    with parts(world.settings()) as built:
        return [(m.commit, m.state) for m in built.ledger.find_merges("")]


def weeks_of_work(world: World, rounds: int) -> list[str]:
    """Each round: a branch gains a column and is merged, among other commits. Gives the merge commits."""
    made = []
    for number in range(rounds):
        world.lake.write("main", f"wh/other/{number}", f"wh/more/{number}")
        world.tables.add_column(world.name("t", "dev-1"), f"c{number}", "int")
        world.lake.write("dev-1", f"wh/t/{number}")
        made.append(world.lake.merge("dev-1"))
        world.lake.write("main", f"wh/after/{number}")
    return made


def test_a_long_log_is_read_in_steps_and_merged_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    made = weeks_of_work(world, 6)
    monkeypatch.setattr(merge_log, "_STEP", 4)
    result = world.sync()
    assert not result.failures and kinds(result).count("catching-up") >= 3
    assert world.tables.columns(world.name("t")) == ["id", *(f"c{n}" for n in range(6))]
    assert sorted(merges(world)) == sorted((commit, "done") for commit in made)


def test_nothing_is_merged_or_ended_before_the_log_is_read_and_a_cut_is_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    made = weeks_of_work(world, 4)
    world.lake.delete_branch("dev-1")
    monkeypatch.setattr(merge_log, "_STEP", 5)
    for _ in range(2):
        with parts(world.settings()) as built:
            assert built.controller.sync(Scope(world.repository, full=True), passes=1).more
    assert world.tables.columns(world.name("t")) == ["id"] and world.tables.exists(world.name("t", "dev-1"))
    with parts(world.settings()) as built:
        (main,) = [row for _, row in built.refs.every() if row.ref.name == "main"]
        assert main.walk_at is not None and main.walk_head == world.lake.head("main") != main.ledger_head
    # It goes on while the log is read.
    world.lake.write("main", "wh/meanwhile")
    world.branch("dev-2")
    assert not world.sync().failures
    assert len(world.tables.columns(world.name("t"))) == 5 and not world.tables.exists(world.name("t", "dev-1"))
    assert len(world.tables.columns(world.name("t", "dev-2"))) == 5
    assert {commit for commit, state in merges(world) if state == "done"} == set(made)


def test_a_reset_and_a_merge_within_one_silence(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    before = world.lake.head("main")
    (first,) = weeks_of_work(world, 1)
    world.sync()
    assert world.tables.columns(world.name("t")) == ["id", "c0"]
    world.lake.hard_reset("main", before)
    world.tables.add_column(world.name("t", "dev-1"), "since", "int")
    world.lake.write("dev-1", "wh/t/since")
    second = world.lake.merge("dev-1")
    result = world.sync()
    assert "history-rewritten" in kinds(result) and not result.conflicts
    assert world.tables.columns(world.name("t")) == ["id", "c0", "since"]
    assert merges(world) == [(first, "done"), (second, "done")]


def merged_into_the_other_and_then_shared(world: World, share: Callable[[], Any]) -> Any:
    """dev-2 gets a merge from main, then dev-1 gets dev-2's history, all of it while nobody looks."""
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    world.lake.write("dev-1", "wh/own")
    world.sync()
    world.tables.add_column(world.name("t"), "new", "int")
    world.lake.write("main", "wh/t/new")
    world.lake.merge("main", "dev-2")
    share()
    return world.sync()


def destinations(world: World) -> list[tuple[str, str]]:
    with parts(world.settings()) as built:
        return [(built.refs.get(m.destination_ref_id).ref.name, m.state) for m in built.ledger.find_merges("")]


def test_a_branch_that_is_reset_to_another_takes_no_merge_from_it(world: World) -> None:
    result = merged_into_the_other_and_then_shared(world, lambda: world.lake.hard_reset("dev-1", "dev-2"))
    assert "history-rewritten" in kinds(result) and destinations(world) == [("dev-2", "done")]
    assert world.tables.columns(world.name("t", "dev-2")) == ["id", "new"]
    assert world.tables.columns(world.name("t", "dev-1")) == ["id"]


def test_a_branch_that_was_created_anew_unseen_shows_in_its_history(world: World) -> None:
    world.record_runs()
    result = merged_into_the_other_and_then_shared(world, lambda: world.recreate("dev-1", "dev-2"))
    assert "history-rewritten" not in kinds(result) and destinations(world) == [("dev-2", "done")]
    for ref in ("dev-1", "dev-2"):
        assert world.tables.columns(world.name("t", ref)) == ["id", "new"]
    with parts(world.settings()) as built:
        assert {row.incarnation for _, row in built.refs.every() if row.ref.name == "dev-1"} >= {2}


def test_a_branch_made_from_one_that_is_gone_has_what_was_merged_into_that(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.lake.write("dev-1", "wh/own")
    world.sync()
    world.tables.add_column(world.name("t"), "new", "int")
    world.lake.write("main", "wh/t/new")
    world.lake.merge("main", "dev-1")
    world.branch("dev-2", "dev-1")
    world.lake.delete_branch("dev-1")
    world.sync()
    assert world.tables.columns(world.name("t", "dev-2")) == ["id", "new"]


def test_a_message_that_names_another_branch_hides_no_merge(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.add_column(world.name("t"), "new", "int")
    world.lake.write("main", "wh/t/new")
    world.lake.merge("main", "dev-1", message="Merge 'main' into 'dev-2'")
    world.sync()
    assert destinations(world) == [("dev-1", "done")]
    assert world.tables.columns(world.name("t", "dev-1")) == ["id", "new"]


def test_a_reset_costs_no_walk_of_the_whole_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        world.lake.write("main", f"wh/{number}")
    world.sync()
    world.lake.write("main", "wh/last")
    world.sync()
    world.lake.hard_reset("main", "main~1")
    world.lake.write("main", "wh/instead")
    read: list[str] = []
    real = LakeFS.first_parents

    def counting(self: LakeFS, *arguments: Any) -> Any:
        for commit in real(self, *arguments):
            read.append(commit.id)
            yield commit

    monkeypatch.setattr(LakeFS, "first_parents", counting)
    assert "history-rewritten" in kinds(world.sync()) and len(read) <= 3


def test_many_new_refs_begin_and_are_born_in_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.sync()
    for number in range(7):
        world.branch(f"dev-{number}", f"dev-{number - 1}" if number else "main")
    monkeypatch.setattr(lineage, "_BEGUN_AT_ONCE", 3)
    monkeypatch.setattr(observer, "_CREATED_AT_ONCE", 2)
    result = world.sync()
    assert not result.failures and kinds(result).count("catching-up") == 2
    assert max(plan.counts()["create"] for plan in result.plans) <= 2
    assert all(world.tables.exists(world.name("t", f"dev-{number}")) for number in range(7))


def test_a_command_goes_on_where_its_turn_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.sync()
    for number in range(4):
        world.branch(f"dev-{number}")
    monkeypatch.setattr(observer, "_CREATED_AT_ONCE", 1)
    with parts(world.settings()) as built:
        turns = 0
        while built.controller.sync(Scope(world.repository), passes=1).more:
            turns += 1
    assert turns == 3 and all(world.tables.exists(world.name("t", f"dev-{number}")) for number in range(4))
