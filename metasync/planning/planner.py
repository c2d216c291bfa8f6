"""From what was seen to what shall be done: `make_plan` is the whole of metasync's judgement in one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from metasync.model.hms import TableName
from metasync.planning.descriptions import describe
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeTableView, MergeView, Observed, Pinned, RefView, SourceTable
from metasync.planning.pauses import hold_back
from metasync.planning.plan import (
    Change,
    CopyStatistics,
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    EndRef,
    FinishCreation,
    FinishDiscovery,
    FinishMerge,
    MergeTable,
    Notice,
    PlacePartitions,
    Plan,
    TableFailure,
)
from metasync.planning.rules import RuleSet
from metasync.planning.table_merges import is_protected, parents_first, plan_table_merge, renamed_tables
from metasync.settings.models import Rule, Safety

_DESCRIBED = 20
"""The most items of a table that any output names."""


@dataclass
class _Draft:
    """A plan in the making."""

    changes: list[Change]
    refusals: list[Notice]
    notices: list[Notice]
    claims: dict[TableName, int]
    failures: list[TableFailure] = field(default_factory=list)
    more: bool = False

    @contextmanager
    def one_table(self, logical: TableName, where: str, ref_id: int = 0, merge_id: int = 0) -> Iterator[None]:
        """Makes whatever goes wrong inside a failure of that one table."""
        try:
            yield
        except Exception as error:  # a table that nobody foresaw must not keep the others from their plan
            why = f"planning failed: {type(error).__name__}: {error}"
            self.failures.append(TableFailure(logical, where, why, ref_id, merge_id))


def make_plan(observed: Observed, rules: RuleSet, safety: Safety) -> Plan:
    """Merges in the ledger's order first, then creations, then deletions: each needs those before it to be settled."""
    if observed.blocked:
        return _blocked(observed)
    draft = _Draft([], [], list(observed.notices), dict(observed.claims))
    discovers = any(rule.partitions == "discover" for rule in rules.of_repository(observed.repository.name))
    # Directories are looked at once the merges that brought them are settled.
    draft.more = observed.behind > 0 or (discovers and bool(observed.merges))
    for view in observed.refs:
        _plan_places(draft, view, rules, observed.repository.name)
    for merge in observed.merges:
        _plan_merge(draft, merge, rules)
    for view in observed.refs:
        _plan_discovery(draft, view, rules)
    for view in observed.refs:
        if view.life in ("new", "making") and not view.ended:
            _plan_creation(draft, view, observed, rules, safety)
        elif not view.ended:
            draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in view.failed.items()]
    ended = [view for view in observed.refs if view.ended and view.life != "gone"]
    for view in ended:
        _plan_deletion(draft, view, rules, observed, safety)
    plan = Plan(
        repository=observed.repository.name,
        changes=tuple(draft.changes),
        refusals=tuple(draft.refusals),
        notices=tuple(draft.notices),
        more=draft.more,
        failures=tuple(draft.failures),
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
        ends = isinstance(change, DropTable | DropDatabase | EndRef) and change.ref_id in dropping
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
    mirrored = sum(bool(view.tables or view.pinned) for view in observed.refs if view.life != "gone")
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


# Creation


def _plan_creation(draft: _Draft, view: RefView, observed: Observed, rules: RuleSet, safety: Safety) -> None:
    former = any(other.ref == view.ref and other.ended and other.life != "gone" for other in observed.refs)
    if view.waits or former:
        draft.more = True
        return
    failures, refusals = len(draft.failures), len(draft.refusals)
    _resume_creation(draft, view, observed, rules)
    draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in sorted(view.failed.items())]
    pinned = {pin.logical for pin in view.pinned}
    made = len(pinned)
    for table in view.to_create:
        if table.logical in pinned or table.logical in view.failed:
            continue
        with draft.one_table(table.logical, str(view.ref), view.id):
            made += _plan_mirror(draft, view, table, observed, rules, safety)
    if made > safety.max_tables_per_ref:
        draft.changes = [c for c in draft.changes if getattr(c, "ref_id", None) != view.id]
        draft.refusals.append(
            Notice(
                "too-many-tables",
                str(view.ref),
                f"would get {made} mirrors, more than safety.max_tables_per_ref = {safety.max_tables_per_ref}",
                "narrow the rule's tables or raise the limit",
                view.id,
            )
        )
    if view.present and (failures, refusals) == (len(draft.failures), len(draft.refusals)):
        draft.changes.append(FinishCreation(view.id, view.ref))


