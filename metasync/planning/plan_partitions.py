"""Planning partitions: those that directories make or end, and those that go back to their places."""

from __future__ import annotations

from metasync.planning.changes import DiscoverPartitions, FinishDiscovery, PlacePartitions
from metasync.planning.draft import Draft
from metasync.planning.observed import RefView
from metasync.planning.plan import Notice
from metasync.planning.table_merges import is_protected


def plan_discovery(draft: Draft, view: RefView) -> None:
    """The partitions of directories that were filled or emptied, as far as the tables' rules make them."""
    before = len(draft.changes)
    for table in view.discovered:
        physical = next((t.physical for t in view.tables if t.logical == table.logical), None)
        rule = draft.rules.named(table.rule)
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


def plan_places(draft: Draft, view: RefView) -> None:
    """The partitions that go back to where a merge put them."""
    for table in view.stranded:
        rule = draft.rules.of_table(draft.repository, view.ref, table.logical)
        draft.changes.append(
            PlacePartitions(
                view.id, view.ref, table.logical, table.physical, table.partitions, rule.name if rule else ""
            )
        )
