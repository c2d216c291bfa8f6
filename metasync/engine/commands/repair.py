"""Repairing: what metasync imposes on a ref's mirrors is put right, and mirrors that were never created are made.

Mirrors belong to their users: columns, parameters and partitions stay as they are, and what somebody dropped is created
again only where the order names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from metasync.engine.apply.repair import place_outside
from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.observe.observer import Observer
from metasync.engine.scope import Scope
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.tracker import Tracker
from metasync.errors import UsageError
from metasync.metastore import Metastore
from metasync.model.hms import Table, TableName
from metasync.model.lakefs import RefType
from metasync.model.marks import MAKING, Marks
from metasync.planning.database_places import place_like
from metasync.planning.formats import why_skipped
from metasync.planning.locations import is_root, on_ref, ref_root, relative
from metasync.planning.observed import Observed, Pinned, RefView, SourceTable
from metasync.planning.plan import Plan
from metasync.planning.plan_repair import MadeMirror, OwnDatabase, mentions, only, plan_repair
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.planning.table_type import UNKNOWN_TYPE, is_imposed, own_type
from metasync.settings.models import Settings
from metasync.store.refs import RefRow
from metasync.store.stores import Stores


@dataclass(frozen=True)
class RepairOrder:
    """What somebody asks for: a ref, one of its tables or all, and tables to be created though somebody dropped them.

    A table is called by its own name, `database.table`, or by its mirror's.
    """

    repository: str
    ref: str
    table: str = ""
    again: tuple[str, ...] = ()


class Repairer:
    """Finds what is to be put right on one ref, and has the controller do it."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        observer: Observer,
        metastore: Metastore,
    ) -> None:
        self._settings = settings
        self._database = stores.database
        self._versions = stores.versions
        self._pins = stores.mirrors
        self._rules = rules
        self._controller = controller
        self._tracker = tracker
        self._observer = observer
        self._metastore = metastore

    def plan(self, order: RepairOrder) -> Plan:
        """What would be done; every partition's location is read. Raises UsageError."""
        return self._plan(order)[1]

    def repair(self, order: RepairOrder, watcher: Watcher | None = None) -> Result:
        """Does it. Raises UsageError, NotAllowed."""
        with self._controller.alone(order.repository):
            observed, plan = self._plan(order)
            return self._controller.execute(observed, plan, watcher)

    def _plan(self, order: RepairOrder) -> tuple[Observed, Plan]:
        with self._controller.alone(order.repository):
            snapshot = self._tracker.track(Scope(order.repository, full=True))
            row = self._row(snapshot, order.ref)
            observed = self._observer.observe(snapshot, anew=row.id)
            whole = next((view for view in observed.refs if view.id == row.id), None)
            if observed.blocked or whole is None:
                return observed, make_plan(observed, self._rules, self._settings.safety)
            named = _name(whole, order.table, row) if order.table else None
            again = [_logical(whole, _name(whole, text, row)) for text in order.again]
            view = only(whole, named)
            mirrors = self._mirrors(snapshot, row, view, again)
            databases = self._databases(order.repository, row) if named is None else []
            plan = plan_repair(observed, view, mirrors, databases, self._rules, self._settings.safety, again)
            # What is known of the tables without a mirror is kept as a whole.
            return observed, replace(plan, not_mirrored=()) if named is not None else plan

    def _row(self, snapshot: Snapshot, ref: str) -> RefRow:
        row = self._tracker.named(snapshot, ref)
        if row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(snapshot.repository):
            raise UsageError(f"{row.ref} is canonical: metasync imposes nothing on its tables")
        if snapshot.refs.has_ended(row):
            raise UsageError(f"{row.ref} is being deleted")
        if not self._rules.of_ref(snapshot.repository.name, row.ref):
            raise UsageError(f"no rule mirrors {row.ref}; see: metasync config check")
        return row

    # Mirrors

    def _mirrors(self, snapshot: Snapshot, row: RefRow, view: RefView, again: Iterable[TableName]) -> list[MadeMirror]:
        wanted, failed = set(again), set(view.failed)
        of_ref = {one.physical for one in snapshot.reading(row).tables}
        made = [pin for pin in view.pinned if pin.made and pin.logical not in failed]
        found = {pin.logical: self._metastore.get_table(pin.physical) for pin in made}
        return [
            self._mirror(snapshot, row, pin, found[pin.logical], pin.physical in of_ref, pin.logical in wanted)
            for pin in made
        ]

    def _mirror(
        self, snapshot: Snapshot, row: RefRow, pin: Pinned, table: Table | None, is_of_ref: bool, again: bool
    ) -> MadeMirror:
        marks = Marks.from_parameters(table.parameters, str(pin.physical)) if table is not None else None
        half_made = marks is not None and bool(marks.making) and is_of_ref
        if table is None or half_made:
            # What an order that was cut short began is finished by the next.
            return MadeMirror(pin, None, half_made=half_made, last=self._last(row, pin) if again or half_made else None)
        if not is_of_ref or why_skipped(table, mirror=True) is not None:
            return MadeMirror(pin, table)
        own: tuple[str, dict[str, str]] = (UNKNOWN_TYPE, {})
        outside = ""
        if row.ref.type is RefType.BRANCH and is_imposed(table):
            own = self._own_type(snapshot, row, pin, table)
            if own[0] != UNKNOWN_TYPE:
                outside = place_outside(self._metastore, table, snapshot.repository.name, row.ref.name)
        lacking = self._marks(snapshot, row, pin).to_parameters() if marks is None else {}
        return MadeMirror(pin, table, True, lacking, own, outside)

    def _own_type(self, snapshot: Snapshot, row: RefRow, pin: Pinned, table: Table) -> tuple[str, dict[str, str]]:
        """The type of the table that a mirror is one of: as it is noted, as it was then, or as it is now.

        UNKNOWN in a database that is not on the ref: there a mirror is not to have it.
        """
        database = self._metastore.get_database(pin.physical.database)
        if database is None or not on_ref(database.location_uri, snapshot.repository.name, row.ref.name):
            return UNKNOWN_TYPE, {}
        marked = Marks.from_parameters(table.parameters, str(pin.physical)) is not None
        # One that is shaped as metasync shapes it, without marks, says nothing of its table.
        if marked and (own := own_type(table))[0] != UNKNOWN_TYPE:
            return own
        if pin.definition and (header := self._versions.definition(pin.definition).header).table_type != UNKNOWN_TYPE:
            return own_type(header)
        canonical = self._rules.canonical_branches(snapshot.repository)
        parents = [one for one in snapshot.refs.rows if one.id == row.parent_id]
        mains = [one for one in snapshot.refs.rows if one.ref.type is RefType.BRANCH and one.ref.name in canonical]
        for one in (*parents, *mains):
            for found in snapshot.reading(one).tables:
                if found.logical == pin.logical and (own := own_type(found.table))[0] != UNKNOWN_TYPE:
                    return own
        return UNKNOWN_TYPE, {}

    def _marks(self, snapshot: Snapshot, row: RefRow, pin: Pinned) -> Marks:
        return Marks(
            instance=self._settings.instance,
            store=self._database.store_id(),
            repository=snapshot.repository.name,
            ref=str(row.ref),
            incarnation=row.incarnation,
            name=str(pin.physical),
            table=str(pin.logical),
            rule=pin.rule,
            as_of=pin.as_of,
            version=pin.version,
        )

    def _last(self, row: RefRow, pin: Pinned) -> SourceTable | None:
        """A table as it last was on the ref, or as it was when the ref was created."""
        version = self._versions.in_force(row).get(pin.logical)
        while version is not None and version.definition is None:
            version = self._versions.get(version.parents[0]) if version.parents else None
        if version is None or version.definition is None:
            return None
        stored = self._versions.definition(version.definition)
        return SourceTable(pin.logical, version.id, stored.hash, stored.header, stored.partitions, None)

    # Databases

    def _databases(self, repository: str, row: RefRow) -> list[OwnDatabase]:
        """Our databases of a branch that lie at its root, or were to be moved from there."""
        if row.ref.type is not RefType.BRANCH:
            return []
        pins = self._pins.pinned(row.id)
        found = []
        for name in self._observer.databases_of(repository, row):
            database = self._metastore.get_database(name)
            where = database.location_uri if database is not None else None
            if database is None or where is None or not is_root(relative(where, repository, row.ref.name)):
                continue
            logical = min(pin.logical.database for pin in pins if pin.physical.database == name)
            main = self._metastore.get_database(logical)
            wanted = database.parameters.get(MAKING) or place_like(
                repository,
                row.ref.name,
                logical,
                ref_root(where, row.ref.name),
                [main.location_uri if main is not None else None],
            )
            found.append(OwnDatabase(name, where, wanted, self._metastore.has_catalogs))
        return found


def _name(view: RefView, text: str, row: RefRow) -> TableName:
    """A table that somebody names. Raises UsageError for one that the ref never had."""
    try:
        name = TableName.parse(text)
    except ValueError as error:
        raise UsageError(f"{error}; a table is called by its own name or by its mirror's") from error
    if not mentions(view, name):
        raise UsageError(f"{row.ref} has and had no table {name}; see: metasync refs")
    return name


def _logical(view: RefView, name: TableName) -> TableName:
    return next((pin.logical for pin in view.pinned if name in (pin.logical, pin.physical)), name)
