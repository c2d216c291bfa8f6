"""The change that one table of a merge needs: carried, withheld or in conflict; and the one that takes it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from metasync.model.hms import Table, TableName
from metasync.planning.accepted_types import ColumnCheck
from metasync.planning.changes import MergeTable, PartitionChange
from metasync.planning.definition import PartitionDefinition
from metasync.planning.formats import why_skipped
from metasync.planning.item_tree import Definition, Partial
from metasync.planning.kinds.constraints import parents
from metasync.planning.kinds.partitions import partition_key, partition_values
from metasync.planning.merge import Choice, MergeInput, MergeRules, Side, TableMerge, merge_table, refused_columns
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.patterns import lowered, matches
from metasync.planning.plan import Notice
from metasync.planning.table_type import type_text
from metasync.planning.three_way import ItemChange, ItemConflict
from metasync.planning.version_graph import merge_bases
from metasync.settings.models import Rule


def plan_table_merge(
    merge: MergeView, view: MergeTableView, rule: Rule, choose: Choice | None = None
) -> MergeTable | None:
    """The change that one table of a merge needs, or None where the source changed nothing.

    `choose` is a person's choice; without one, lakeFS's merge strategy decides for tables whose data the merge changed.
    """
    change = _plan(merge, view, rule, choose, approved=False)
    if change is None or not change.withheld:
        return change
    whole = _plan(merge, view, rule, choose, approved=True)
    assert whole is not None  # the source changed, or nothing would be withheld
    return replace(change, waiting=_rest(whole, change, column_check=view.column_check))


def _plan(
    merge: MergeView, view: MergeTableView, rule: Rule, choose: Choice | None, *, approved: bool
) -> MergeTable | None:
    judged = MergeRules(
        # Nothing is dropped on the word of an event alone.
        policy="additive" if rule.merge == "full" and not merge.confirmed else rule.merge,
        protected=is_protected(rule, view.logical),
        additive_when_unknown=rule.on_missing_base == "additive",
        choose=choose or (_by_strategy(merge) if view.data_changed else None),
        by_strategy=choose is None,
        approved=approved,
        column_check=view.column_check,
        emptied=view.emptied,
    )
    outcome = merge_table(view.input, judged)
    if not outcome.source_changed:
        return None
    conflicts = list(outcome.conflicts)
    if view.problem:
        conflicts = [ItemConflict((), None, None, None, view.problem)]
    elif _is_never_merged(view):
        conflicts = [ItemConflict((), None, None, None, "format-not-merged")]
    after = outcome.before if conflicts else outcome.after
    return _merge_change(merge, view, outcome, after, tuple(conflicts))


def _is_never_merged(view: MergeTableView) -> bool:
    """Whether a side became a table of a format or kind that no merge carries, or a view."""
    sides = [view.input.versions.get(version) for version in (view.input.source, view.input.destination) if version]
    tables = [side.header for side in sides if side is not None]
    if view.live is not None:
        tables.append(view.live.table)
    return any(map(why_skipped, tables))


def _merge_change(
    merge: MergeView,
    view: MergeTableView,
    outcome: TableMerge,
    after: Definition,
    conflicts: tuple[ItemConflict, ...],
) -> MergeTable:
    source, destination = view.input.source, view.input.destination
    bases = merge_bases(view.input.parents, source, destination) if source and destination else ()
    carried = () if conflicts else outcome.carried
    withheld = () if conflicts else outcome.withheld
    source_definition = view.input.versions.get(source) if source else None
    return MergeTable(
        merge_id=merge.id,
        merge_commit=merge.commit,
        heads=tuple(dict.fromkeys(filter(None, (merge.own_commit, merge.head)))),
        source=merge.source,
        source_ref_id=merge.source_ref_id,
        destination=merge.destination,
        destination_ref_id=merge.destination_ref_id,
        logical=view.logical,
        physical=view.physical,
        rule=view.rule,
        source_version=source,
        destination_version=destination,
        base_versions=bases,
        before=_header(outcome.before),
        after=_header(after),
        partitions=_partition_changes(outcome.before, after),
        items=carried,
        withheld=withheld,
        conflicts=conflicts,
        remainder=_header(outcome.remainder) if withheld else None,
        remainder_partitions=_partition_changes(source_definition, outcome.remainder) if withheld else (),
        edge=not conflicts and (bool(carried) or not withheld),
        renames=() if conflicts else outcome.renames,
        stamp=view.live.table.parameters.get("transient_lastDdlTime", "") if view.live else "",
        store_only=view.store_only,
    )


def _header(definition: Definition) -> Table | None:
    return None if definition is None else definition.header


def _partition_changes(before: Definition, after: Definition) -> tuple[PartitionChange, ...]:
    old = {} if before is None else before.partitions
    new = {} if after is None else after.partitions
    return tuple(
        PartitionChange(partition_values(key), old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def is_protected(rule: Rule, logical: TableName) -> bool:
    """Whether a table only gets plans, whatever the rule's policy."""
    return matches(str(logical), lowered(rule.protected))


