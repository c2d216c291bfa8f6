"""The merge cases, each by itself: what is carried, what waits, what conflicts, and what a choice makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.planning.descriptions import describe_item, item_name
from metasync.planning.item_tree import Definition, normalised
from tests.case_files import Case, cases
from tests.tables_in_yaml import definition
from tests.unit.simulation import Lake, a_rule

SIMPLE = [case for case in cases() if "steps" not in case.words]


def lake_of(case: Case) -> Lake:
    """Base on main, the source on dev and the destination on main again."""
    lake = Lake()
    if case.words.get("base") == "unknown":
        lake.ddl("main", definition(case.side("destination")))
        lake.ddl("dev", definition(case.side("source")))
        return lake
    lake.ddl("main", definition(case.side("base")))
    lake.branch("dev")
    lake.ddl("dev", definition(case.side("source")))
    lake.ddl("main", definition(case.side("destination")))
    return lake


def outcome(case: Case, key: str) -> Definition:
    """What a table shall be, in words laid over the destination."""
    said: Any = case.words.get(key, {})
    if said == "absent":
        return None
    return definition({**(case.side("destination") or {}), **said})


def alike(one: Definition, other: Definition) -> bool:
    """Equal, however the schemas in them are written down."""
    if one is None or other is None:
        return one is other
    return normalised(one.header) == normalised(other.header) and one.partitions == other.partitions


def options(case: Case) -> dict[str, Any]:
    strategy = case.words.get("strategy", "")
    check = case.words.get("column_check", "4.0")
    return {"strategy": strategy, "data_changed": bool(strategy), "column_check": check}


@pytest.mark.parametrize("case", SIMPLE, ids=str)
def test_case(case: Case) -> None:
    check(case)


def check(case: Case) -> None:
    """Plays a case and compares all that it says."""
    lake, rule = lake_of(case), a_rule(**case.rule)
    before = lake["main"]
    change = lake.merge("dev", "main", rule, **options(case))
    conflicts = {item_name(c.path): c.reason for c in change.conflicts} if change else {}
    withheld = [describe_item(item) for item in change.withheld] if change else []
    assert conflicts == case.words.get("conflicts", {})
    assert withheld == case.words.get("withheld", [])
    if conflicts:
        assert lake["main"] == before
    else:
        kept = case.side("destination") is None and "result" not in case.words
        assert alike(lake["main"], None if kept else outcome(case, "result"))
    if change is not None and not conflicts:
        assert dict(change.renames) == case.words.get("renames", {})
        again = lake.plan("dev", "main", rule, **options(case))
        assert again is None or (not again.items and again.withheld == change.withheld)
    if change is not None and change.waiting is not None:
        assert {item_name(c.path): c.reason for c in change.waiting.conflicts} == case.words.get("stuck", {})
    if "applied" in case.words:
        lake.approve("dev", "main")
        assert alike(lake["main"], outcome(case, "applied"))
        assert lake.plan("dev", "main", rule) is None


@pytest.mark.parametrize("case", [case for case in SIMPLE if "resolved" in case.words], ids=str)
def test_a_choice_settles_it(case: Case) -> None:
    for side in case.words["resolved"]:
        lake, rule = lake_of(case), a_rule(**case.rule)
        change = lake.merge("dev", "main", rule, choose=lambda _, side=side: side, **options(case))
        assert change is not None and not change.conflicts
        assert alike(
            lake["main"],
            outcome(replace(case, words={"result": case.words["resolved"][side], **_sides(case)}), "result"),
        )
        assert lake.plan("dev", "main", rule) is None or change.withheld


def _sides(case: Case) -> dict[str, Any]:
    return {key: case.words[key] for key in ("base", "source", "destination") if key in case.words}
