"""Resolving: a person chooses a side for the conflicts of one table of one merge, and the table is merged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.observe.observer import Observer
from metasync.engine.observe.open_merges import OpenMerges
from metasync.engine.scope import Scope
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.tracker import Tracker
from metasync.errors import UsageError
from metasync.model.hms import TableName
from metasync.planning.changes import MergeTable
from metasync.planning.descriptions import item_name
from metasync.planning.merge import Choice, Side
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.plan import Plan
from metasync.planning.table_merges import plan_table_merge
from metasync.planning.three_way import ItemConflict
from metasync.settings.models import Rule
from metasync.store.decisions import ConflictRow
from metasync.store.stores import Stores


class Resolver:
    """Turns the choices for a table into a plan, and has the controller apply it."""

    def __init__(
        self,
        stores: Stores,
        controller: Controller,
        tracker: Tracker,
        observer: Observer,
        merges: OpenMerges,
    ) -> None:
        self._observer = observer
        self._controller = controller
        self._tracker = tracker
        self._merges = merges
        self._refs = stores.refs
        self._versions = stores.versions
        self._ledger = stores.ledger
        self._decisions = stores.decisions

    def resolve(
        self, conflict_id: int, side: Side, items: Sequence[str] = (), watcher: Watcher | None = None
    ) -> Result:
        """Chooses `ours` (the destination) or `theirs` (the source) for the conflicts of one table of one merge.

        `items`, named as `metasync conflicts` shows them, are chosen alone; without any, all that have no choice yet,
        or every one where all have. Once every item has a choice, the table is merged. The last choice counts. Raises
        UsageError for an item that is not in conflict.
        """
        with self._controller.alone(self._chosen(conflict_id, side, items)[0].repository):
            conflict, rows, chosen = self._chosen(conflict_id, side, items)
            self._decisions.choose(chosen)
            if None in chosen.values():
                return Result(conflict.repository, ())
            return self._settle(conflict, [replace(row, choice=chosen[row.id]) for row in rows], watcher)

    def preview(self, conflict_id: int, side: Side, items: Sequence[str] = ()) -> Plan:
        """What `resolve` would apply; without changes where items still have no choice. Chooses nothing."""
        conflict, rows, chosen = self._chosen(conflict_id, side, items)
        if None in chosen.values():
            return Plan(conflict.repository)
        with self._controller.alone(conflict.repository):
            snapshot = self._tracker.track(Scope(conflict.repository))
            change = self._settled(snapshot, conflict, [replace(row, choice=chosen[row.id]) for row in rows])
        return Plan(conflict.repository, (change,) if change is not None else ())

    def _chosen(
        self, conflict_id: int, side: Side, items: Sequence[str]
    ) -> tuple[ConflictRow, list[ConflictRow], dict[int, str | None]]:
        """The conflict, those of its table and merge, and each one's choice with the new ones."""
        rows = [row for row in self._decisions.of_same_table(conflict_id) if row.state == "open"]
        conflict = next((c for c in rows if c.id == conflict_id), None)
        if conflict is None:
            raise UsageError(f"there is no open conflict {conflict_id}; see: metasync conflicts")
        return conflict, rows, {row.id: row.choice for row in rows} | {row.id: side for row in _named(rows, items)}

    def _settle(self, conflict: ConflictRow, rows: Sequence[ConflictRow], watcher: Watcher | None) -> Result:
        snapshot = self._tracker.track(Scope(conflict.repository))
        observed = self._observer.observe(snapshot)
        change = self._settled(snapshot, conflict, rows)
        if change is None:
            self._close(rows)
            return Result(conflict.repository, ())
        result = self._controller.execute(observed, Plan(conflict.repository, (change,)), watcher)
        if result.outcomes and result.outcomes[0].state == "done":
            self._close(rows)
        return result

    def _close(self, rows: Sequence[ConflictRow]) -> None:
        for row in rows:
            self._decisions.close_conflicts([row.id], "resolved", row.choice)

    def _settled(self, snapshot: Snapshot, conflict: ConflictRow, rows: Sequence[ConflictRow]) -> MergeTable | None:
        merge_view, view, rule = self._again(snapshot, conflict.merge_id, conflict.logical)
        if view is None:
            return None
        if view.problem:
            raise UsageError(f"{view.physical}: {view.problem}: nothing to choose; move it away and merge again")
        return plan_table_merge(merge_view, view, rule, _choice(rows))

    def _again(
        self, snapshot: Snapshot, merge_id: int, logical: TableName
    ) -> tuple[MergeView, MergeTableView | None, Rule]:
        """A table of a merge on its newest versions: the merge, its view of the table, and the rule."""
        merge = self._ledger.merge(merge_id)
        destination = self._refs.get(merge.destination_ref_id)
        assert merge.source_ref_id is not None
        source = self._refs.get(merge.source_ref_id)
        sides = {source.id: source} if snapshot.refs.is_alive(source) else {}
        sides[destination.id] = destination
        snapshot = self._tracker.with_partitions(snapshot, sides.values())
        rule = self._merges.rule_for(snapshot, source, destination, logical)
        if rule is None:
            raise UsageError(f"no rule speaks of {logical} on {source.ref} or {destination.ref} any more")
        theirs, _ = self._merges.source_versions(snapshot, merge, source)
        ours = self._versions.in_force(destination)
        view = self._merges.sides(snapshot, merge, destination).view(
            logical, rule, theirs.get(logical), ours.get(logical), snapshot.reading(destination).tables
        )
        # What is decided now holds from now on, and not for tags of the merge commit.
        outline = replace(self._merges.outline(snapshot, merge, destination), own_commit="")
        return outline, view, rule


def _named(rows: Sequence[ConflictRow], items: Sequence[str]) -> list[ConflictRow]:
    """The conflicts that a person named; a column of Spark's schema goes with the column itself."""
    if not items:
        return [row for row in rows if row.choice is None] or list(rows)
    found: list[ConflictRow] = []
    for item in items:
        named = [row for row in rows if item in (item_name(row.path), "/".join(row.path))]
        if not named:
            known = ", ".join(repr(item_name(row.path)) for row in rows)
            raise UsageError(f"{item!r} is not in conflict; these are: {known}")
        columns = {row.path[1] for row in named if row.path[:1] == ("columns",)}
        found += named
        found += [row for row in rows if row.path[:1] == ("spark_schema",) and row.path[1] in columns]
    return found


def _choice(rows: Sequence[ConflictRow]) -> Choice:
    """The choices that were made, for the very conflicts that they were made for."""
    by_path = {row.path: row for row in rows}

    def choose(conflict: ItemConflict) -> Side | None:
        row = by_path.get(conflict.path)
        if row is None or (row.ours, row.theirs) != (_stored(conflict.ours), _stored(conflict.theirs)):
            return None
        return "theirs" if row.choice == "theirs" else "ours"

    return choose


def _stored(value: object) -> object:
    """A value as it comes back from the store."""
    return json.loads(json.dumps(value))
