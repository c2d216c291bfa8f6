"""Planning a merge: the changes of each of its tables, in the order in which they can be written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from metasync.model.hms import TableName
from metasync.planning.changes import CopyStatistics, FinishMerge, MergeTable, TableFailure
from metasync.planning.descriptions import describe
from metasync.planning.draft import Draft
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.plan import Notice
from metasync.planning.rules import RuleSet
from metasync.planning.table_merges import (
    is_protected,
    parents_first,
    plan_table_merge,
    renamed_tables,
    type_differences,
)

_DESCRIBED = 20
"""The most items of a table that any output names."""


def plan_merge(draft: Draft, merge: MergeView) -> None:
    """What a merge changes, and the note that it is done."""
    if merge.started:
        # Planned before a crash: those very changes are finished, nothing is computed anew.
        draft.changes += [replace(change, resumed=True, store_only=merge.ended) for change in merge.unfinished]
        _statistics(draft, merge, {change.logical for change in merge.unfinished if change.conflicts})
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
            if (change := _plan_table(draft, merge, table, subject)) is not None:
                changes.append(change)
    failed = tuple(draft.failures[before:])
    # Later merges of the same tables wait for those that failed before.
    draft.more = draft.more or (merge.partial and len(failed) < len(merge.tables) + len(merge.failed))
    draft.notices += renamed_tables(subject, changes)
    draft.changes += parents_first(changes)
    stopped = {change.logical for change in changes if change.conflicts} | {failure.logical for failure in failed}
    _statistics(draft, merge, stopped)
    draft.changes.append(replace(_finish(merge), failed=failed))


def _plan_table(draft: Draft, merge: MergeView, table: MergeTableView, subject: str) -> MergeTable | None:
    """The change that a merge makes to one table, if any; checked here to be one that can be ordered and described."""
    rule = draft.rules.named(table.rule)
    if rule is None or rule.merge == "ignore":
        return None
    if table.skipped:
        draft.notices.append(Notice("skipped", f"{subject} {table.logical}", table.skipped))
        return None
    draft.notices += type_differences(subject, table)
    change = plan_table_merge(merge, table, rule)
    if change is not None:
        renamed_tables(subject, [change])
        parents_first([change])
        describe(change.items + change.withheld, most=_DESCRIBED)
    return change


def _statistics(draft: Draft, merge: MergeView, stopped: Collection[TableName]) -> None:
    """What is known of the merged data, of all tables but those that the merge does not write."""
    draft.changes += [copy for copy in merge.statistics if copy.logical not in stopped and _may_copy(copy, draft.rules)]


def _may_copy(copy: CopyStatistics, rules: RuleSet) -> bool:
    """Whether the table's rule lets merges write without being asked."""
    rule = rules.named(copy.rule)
    return rule is not None and rule.merge in ("additive", "full") and not is_protected(rule, copy.logical)


def _finish(merge: MergeView) -> FinishMerge:
    return FinishMerge(merge.id, merge.commit, merge.source, merge.destination, merge.destination_ref_id)