def _plan_mirror(
    draft: _Draft, view: RefView, table: SourceTable, observed: Observed, rules: RuleSet, safety: Safety
) -> bool:
    """Plans the mirror of one table; whether it is to be created."""
    rule = rules.of_table(observed.repository.name, view.ref, table.logical)
    if rule is None or rule.create == "ignore":
        return False
    if table.skipped:
        draft.notices.append(Notice("skipped", f"{view.ref} {table.logical}", table.skipped))
        return False
    physical = _name(draft, view, observed, rule, table.logical)
    if physical is None:
        return False
    if refused := _occupied(view, observed, physical):
        if refused.kind != "belongs":
            draft.refusals.append(refused)
        return False
    if table.partitions > safety.max_partitions_per_table:
        draft.refusals.append(
            Notice(
                "too-many-partitions",
                f"{view.ref} {table.logical}",
                f"has {table.partitions} partitions, more than safety.max_partitions_per_table = "
                f"{safety.max_partitions_per_table}",
                "raise the limit, or set partitions: none in the rule",
                view.id,
            )
        )
        return False
    draft.changes.append(_create(view, table, physical, rule))
    draft.claims[physical] = view.id
    return True


def _create(view: RefView, table: SourceTable, physical: TableName, rule: Rule) -> CreateMirror:
    return CreateMirror(
        ref_id=view.id,
        ref=view.ref,
        incarnation=view.incarnation,
        logical=table.logical,
        physical=physical,
        rule=rule.name,
        version=table.version,
        definition=table.definition,
        copy_of=table.copy_of,
        partitions=table.partitions if rule.partitions != "none" else 0,
        columns=len(table.header.sd.cols),
        as_of=view.as_of,
        copy_partitions=rule.partitions != "none",
    )


def _resume_creation(draft: _Draft, view: RefView, observed: Observed, rules: RuleSet) -> None:
    """Build what was pinned and is not made yet."""
    for pin in view.pinned:
        if pin.made:
            continue
        refused = _occupied(view, observed, pin.physical)
        if refused is not None:
            if refused.kind != "belongs":
                draft.refusals.append(refused)
            continue
        draft.changes.append(_create_pinned(view, pin, rules, resumed=pin.physical in observed.occupied))


def _create_pinned(view: RefView, pin: Pinned, rules: RuleSet, *, resumed: bool) -> CreateMirror:
    return CreateMirror(
        ref_id=view.id,
        ref=view.ref,
        incarnation=view.incarnation,
        logical=pin.logical,
        physical=pin.physical,
        rule=pin.rule,
        version=pin.version,
        definition=pin.definition,
        copy_of=pin.copy_of,
        partitions=pin.partitions,
        columns=pin.columns,
        as_of=pin.as_of,
        copy_partitions=(rule := rules.named(pin.rule)) is None or rule.partitions != "none",
        resumed=resumed,
    )


