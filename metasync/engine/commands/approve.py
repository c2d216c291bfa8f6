"""Approving: a stored plan is applied as it was shown, where the state still is the one that it was made for."""

from __future__ import annotations

from dataclasses import replace

from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.observe.observer import Observer
from metasync.engine.scope import Scope
from metasync.engine.track.tracker import Tracker
from metasync.errors import ChangedMeanwhile, Incompatible, UsageError
from metasync.lakefs import LakeFS
from metasync.planning.changes import DropDatabase, DropTable, FinishDeletion
from metasync.planning.descriptions import item_name
from metasync.planning.observed import Observed
from metasync.planning.plan import Plan
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.decisions import PlanRow
from metasync.store.stores import Stores


class Approver:
    """Applies the plans that wait for a person: drops held back by the limits, and what a policy withheld."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        observer: Observer,
        lakefs: LakeFS,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._tracker = tracker
        self._observer = observer
        self._controller = controller
        self._lakefs = lakefs
        self._refs = stores.refs
        self._versions = stores.versions
        self._decisions = stores.decisions

    def apply(self, plan_id: int, watcher: Watcher | None = None) -> Result:
        """Executes a stored plan exactly as it was shown. Raises ChangedMeanwhile where the state moved."""
        with self._controller.alone(self._waiting(plan_id).repository):
            return self._apply(self._waiting(plan_id), watcher)

    def _waiting(self, plan_id: int) -> PlanRow:
        row = self._decisions.plan(plan_id)
        if row is None:
            raise UsageError(f"there is no plan {plan_id}; see: metasync status")
        # What the limits held back stays true under its number when more is held back meanwhile.
        if row.state != "waiting" and not (row.kind == "unsafe" and row.state == "superseded"):
            raise UsageError(f"plan {plan_id} is {row.state} already")
        if row.plan.conflicts:
            found = ", ".join(sorted({f"{item_name(c.path)}: {c.reason}" for _, c in row.plan.conflicts}))
            raise Incompatible(f"plan {plan_id} cannot be applied as it is ({found}); change the table by hand")
        return row

    def _apply(self, row: PlanRow, watcher: Watcher | None) -> Result:
        observed = self._observer.observe(self._tracker.track(Scope(row.repository, full=True)))
        plan = self._current(row) if row.kind == "withheld" else self._as_shown(row, observed)
        result = self._controller.execute(observed, replace(plan, refusal=""), watcher)
        if any(o.state == "conflict" for o in result.outcomes):
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(f"plan {row.id}: {result.outcomes[0].message or 'the tables moved on'}")
        if not result.failures:
            self._decisions.close_plan(row.id, "applied")
        return result

    def _as_shown(self, row: PlanRow, observed: Observed) -> Plan:
        """The stored drops as they would be planned now; refused where a table of their refs came, went, or changed
        hands.

        What else the state depends on, a head, a new branch, more refs that are gone, does not matter to them.
        """
        now = make_plan(observed, self._rules, self._settings.safety)
        stored = [change for change in row.plan.changes if isinstance(change, DropTable)]
        refs = {change.ref_id for change in stored}
        current = [
            change
            for change in (*now.changes, *now.held)
            if isinstance(change, DropTable | DropDatabase | FinishDeletion) and change.ref_id in refs
        ]
        drops = {_identity(change) for change in current if isinstance(change, DropTable)}
        if not stored or drops != {_identity(change) for change in stored}:
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(
                f"plan {row.id}: the tables of its refs in {row.repository} are not those that it was made for; "
                f"see what is to do now: metasync plan {row.repository}"
            )
        return Plan(row.repository, tuple(current))

    def _current(self, row: PlanRow) -> Plan:
        """The stored plan on the destination's newest version; refused where that is not the one it was made for.

        Partitions are compared by the applier, one by one, just before they are written.
        """
        stored = row.plan.merges[0]
        ours = self._versions.in_force(self._refs.get(stored.destination_ref_id)).get(stored.logical)
        header = self._versions.definition(ours.definition).header if ours and ours.definition else None
        if ours is None or header != stored.before:
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(
                f"plan {row.id}: {stored.physical} has changed since the plan was made; "
                "the next merge offers what is left anew"
            )
        destination = self._refs.get(stored.destination_ref_id)
        head = self._lakefs.get_ref(row.repository, destination.ref) or destination.head
        current = replace(stored, destination_version=ours.id, edge=True, heads=(head,))
        return replace(row.plan, changes=(current,))


def _identity(change: DropTable) -> tuple[object, ...]:
    """What a drop depends on: whose table it is, and which."""
    return change.ref_id, change.incarnation, change.logical, change.physical, change.ours
