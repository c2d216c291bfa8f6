"""Pausing and resuming, what is said meanwhile, and waiting for a ref, with real servers."""

from __future__ import annotations

from typing import Any

import pytest

from metasync.engine.scope import Scope
from metasync.errors import MetastoreError, UsageError
from metasync.metastore.client import Metastore
from metasync.model.hms import TableName
from metasync.wiring import Parts, parts
from tests.conftest import World


def pause(world: World, rule: str | None = None, seconds: float | None = None) -> None:
    with parts(world.settings()) as built:
        built.pauses.begin(rule, "the metastore is upgraded", "ana", seconds)


def resume(world: World) -> None:
    with parts(world.settings()) as built:
        assert built.pauses.end()


def said(world: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with parts(world.settings()) as built:
        for row in built.notices.standing(world.repository):
            found.setdefault(row.notice.kind, []).append(row.notice.subject)
    return found


@pytest.mark.parametrize("rule", [None, "dev"])
def test_what_is_paused_is_seen_and_done_afterwards(world: World, rule: str | None) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    pause(world, rule)
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    at_that = world.lake.head("main")
    world.branch("dev-3", at_that)
    world.lake.delete_branch("dev-2")
    result = world.sync()
    assert not result.outcomes and not result.failures
    assert world.tables.columns(world.name("t")) == ["id"]
    assert world.tables.exists(world.name("t", "dev-2")) and not world.tables.exists(world.name("t", "dev-3"))
    assert set(said(world)["paused"]) >= {"branch/dev-1 -> branch/main"}
    resume(world)
    assert not world.sync().failures
    assert world.tables.columns(world.name("t")) == ["id", "a"]
    assert not world.tables.exists(world.name("t", "dev-2"))
    assert world.tables.columns(world.name("t", "dev-3")) == ["id", "a"]
    assert "paused" not in said(world)


def test_a_pause_that_is_over_holds_nothing(world: World) -> None:
    world.create_table("t")
    pause(world, None, -1.0)
    world.branch("dev-1")
    world.sync()
    assert world.tables.exists(world.name("t", "dev-1"))


def test_a_person_is_told_that_it_is_paused(world: World) -> None:
    world.create_table("t", "id:bigint old:string")
    world.branch("dev-1")
    world.sync()
    world.tables.drop_column(world.name("t", "dev-1"), "old")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    pause(world)
    with parts(world.settings()) as built:
        (plan,) = built.decisions.waiting_plans()
        with pytest.raises(UsageError, match="ana: the metastore is upgraded; first: metasync resume"):
            built.commands.approver.apply(plan.id)
        assert built.pauses.end()
        assert not built.commands.approver.apply(plan.id).failures
    assert world.tables.columns(world.name("t")) == ["id"]


def readiness(built: Parts, world: World, ref: str) -> Any:
    event = built.requests.queue_sync(world.repository, ref)
    assert built.requests.readiness(world.repository, ref, event).state == "looking"
    claim = built.queue.claim(built.leases)
    assert claim is not None and event in claim.ids
    with built.leases.keep(claim.lease):
        built.controller.sync(Scope(world.repository))
        built.queue.done(claim.ids)
    return built.requests.readiness(world.repository, ref, event)


def test_how_far_a_ref_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.create_table("u")
    world.sync()
    world.branch("dev-1")
    with parts(world.settings()) as built:
        found = readiness(built, world, "dev-1")
        assert (found.state, found.made, found.planned, found.ref) == ("ready", 2, 2, "branch/dev-1")
        assert readiness(built, world, "tag/v1").state == "unknown"
        with pytest.raises(UsageError, match="no rule mirrors 'feature'"):
            built.requests.queue_sync(world.repository, "feature")
        world.branch("dev_1")
        found = readiness(built, world, "dev_1")
        assert found.state == "refused" and any("dev-1 holds" in reason for reason in found.reasons)
        built.pauses.begin(None, "upgrade", "ana", None)
        world.branch("dev-2")
        found = readiness(built, world, "dev-2")
        assert found.state == "making" and any("paused by ana: upgrade" in reason for reason in found.reasons)
        built.pauses.end()
        real = Metastore.create_table

        def create(self: Metastore, table: Any) -> None:
            if table.table_name == TableName.parse(world.name("u", "dev-2")):
                raise MetastoreError("u: the SerDe is missing")
            real(self, table)

        monkeypatch.setattr(Metastore, "create_table", create)
        found = readiness(built, world, "dev-2")
        assert (found.state, found.made) == ("refused", 1) and any("SerDe is missing" in r for r in found.reasons)
        monkeypatch.undo()
        assert readiness(built, world, "dev-2").state == "ready"


def test_a_merge_into_main_can_be_waited_for(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    with parts(world.settings()) as built:
        found = readiness(built, world, "main")
        assert found.state == "ready" and world.tables.columns(world.name("t")) == ["id", "a"]
        with pytest.raises(UsageError, match="no rule mirrors 'nowhere'"):
            built.requests.queue_sync(world.repository, "nowhere")
        with pytest.raises(UsageError, match="there is no rule 'nope'"):
            built.requests.resume("nope")


def test_what_stands_keeps_its_time_and_goes_with_its_cause(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.branch("dev_1")
    world.sync()
    with parts(world.settings()) as built:
        (first,) = built.notices.standing(world.repository)
    world.sync()
    with parts(world.settings()) as built:
        assert built.notices.standing(world.repository) == (first,) and first.notice.kind == "name-collision"
    world.lake.delete_branch("dev_1")
    world.sync()
    assert said(world) == {}
