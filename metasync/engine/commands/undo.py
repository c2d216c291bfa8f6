"""Undoing: a merge or an applied plan taken back, from the images that were stored before it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.track.tracker import Tracker
from metasync.errors import UsageError
from metasync.metastore import Metastore
from metasync.model.lakefs import Repository
from metasync.planning.changes import MergeTable
from metasync.planning.descriptions import describe
from metasync.planning.locations import path_on_ref
from metasync.planning.observed import Observed
from metasync.planning.plan import Notice, Plan
from metasync.planning.table_merges import undo_change
from metasync.store.stores import Stores


class Undoer:
    """Turns what was done round, three ways: what somebody changed since is a conflict and stays."""

    def __init__(
        self,
        stores: Stores,
        controller: Controller,
        tracker: Tracker,
        metastore: Metastore,
    ) -> None:
        self._controller = controller
        self._tracker = tracker
        self._refs = stores.refs
        self._repositories = stores.repositories
        self._versions = stores.versions
        self._ledger = stores.ledger
        self._decisions = stores.decisions
        self._metastore = metastore

    def plan(self, name: str) -> tuple[Repository, Plan]:
        """What undoing would do. `name` is the number of an applied plan, or a merge commit or its beginning.

        Raises UsageError where there is no such thing, or more than one.
        """
        done, repository = self._done(name)
        with self._controller.alone(repository):
            return self._turned(repository, done)

    def _turned(self, repository: str, done: Sequence[MergeTable]) -> tuple[Repository, Plan]:
        snapshot = self._tracker.known(repository)
        destinations = {change.destination_ref_id: self._refs.get(change.destination_ref_id) for change in done}
        for destination in destinations.values():
            if destination.ref not in snapshot.refs.heads or destination.state == "gone":
                raise UsageError(f"{destination.ref} of {repository} is gone; there is nothing to take back from it")
        snapshot = self._tracker.with_partitions(snapshot, destinations.values())
        changes = []
        for change in done:
            destination = destinations[change.destination_ref_id]
            tables = snapshot.reading(destination).tables
            newest = self._versions.in_force(destination).get(change.logical)
            whole = change.before is None or change.after is None
            touched = None if whole else {p.values for p in change.partitions}
            known = newest.definition if newest else None
            if touched is not None and known is not None:
                back = {path for p in change.partitions if p.before and (path := path_on_ref(p.before.location or ""))}
                there = self._versions.lying_at(self._versions.definition(known).manifest, back)
                touched |= {p.values for partitions in there.values() for p in partitions}
            current = self._versions.partial(known, touched)
            check = self._metastore.column_check()
            turned = undo_change(change, current, newest.id if newest else None, column_check=check)
            live = next((view for view in tables if view.logical == change.logical), None)
            stamp = live.table.parameters.get("transient_lastDdlTime", "") if live else ""
            turned = replace(turned, heads=(snapshot.refs.heads[destination.ref],), stamp=stamp)
            if turned.writes or turned.conflicts:
                changes.append(turned)
        return snapshot.repository, Plan(repository, tuple(changes), notices=self._not_covered(repository, done))

    def _not_covered(self, repository: str, done: Sequence[MergeTable]) -> tuple[Notice, ...]:
        """What of a merge was applied later, as a plan of its own: undoing the merge does not take that back."""
        mine = {(change.merge_id, change.logical) for change in done}
        later = [
            (row, change)
            for row in self._decisions.applied_plans(repository)
            for change in row.plan.merges
            if (change.merge_id, change.logical) in mine and change not in done
        ]
        return tuple(
            Notice(
                "not-covered",
                f"plan {row.id}: {change.physical}",
                f"was applied after the merge and is not taken back with it ({describe(change.items)})",
                f"to take that back first: metasync undo {row.id}",
            )
            for row, change in later
        )

    def undo(self, name: str, watcher: Watcher | None = None) -> Result:
        """Takes it back."""
        with self._controller.alone(self._done(name)[1]):
            repository, plan = self.plan(name)
            return self._controller.execute(Observed(repository, "", ""), plan, watcher)

    def _done(self, name: str) -> tuple[Sequence[MergeTable], str]:
        row = self._decisions.plan(int(name)) if name.isdecimal() and len(name) < 8 else None
        if row is not None:
            if row.state != "applied" or not row.plan.merges:
                raise UsageError(f"plan {name} is {row.state}; only an applied plan of a merge can be undone")
            return row.plan.merges, row.repository
        found = self._ledger.find_merges(name)
        if len(found) != 1:
            what = "there is no merge or plan" if not found else f"{len(found)} merges, say more of its commit:"
            raise UsageError(f"{what} {name!r}; see: metasync history")
        done = [change for change in self._ledger.merged_tables(found[0].id) if change.writes]
        repository = self._repositories.get(found[0].repository_id).name
        # The last first, as foreign keys need their parents.
        return list(reversed(done)), repository
