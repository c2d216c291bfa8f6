"""Pauses: a filter over a plan. What is paused is still seen and noted, and waits as it was until somebody resumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from metasync.planning.changes import (
    Change,
    CreateMirror,
    DropTable,
    FinishCreation,
    FinishDiscovery,
    FinishMerge,
    MergeTable,
    owner_of,
    subject_of,
)
from metasync.planning.plan import Notice, Plan


@dataclass(frozen=True)
class Pause:
    """Nothing is written for a rule, or for any (`rule` None). Times are in Unix seconds; no `until`: till resumed."""

    id: int
    rule: str | None
    reason: str
    by: str
    since: float
    until: float | None = None


def pause_of(rule: str | None, pauses: Iterable[Pause]) -> Pause | None:
    """The pause that a rule is under; one of all rules comes first."""
    found = [pause for pause in pauses if pause.rule is None or pause.rule == rule]
    return min(found, key=lambda pause: pause.rule is not None, default=None)


def hold_back(plan: Plan, pauses: Sequence[Pause]) -> Plan:
    """The plan less every ref's and every merge's changes of which any is paused: half of one would be worse."""
    held: dict[tuple[str, int], tuple[Change, Pause]] = {}
    for change in plan.changes if pauses else ():
        pause = pause_of(getattr(change, "rule", None), pauses)
        # That all is done can be noted while nothing is written.
        if pause is not None and not isinstance(change, FinishCreation | FinishDiscovery):
            held.setdefault(owner_of(change), (change, pause))
    if not held:
        return plan
    return replace(
        plan,
        changes=tuple(change for change in plan.changes if owner_of(change) not in held),
        notices=(*plan.notices, *(_notice(change, pause) for change, pause in held.values())),
    )


def _notice(change: Change, pause: Pause) -> Notice:
    what = f"rule {pause.rule}" if pause.rule is not None else "everything"
    resume = f"metasync resume --rule {pause.rule}" if pause.rule is not None else "metasync resume"
    return Notice(
        "paused",
        f"{change.source} -> {change.destination}"
        if isinstance(change, MergeTable | FinishMerge)
        else str(getattr(change, "ref", subject_of(change))),
        f"waits, as {what} is paused by {pause.by}: {pause.reason}",
        resume,
        change.ref_id if isinstance(change, CreateMirror | DropTable) else 0,
    )