def _name(draft: _Draft, view: RefView, observed: Observed, rule: Rule, logical: TableName) -> TableName | None:
    """The mirror's name; None, with a refusal, where another ref holds it."""
    repository = observed.repository.name
    physical = physical_name(rule.target, repository, view.ref, logical)
    holder = draft.claims.get(physical)
    if holder is not None and holder != view.id and rule.target.on_collision == "hash":
        physical = physical_name(rule.target, repository, view.ref, logical, hashed=True)
        holder = draft.claims.get(physical)
    if holder is not None and holder != view.id:
        other = next((str(v.ref) for v in observed.refs if v.id == holder), "a ref of another repository")
        draft.refusals.append(
            Notice(
                "name-collision",
                f"{view.ref} {logical}",
                f"would be called {physical}, which {other} holds",
                "rename the ref, or set target.on_collision: hash in the rule",
                view.id,
            )
        )
        return None
    if physical in observed.canonical or physical == logical:
        draft.refusals.append(
            Notice(
                "canonical-name",
                f"{view.ref} {logical}",
                f"would be called {physical}, which is the name of a canonical table",
                "change the rule's target",
                view.id,
            )
        )
        return None
    return physical


def _occupied(view: RefView, observed: Observed, physical: TableName) -> Notice | None:
    """Why a mirror cannot be made at a name where something stands; None where it can, or can be finished."""
    if physical in observed.unreadable:
        why, hint = observed.unreadable[physical], "fix the reason, then: metasync reconcile"
        return Notice("failed", f"{view.ref} {physical}", why, hint, view.id)
    occupant = observed.occupied.get(physical)
    if occupant is None:
        return None
    marks = occupant.marks
    if marks is not None and marks.instance == observed.instance:
        if (marks.repository, marks.ref) == (observed.repository.name, str(view.ref)):
            if marks.incarnation != view.incarnation:
                return Notice(
                    "other-life",
                    f"{view.ref} {physical}",
                    f"is the mirror of another incarnation ({marks.incarnation}) of this ref; it is left alone",
                    f"drop {physical} if nobody needs it, then: metasync reconcile",
                    view.id,
                )
            if marks.making:
                return None
            return Notice("belongs", str(physical), "is this ref's already")
        return Notice(
            "name-collision",
            f"{view.ref} {physical}",
            f"is the mirror of {marks.repository} {marks.ref}",
            "rename the ref, or set target.on_collision: hash in the rule",
            view.id,
        )
    if any(table.physical == physical for table in view.tables):
        return Notice("belongs", str(physical), "is the branch's own table")
    owner = f" of the metasync instance {marks.instance!r}" if marks else ""
    return Notice(
        "foreign-table",
        f"{view.ref} {physical}",
        f"a table{owner} that is not ours stands there; it is left alone",
        f"move {physical} away or change the rule's target, then: metasync reconcile",
        view.id,
    )


# Deletion


def _plan_deletion(draft: _Draft, view: RefView, rules: RuleSet, observed: Observed, safety: Safety) -> None:
    if view.waits:
        draft.more = True
        return
    if not view.replaced and view.missing_for < safety.drop_grace:
        draft.notices.append(
            Notice(
                "drop-grace",
                str(view.ref),
                f"is gone; its mirrors go after {safety.drop_grace:.0f} s of grace",
            )
        )
        return
    if view.failed:
        # What a table was that cannot be read would be lost with it, and what else it is merged from.
        draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in sorted(view.failed.items())]
        return
    kept = False
    for table in view.tables:
        rule = rules.of_table(observed.repository.name, view.ref, table.logical)
        if table.marks is not None and rule is None:
            rule = rules.named(table.marks.rule)
        if rule is None and table.kind in ("mirror", "making"):
            # No rule speaks of it any more: an orphan. A changed configuration never drops anything.
            draft.notices.append(
                Notice(
                    "orphan",
                    str(table.physical),
                    f"{view.ref} is gone and no rule wants it",
                    "metasync prune",
                )
            )
            kept = True
            continue
        if rule is None or rule.delete == "keep":
            kept = kept or rule is not None
            continue
        ours = table.kind != "belonging"
        draft.changes.append(
            DropTable(view.id, view.ref, view.incarnation, table.logical, table.physical, ours, rule.name)
        )
    if not kept:
        draft.changes += [DropDatabase(view.id, name) for name in view.databases]
    draft.changes.append(EndRef(view.id, view.ref, kept))


