"""Recreating: a person says that a branch was deleted and created again, or that it is still the same one.

lakeFS lists no incarnations. Where its runs do not show what events say, everything is kept until somebody decides.
"""

from __future__ import annotations

from dataclasses import replace

from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.observe.observer import Observer
from metasync.engine.scope import Scope
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.tracker import Tracker
from metasync.errors import UsageError
from metasync.model.lakefs import RefType
from metasync.planning.plan import Notice, Plan
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.refs import RefRow
from metasync.store.stores import Stores


class Recreator:
    """Ends a branch's incarnation by a person's word: its mirrors and tables are dropped, and created anew."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._refs = stores.refs
        self._history = stores.history
        self._rules = rules
        self._controller = controller
        self._observer = observer
        self._tracker = tracker

    def plan(self, repository: str, ref: str) -> Plan:
        """What would be dropped. Raises UsageError for a ref that cannot be recreated."""
        with self._controller.alone(repository):
            snapshot = self._tracker.track(Scope(repository, full=True))
            row = self._branch(snapshot, ref)
            observed = self._observer.observe(snapshot, also=row.id)
            views = [
                replace(view, replaced=True, waits=False, databases=self._observer.databases_of(repository, row))
                for view in observed.refs
                if view.id == row.id
            ]
            if observed.blocked or not views:
                return make_plan(observed, self._rules, self._settings.safety)
            plan = make_plan(
                replace(observed, refs=tuple(views), merges=(), notices=()), self._rules, self._settings.safety
            )
            then = Notice("recreated", str(row.ref), "its mirrors are created anew after this")
            return replace(plan, notices=(*plan.notices, then))

    def recreate(self, repository: str, ref: str, by: str, watcher: Watcher | None = None) -> Result:
        """Ends the incarnation and brings the repository up to date. Raises UsageError."""
        with self._controller.alone(repository):
            row = self._branch(self._tracker.known(repository), ref)
            self._refs.replace(row.id)
            self._history.note(repository, str(row.ref), "", "", "recreated", "", f"metasync recreate, by {by}")
            return self._controller.sync(Scope(repository, full=True), watcher=watcher)

    def keep(self, repository: str, ref: str, by: str) -> None:
        """Notes that the branch is the one that is known. Raises UsageError where nothing is suspected."""
        with self._controller.alone(repository):
            row = self._branch(self._tracker.known(repository), ref)
            if row.suspected_at is None:
                raise UsageError(f"nothing says that {row.ref} of {repository} was created again")
            # The suspicion so far is answered; only something later raises it again.
            listed_at = self._tracker.time_now(repository)
            self._refs.update(row.id, suspected_at=None, listed_at=listed_at)
            self._history.note(repository, str(row.ref), "", "", "kept", "", f"metasync recreate --keep, by {by}")

    def _branch(self, snapshot: Snapshot, ref: str) -> RefRow:
        row = self._tracker.named(snapshot, ref)
        if row.ref.type is RefType.TAG:
            raise UsageError(f"{row.ref}: a tag that names another commit is seen by itself")
        if row.ref.name in {*self._rules.canonical_branches(snapshot.repository), snapshot.repository.default_branch}:
            raise UsageError(f"{row.ref} is canonical: metasync owns none of its tables")
        return row
