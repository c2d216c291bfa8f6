"""The repair of a ref, as it is planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metasync.model.hms import TableType
from metasync.planning.changes import CreateMirror, MoveDatabase, RepairMirror
from metasync.planning.observed import Pinned
from metasync.planning.pauses import Pause
from metasync.planning.plan import Plan
from metasync.planning.plan_repair import MadeMirror, OwnDatabase, mentions, only, plan_repair
from metasync.planning.table_type import as_external
from tests.unit.plans import DEV, HEADER, ITEMS, MIRROR, ORDERS, SAFE, TAG, new, observed, rules, source_table

PIN = Pinned(ORDERS, MIRROR, "dev", 7, "d", ORDERS, "", True)
EXTERNAL = as_external(HEADER)
OWN = (TableType.MANAGED, {"k": "v"})


def plan(*mirrors: MadeMirror, databases: tuple[OwnDatabase, ...] = (), again: Any = (), **more: Any) -> Plan:
    values = {"state": "live", "pinned": tuple(one.pinned for one in mirrors)} | more
    view = new(values.pop("ref", DEV), **values)
    pauses = more.pop("pauses", ())
    return plan_repair(observed(view, pauses=pauses), view, mirrors, databases, rules(), SAFE, again)


def test_a_mirror_gets_its_tables_type_and_the_marks_that_it_lacks() -> None:
    imposed = MadeMirror(PIN, EXTERNAL, True, own=OWN)
    assert plan(imposed).changes == (RepairMirror(2, DEV, ORDERS, MIRROR, {}, TableType.MANAGED, {"k": "v"}, "dev"),)
    bare = MadeMirror(PIN, HEADER, True, marks={"metasync.name": "x"})
    assert plan(bare).changes == (RepairMirror(2, DEV, ORDERS, MIRROR, {"metasync.name": "x"}, rule="dev"),)
    assert plan(MadeMirror(PIN, HEADER, True)).changes == ()
    assert plan(replace(imposed, own=("TABLE", {}))).changes == (), "nobody knows of what type its table is"


def test_one_that_would_delete_another_refs_data_keeps_its_type() -> None:
    kept = plan(MadeMirror(PIN, EXTERNAL, True, {"metasync.name": "x"}, OWN, outside="s3a://lake/main/x"))
    assert kept.changes == (RepairMirror(2, DEV, ORDERS, MIRROR, {"metasync.name": "x"}, rule="dev"),)
    assert [(n.kind, "s3a://lake/main/x" in n.message) for n in kept.notices] == [("not-repaired", True)]
    assert plan(MadeMirror(PIN, EXTERNAL, True, own=OWN), ref=TAG).changes == (), "a tag's files are nobody's to delete"


def test_what_was_dropped_comes_back_only_where_it_is_named() -> None:
    dropped = MadeMirror(PIN, None, last=source_table(version=9, definition="e"))
    told = plan(dropped)
    assert told.changes == () and "--recreate sales.orders" in told.notices[0].help
    (made,) = plan(dropped, again=[ORDERS]).changes
    assert isinstance(made, CreateMirror)
    assert (made.version, made.definition, made.physical, made.partitions, made.copy_of) == (9, "e", MIRROR, 3, None)
    unknown = plan(replace(dropped, last=None), again=[ORDERS])
    assert unknown.changes == () and "nothing is known" in unknown.notices[0].message


def test_what_is_not_the_refs_is_left_alone() -> None:
    left = plan(MadeMirror(PIN, HEADER, False, {"metasync.name": "x"}, OWN))
    assert left.changes == () and "left alone" in left.notices[0].message


def test_a_database_at_the_root_is_moved_or_told() -> None:
    at_root = OwnDatabase("sales__dev_1", "s3a://lake/dev-1/", "s3a://lake/dev-1/wh", True)
    assert plan(databases=(at_root,)).changes == (
        MoveDatabase(2, DEV, "sales__dev_1", "s3a://lake/dev-1/", "s3a://lake/dev-1/wh"),
    )
    told = plan(databases=(replace(at_root, can_move=False),))
    assert told.changes == () and "CASCADE" in told.notices[0].help


def test_mirrors_that_were_never_made_are_made_and_a_living_ref_stays_as_it_is() -> None:
    (made,) = plan(MadeMirror(PIN, HEADER, True), to_create=(source_table(), source_table(ITEMS, as_of="live"))).changes
    assert isinstance(made, CreateMirror) and (made.logical, made.as_of) == (ITEMS, "live")
    begun = plan(to_create=(source_table(),), state="making").changes
    assert [change.kind for change in begun] == ["create-mirror", "finish-creation"]


def test_a_repair_waits_while_its_rule_is_paused() -> None:
    view = new(DEV, state="live", pinned=(PIN,))
    paused = observed(view, pauses=(Pause(1, "dev", "why", "me", 0.0),))
    held = plan_repair(paused, view, [MadeMirror(PIN, EXTERNAL, True, own=OWN)], (), rules(), SAFE)
    assert held.changes == () and [notice.kind for notice in held.notices] == ["paused"]


def test_one_table_is_called_by_its_own_name_or_by_its_mirrors() -> None:
    view = new(DEV, source_table(ITEMS), pinned=(PIN,), failed={ITEMS: "why"})
    for name in (ORDERS, MIRROR):
        part = only(view, name)
        assert (part.pinned, part.to_create, dict(part.failed)) == ((PIN,), (), {}) and mentions(view, name)
    assert only(view, ITEMS).to_create and only(view, None) == view
    assert not mentions(view, replace(MIRROR, table="nothing"))