# Merge


def _plan_merge(draft: _Draft, merge: MergeView, rules: RuleSet) -> None:
    if merge.started:
        # Planned before a crash: those very changes are finished, nothing is computed anew.
        draft.changes += [replace(change, resumed=True, books_only=merge.ended) for change in merge.unfinished]
        draft.changes.append(_finish(merge))
        return
    subject = f"{merge.source} -> {merge.destination}"
    if merge.note:
        draft.notices.append(Notice("merge-note", subject, merge.note))
    before = len(draft.failures)
    for logical, why in sorted(merge.failed.items()):
        draft.failures.append(TableFailure(logical, subject, why, merge_id=merge.id))
    changes: list[MergeTable] = []
    for table in merge.tables:
        with draft.one_table(table.logical, subject, merge_id=merge.id):
            if (change := _plan_table(draft, merge, table, rules, subject)) is not None:
                changes.append(change)
    failed = tuple(draft.failures[before:])
    # Later merges of the same tables wait for those that failed before.
    draft.more = draft.more or (merge.partial and len(failed) < len(merge.tables) + len(merge.failed))
    draft.notices += renamed_tables(subject, changes)
    draft.changes += parents_first(changes)
    stopped = {change.logical for change in changes if change.conflicts} | {failure.logical for failure in failed}
    draft.changes += [copy for copy in merge.statistics if copy.logical not in stopped and _may_copy(copy, rules)]
    draft.changes.append(replace(_finish(merge), failed=failed))


def _plan_table(
    draft: _Draft, merge: MergeView, table: MergeTableView, rules: RuleSet, subject: str
) -> MergeTable | None:
    """The change that a merge makes to one table, if any; found to be one that can be ordered and told of."""
    rule = rules.named(table.rule)
    if rule is None or rule.merge == "ignore":
        return None
    if table.skipped:
        draft.notices.append(Notice("skipped", f"{subject} {table.logical}", table.skipped))
        return None
    change = plan_table_merge(merge, table, rule)
    if change is not None:
        renamed_tables(subject, [change])
        parents_first([change])
        describe(change.items + change.withheld, most=_DESCRIBED)
    return change


def _may_copy(copy: CopyStatistics, rules: RuleSet) -> bool:
    """Whether the table's rule lets merges write without being asked."""
    rule = rules.named(copy.rule)
    return rule is not None and rule.merge in ("additive", "full") and not is_protected(rule, copy.logical)


def _plan_discovery(draft: _Draft, view: RefView, rules: RuleSet) -> None:
    before = len(draft.changes)
    for table in view.discovered:
        physical = next((t.physical for t in view.tables if t.logical == table.logical), None)
        rule = rules.named(table.rule)
        if physical is None or rule is None:
            continue
        if rule.merge == "plan" or is_protected(rule, table.logical):
            count = len(table.partitions)
            draft.notices.append(
                Notice(
                    "partitions-discovered",
                    f"{view.ref} {table.logical}",
                    f"{count} directories of partitions were filled or emptied; its rule only plans",
                    "metasync reconcile once the rule's merge is additive, or change the partitions by hand",
                )
            )
            continue
        draft.changes.append(
            DiscoverPartitions(view.id, view.ref, view.head, table.logical, physical, table.partitions, rule.name)
        )
    if len(draft.changes) > before and not view.failed:
        draft.changes.append(FinishDiscovery(view.id, view.ref, view.head))


def _plan_places(draft: _Draft, view: RefView, rules: RuleSet, repository: str) -> None:
    for table in view.stranded:
        rule = rules.of_table(repository, view.ref, table.logical)
        draft.changes.append(
            PlacePartitions(
                view.id, view.ref, table.logical, table.physical, table.partitions, rule.name if rule else ""
            )
        )


def _finish(merge: MergeView) -> FinishMerge:
    return FinishMerge(merge.id, merge.commit, merge.source, merge.destination, merge.destination_ref_id)
