"""Planning the creation of a ref's mirrors: which tables, under which names, and why one is refused."""

from __future__ import annotations

from metasync.model.hms import TableName
from metasync.model.lakefs import RefType
from metasync.planning.changes import CreateMirror, FinishCreation, TableFailure
from metasync.planning.draft import Draft
from metasync.planning.formats import names_other_places
from metasync.planning.names import physical_name
from metasync.planning.observed import Observed, Pinned, RefView, SourceTable
from metasync.planning.plan import Notice, NotMirrored
from metasync.planning.rules import RuleSet
from metasync.settings.models import Rule


def plan_creation(draft: Draft, view: RefView) -> None:
    """The ref's mirrors; none before what a former incarnation of it had is deleted."""
    if view.waits or view.ref in draft.being_deleted:
        draft.more = True
        return
    failures, refusals = len(draft.failures), len(draft.refusals)
    _resume_creation(draft, view)
    draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in sorted(view.failed.items())]
    pinned = {pin.logical for pin in view.pinned}
    made = len(pinned)
    for table in view.to_create:
        if table.logical in pinned or table.logical in view.failed:
            continue
        with draft.one_table(table.logical, str(view.ref), view.id):
            made += _plan_mirror(draft, view, table)
    if made > draft.safety.max_tables_per_ref:
        draft.changes = [c for c in draft.changes if getattr(c, "ref_id", None) != view.id]
        draft.refusals.append(
            Notice(
                "too-many-tables",
                str(view.ref),
                f"would get {made} mirrors, more than safety.max_tables_per_ref = {draft.safety.max_tables_per_ref}",
                "narrow the rule's tables or raise the limit",
                view.id,
            )
        )
    if view.present and (failures, refusals) == (len(draft.failures), len(draft.refusals)):
        draft.changes.append(FinishCreation(view.id, view.ref))


def _plan_mirror(draft: Draft, view: RefView, table: SourceTable) -> bool:
    """Plans the mirror of one table; whether it is to be created."""
    rule = draft.rules.of_table(draft.repository, view.ref, table.logical)
    if rule is None or rule.create == "ignore":
        return False
    if table.skipped:
        draft.not_mirrored.append(NotMirrored(view.id, view.ref, table.logical, table.skipped))
        return False
    physical = _name(draft, view, rule, table.logical)
    if physical is None:
        return False
    if refused := _occupied(draft.observed, view, physical):
        if refused.kind != "belongs":
            draft.refusals.append(refused)
        return False
    if table.partitions > draft.safety.max_partitions_per_table:
        draft.refusals.append(
            Notice(
                "too-many-partitions",
                f"{view.ref} {table.logical}",
                f"has {table.partitions} partitions, more than safety.max_partitions_per_table = "
                f"{draft.safety.max_partitions_per_table}",
                "raise the limit, or set partitions: none in the rule",
                view.id,
            )
        )
        return False
    if elsewhere := names_other_places(table.header):
        named = ", ".join(f"{key} ({place})" for key, place in sorted(elsewhere.items()))
        message = f"parameters that name another place stay as they are: {named}"
        draft.notices.append(Notice("names-another-place", f"{view.ref} {table.logical}", message))
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
        as_of=table.as_of or view.as_of,
        copy_partitions=rule.partitions != "none",
    )


def _resume_creation(draft: Draft, view: RefView) -> None:
    """Build what was pinned and is not made yet."""
    for pin in view.pinned:
        if pin.made:
            continue
        refused = _occupied(draft.observed, view, pin.physical)
        if refused is not None:
            if refused.kind != "belongs":
                draft.refusals.append(refused)
            continue
        draft.changes.append(create_pinned(view, pin, draft.rules, resumed=pin.physical in draft.observed.occupied))


def create_pinned(view: RefView, pin: Pinned, rules: RuleSet, *, resumed: bool = False) -> CreateMirror:
    """The creation of a mirror as it was planned once; `resumed`: it is half-made."""
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


def _name(draft: Draft, view: RefView, rule: Rule, logical: TableName) -> TableName | None:
    """The mirror's name; None, with a refusal, where another ref holds it."""
    repository = draft.repository
    physical = physical_name(rule.target, repository, view.ref, logical)
    holder = draft.claims.get(physical)
    if holder is not None and holder != view.id and rule.target.on_collision == "hash":
        physical = physical_name(rule.target, repository, view.ref, logical, hashed=True)
        holder = draft.claims.get(physical)
    if holder is not None and holder != view.id:
        refs = {**draft.observed.elsewhere, **{one.id: one.ref for one in draft.observed.refs}}
        other = refs.get(holder, "a ref of another repository")
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
    if physical in draft.observed.canonical or physical == logical:
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
    if _is_among_canonical(draft, view, rule, physical):
        refused = Notice(
            "canonical-database",
            f"{view.ref} {physical.database}",
            f"mirrors would stand in {physical.database}, a database of canonical tables",
            "change the rule's target, or set target.in_canonical_database: true in it",
            view.id,
        )
        if refused not in draft.refusals:
            draft.refusals.append(refused)
        return None
    return physical


def _is_among_canonical(draft: Draft, view: RefView, rule: Rule, physical: TableName) -> bool:
    """Whether a branch's mirror would share its database with the tables of a canonical branch, unasked."""
    if view.ref.type is not RefType.BRANCH or rule.target.in_canonical_database:
        return False
    return physical.database in draft.canonical_databases


def _occupied(observed: Observed, view: RefView, physical: TableName) -> Notice | None:
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
                    "other-incarnation",
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
