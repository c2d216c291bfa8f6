"""From what was seen to what shall be done: `make_plan` is the whole of metasync's judgement in one pure function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from metasync.planning.changes import Change, DropDatabase, DropTable, FinishDeletion, TableFailure
from metasync.planning.draft import Draft
from metasync.planning.observed import Observed
from metasync.planning.pauses import hold_back
from metasync.planning.plan import Notice, Plan
from metasync.planning.plan_creation import plan_creation
from metasync.planning.plan_deletion import plan_deletion
from metasync.planning.plan_merge import plan_merge
from metasync.planning.plan_partitions import plan_discovery, plan_places
from metasync.planning.plan_types import plan_types
from metasync.planning.rules import RuleSet
from metasync.settings.models import Safety


def make_plan(observed: Observed, rules: RuleSet, safety: Safety) -> Plan:
    """Merges in the ledger's order first, then creations, then deletions: each needs those before it to be settled."""
    if observed.blocked:
        return _blocked(observed)
    draft = Draft(observed, rules, safety, dict(observed.claims), list(observed.notices))
    discovers = any(rule.partitions == "discover" for rule in rules.of_repository(draft.repository))
    # Directories are compared once the merges that brought them are settled.
    draft.more = observed.behind > 0 or (discovers and bool(observed.merges))
    for view in observed.refs:
        plan_types(draft, view)
        plan_places(draft, view)
    for merge in observed.merges:
        plan_merge(draft, merge)
    for view in observed.refs:
        plan_discovery(draft, view)
    for view in observed.refs:
        if view.state in ("new", "making") and not view.ended:
            plan_creation(draft, view)
        elif not view.ended:
            draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in view.failed.items()]
    for view in observed.refs:
        if view.ended and view.state != "gone":
            plan_deletion(draft, view)
    plan = Plan(
        repository=draft.repository,
        changes=tuple(draft.changes),
        refusals=tuple(draft.refusals),
        notices=tuple(draft.notices),
        more=draft.more,
        failures=tuple(draft.failures),
        not_mirrored=tuple(draft.not_mirrored),
    )
    return _within_limits(hold_back(plan, observed.pauses), observed, safety)


def _within_limits(plan: Plan, observed: Observed, safety: Safety) -> Plan:
    """The plan with its drops held back where they are more than the limits allow; everything else goes on."""
    reason = _unsafe(plan.changes, observed, safety)
    if not reason:
        return plan
    dropping = {change.ref_id for change in plan.changes if isinstance(change, DropTable)}
    held: list[Change] = []
    going_on: list[Change] = []
    for change in plan.changes:
        ends = isinstance(change, DropTable | DropDatabase | FinishDeletion) and change.ref_id in dropping
        (held if ends else going_on).append(change)
    return replace(plan, changes=tuple(going_on), held=tuple(held), refusal=reason)


def _blocked(observed: Observed) -> Plan:
    name = observed.repository.name
    kind, _, why = observed.blocked.partition(": ")
    help_text = (
        f"stop the other one or give it another `instance`; if this one is right: metasync adopt {name}, which takes "
        "the mirrors over with what came before forgotten"
    )
    refused = Notice(kind, name, why, help_text)
    return Plan(name, refusals=(refused,), notices=observed.notices, refusal=f"{name}: {why}")


def _unsafe(changes: Iterable[Change], observed: Observed, safety: Safety) -> str:
    """Why the plan's drops are too many, or an empty string."""
    dropping = {c.ref_id for c in changes if isinstance(c, DropTable)}
    seen = sum(bool(view.tables or view.pinned) for view in observed.refs if view.state != "gone")
    mirrored = seen + observed.others
    if len(dropping) > safety.max_ref_drops:
        return (
            f"the mirrors of {len(dropping)} refs of {observed.repository.name} would be dropped in one pass, more "
            f"than safety.max_ref_drops = {safety.max_ref_drops}"
        )
    if len(dropping) > 3 and len(dropping) > safety.max_ref_drop_share * mirrored:
        return (
            f"the mirrors of {len(dropping)} of {mirrored} refs of {observed.repository.name} would be dropped in one "
            f"pass, more than safety.max_ref_drop_share = {safety.max_ref_drop_share}"
        )
    return ""
