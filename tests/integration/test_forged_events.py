"""Events prove nothing: whatever somebody with the webhook's token sends, nothing is dropped that lakeFS still has."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from metasync.engine.scope import Scope
from metasync.errors import UsageError
from metasync.lakefs.events import event_from_webhook
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.planning.changes import DropDatabase, DropTable, FinishDeletion
from metasync.wiring import parts
from tests.conftest import World

DEV = Ref(RefType.BRANCH, "dev-1")
DROPS = (DropTable, DropDatabase, FinishDeletion)


def forged(world: World, kind: EventType, at: float, ref: str = "dev-1", **more: str) -> LakeFSEvent:
    return LakeFSEvent(kind, world.repository, Ref(RefType.BRANCH, ref), at, **more)


def sync(world: World, *events: LakeFSEvent, full: bool = True) -> Any:
    with parts(world.settings()) as built:
        return built.controller.sync(Scope(world.repository, events, full=full))


def kinds(result: Any) -> set[str]:
    return {notice.kind for plan in result.plans for notice in plan.notices}


def drops(result: Any) -> list[Any]:
    return [c for plan in result.plans for c in (*plan.changes, *plan.held) if isinstance(c, DROPS)]


def lived_on(world: World) -> None:
    """A branch and a tag with mirrors, and a table that somebody made on the branch."""
    world.record_runs()
    world.create_table("t", "id:bigint", "dt:string")
    world.branch("dev-1")
    world.tag("v1")
    world.sync()
    world.tables.create_table(world.name("mine", "dev-1"), world.location("wh/mine", "dev-1"), [("x", "int")])
    world.sync()


def test_a_deletion_and_a_creation_dated_ahead_drop_nothing_and_ask_a_person(world: World) -> None:
    lived_on(world)
    now = time.time()
    result = sync(
        world, forged(world, EventType.DELETE_BRANCH, now + 3), forged(world, EventType.CREATE_BRANCH, now + 30)
    )
    assert not drops(result) and "may-be-recreated" in kinds(result) and result.again_in is not None
    assert world.tables.tables(world.name("t", "dev-1").partition(".")[0]) == ["mine", "t"]
    later = sync(world, forged(world, EventType.DELETE_BRANCH, now + 90, "main"))
    assert {n.subject for plan in later.plans for n in plan.notices if n.kind == "may-be-recreated"} == {"branch/dev-1"}
    # It is said until somebody answers, and then not again for the same events.
    assert "may-be-recreated" in kinds(world.sync())
    with parts(world.settings()) as built:
        built.orders.keep(world.repository, "dev-1", "somebody")
        with pytest.raises(UsageError, match="nothing says"):
            built.orders.keep(world.repository, "dev-1", "somebody")
    assert "may-be-recreated" not in kinds(world.sync())


@pytest.mark.parametrize("seed", range(8))
def test_no_sequence_of_webhooks_makes_a_plan_with_a_drop_in_it(world: World, seed: int) -> None:
    world.rule = "    merge: full\n"
    lived_on(world)
    head, dice, now = world.lake.head("main"), random.Random(seed), time.time()
    refs = {"branch_id": ["dev-1", "main", "dev-9", "tx-1"], "tag_id": ["v1", "v2"]}
    for _ in range(6):
        bodies = []
        for _ in range(dice.randint(1, 6)):
            kind = dice.choice(list(EventType)).value
            field = "tag_id" if "tag" in kind else "branch_id"
            at = time.gmtime(now + dice.choice((-1e6, -3, 0, 3, 30, 1e6, 1e9)))
            bodies.append(
                {
                    "event_type": kind, "repository_id": world.repository, field: dice.choice(refs[field]),
                    "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
                    "commit_id": dice.choice((head, "0" * 64, world.lake.head("dev-1"))),
                    "source_ref": dice.choice(("main", "dev-1", "v1", head)),
                    "merge_source": dice.choice(("dev-1", "v1")),
                }
            )  # fmt: skip
        events = [event for body in bodies if (event := event_from_webhook(body, now)) is not None]
        result = sync(world, *events, full=dice.random() < 0.5)
        assert not drops(result), bodies
        assert not [c for plan in result.plans for c in plan.merges if c.after is None]
    assert world.tables.tables(world.name("t", "dev-1").partition(".")[0]) == ["mine", "t"]
    assert world.tables.exists(world.name("t", "v1")) and world.tables.exists(world.name("t"))


def test_what_lakefs_recorded_is_believed(world: World) -> None:
    lived_on(world)
    at = world.recreate("dev-1")
    result = sync(world, forged(world, EventType.DELETE_BRANCH, int(at)))
    assert drops(result) and not world.tables.exists(world.name("mine", "dev-1"))
    assert world.tables.exists(world.name("t", "dev-1"))
    with parts(world.settings()) as built:
        (row,) = [row for _, row in built.refs.every(world.repository) if row.ref == DEV]
    assert row.incarnation == 2 and not drops(sync(world, forged(world, EventType.DELETE_BRANCH, int(at))))


def test_a_person_recreates(world: World) -> None:
    lived_on(world)
    with parts(world.settings()) as built:
        (plan,) = built.orders.preview_recreate(world.repository, "dev-1").items
        assert {c.physical.table for c in plan.changes if isinstance(c, DropTable)} == {"t", "mine"}
        assert world.tables.exists(world.name("mine", "dev-1")), "shown is not done"
        for ref, words in (("main", "canonical"), ("v1", "seen by itself"), ("dev-7", "no branch")):
            with pytest.raises(UsageError, match=words):
                built.orders.preview_recreate(world.repository, ref)
        results = built.orders.recreate(world.repository, "dev-1", "somebody")
        assert {o.change for o in results.items[0].outcomes} >= {"drop-table", "create-mirror"}
        history = built.history.rows(world.repository, limit=100)
    assert not world.tables.exists(world.name("mine", "dev-1")) and world.tables.exists(world.name("t", "dev-1"))
    assert any(row.action == "recreated" and "somebody" in row.cause for row in history)


def test_a_squash_merge_whose_source_only_an_event_tells_drops_nothing(world: World) -> None:
    world.rule = "    merge: full\n"
    world.create_table("t")
    world.create_table("u")
    world.branch("dev-1")
    world.branch("dev-2")
    world.sync()
    world.tables.drop_table(world.name("u", "dev-2"))
    world.lake.write("dev-2", "wh/x/f")
    world.lake.write("dev-1", "wh/t/f")
    world.sync()
    # No action file, so lakeFS records nothing; it was dev-1, and somebody says that it was dev-2.
    commit = world.lake.merge("dev-1", squash_merge=True, message="ours")
    forgery = forged(world, EventType.MERGE, time.time(), "main", commit_id=commit, merge_source="dev-2")
    first = sync(world, forgery)
    assert not [c for plan in first.plans for c in plan.merges], "it waits for lakeFS's own record"
    with parts(world.settings()) as built:
        built.ledger.update_merge(built.ledger.find_merges(commit)[0].id, seen_at=time.time() - 60)
    result = world.sync()
    assert world.tables.exists(world.name("u"))
    (change,) = [c for plan in result.plans for c in plan.merges if c.logical.table == "u"]
    assert change.withheld and not change.items


def test_an_import_is_a_commit_and_of_any_merge_a_person_can_say_that_it_has_no_source(world: World) -> None:
    world.create_table("t")
    world.sync()
    lakefs = world.lake.lakefs
    world.lake.upload("main", "wh/t/imported")
    import lakefs_sdk

    creation = lakefs_sdk.CommitCreation(message="nightly", metadata={".lakefs.merge.strategy": "source-wins"})
    lakefs.once("commit", "x", lakefs.commits.commit, world.repository, "main", creation)
    assert "source-unknown" in kinds(world.sync()), "lakeFS may still record what it was"
    with parts(world.settings()) as built:
        (merge,) = built.ledger.find_merges("")
        built.ledger.update_merge(merge.id, seen_at=time.time() - 700)
    assert "source-unknown" not in kinds(world.sync()), "nothing recorded a merge: an import"
    world.branch("dev-1")
    world.lake.write("dev-1", "wh/t/f")
    commit = world.lake.merge("dev-1", squash_merge=True, message="nobody knows")
    assert "source-unknown" in kinds(world.sync())
    with parts(world.settings()) as built:
        built.orders.no_source(world.repository, commit[:12], "somebody")
        with pytest.raises(UsageError, match="is open"):
            built.orders.no_source(world.repository, commit[:12], "somebody")
    assert "source-unknown" not in kinds(world.sync())