def _by_strategy(merge: MergeView) -> Choice | None:
    strategies: dict[str, Side] = {"source-wins": "theirs", "dest-wins": "ours"}
    side = strategies.get(merge.strategy)
    return (lambda _: side) if side else None


def _rest(whole: MergeTable, carried: MergeTable, *, column_check: ColumnCheck) -> MergeTable:
    """The change that `metasync apply` makes of what the policy withheld: from after the carried part to the whole.

    A metastore may take the whole at once and refuse this second half of it; that is a conflict of the waiting plan.
    """
    between = {p.values: p for p in carried.partitions}
    partitions = tuple(
        replace(p, before=between[p.values].after if p.values in between else p.before)
        for p in whole.partitions
        if p.values not in between or between[p.values].after != p.after
    )
    conflicts = whole.conflicts
    if carried.after is not None and whole.after is not None and not conflicts:
        conflicts = tuple(refused_columns(carried.after, whole.after, column_check))
    return replace(
        whole, before=carried.after, items=carried.withheld, partitions=partitions, withheld=(), conflicts=conflicts
    )


def parents_first(changes: Sequence[MergeTable]) -> list[MergeTable]:
    """The changes of a merge so that a table comes after those that its new foreign keys refer to."""
    by_name = {change.logical: change for change in changes}
    needs = {
        change.logical: (parents(change.after.constraints) & set(by_name)) - {change.logical} if change.after else set()
        for change in changes
    }
    try:
        return [by_name[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError:
        return list(changes)


def renamed_tables(subject: str, changes: Sequence[MergeTable]) -> list[Notice]:
    """Notices about tables that went on the source while another with the same columns and place came."""
    gone = {_fingerprint(c.before): c for c in changes for item in (*c.items, *c.withheld) if _drops(item)}
    new = [c for c in changes if c.before is None and c.after is not None and not c.conflicts]
    return [
        Notice(
            "probable-rename",
            f"{subject} {was.logical}",
            f"was probably renamed to {change.logical}, which has its columns and its location",
            "" if was.after is None else f"once the drop of {was.logical} is applied, only the new name is left",
        )
        for change in new
        if (was := gone.get(_fingerprint(change.after))) is not None
    ]


def type_differences(subject: str, view: MergeTableView) -> list[Notice]:
    """A notice where the source changed whether its table is managed or purges, which no merge carries."""
    merge = view.input
    if merge.source is None or merge.destination is None:
        return []
    bases = merge_bases(merge.parents, merge.source, merge.destination)
    sides = (merge.versions.get(v) for v in (merge.source, merge.destination, *bases[:1]))
    source, destination, *base = [type_text(side.header) if side is not None else "" for side in sides]
    if not source or not destination or source in (destination, *base):
        return []
    return [
        Notice(
            "type-not-merged",
            f"{subject} {view.logical}",
            f"is {source} on the source and {destination} on the destination; merges do not change a table's type",
            "if it is meant to be the same there, change it by ALTER TABLE on the destination",
        )
    ]


def _drops(item: ItemChange) -> bool:
    return not item.path and item.after is None


def _fingerprint(header: Table | None) -> tuple[object, ...]:
    return (header.sd.location, header.sd.cols, header.partition_keys) if header is not None else ()


def undo_change(done: MergeTable, current: Definition, version: int | None, *, column_check: ColumnCheck) -> MergeTable:
    """The change that takes back what a merge or an applied plan did to a table: the same merge turned round.

    Base is what it left, source what it found, destination the table as it is now: `current`, of version `version`,
    with the partitions that were changed; all of them where the table was made. What somebody changed since is a
    conflict.
    """
    base = _image(done.after, {p.values: p.after for p in done.partitions})
    source = _image(done.before, {p.values: p.before for p in done.partitions})
    turned = MergeInput({1: (), 2: (1,), 3: (1,)}, {1: base, 2: source, 3: current}, 2, 3)
    outcome = merge_table(turned, MergeRules(policy="full", approved=True, column_check=column_check))
    after = outcome.before if outcome.conflicts else outcome.after
    return replace(
        done,
        destination_version=version,
        before=_header(outcome.before),
        after=_header(after),
        partitions=_partition_changes(outcome.before, after),
        items=outcome.carried,
        conflicts=outcome.conflicts,
        withheld=(),
        remainder=None,
        remainder_partitions=(),
        renames=(),
        undoes=True,
        resumed=False,
        waiting=None,
    )


def _image(header: Table | None, partitions: Mapping[tuple[str, ...], PartitionDefinition | None]) -> Definition:
    if header is None:
        return None
    return Partial(header, {partition_key(values): p for values, p in partitions.items() if p is not None})
