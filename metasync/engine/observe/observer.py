"""Observing: everything that a plan for one repository is a function of, gathered in the order in which it depends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from metasync.engine.isolation import one_table, readable_tables
from metasync.engine.observe.open_merges import OpenMerges
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.table_reader import NOTHING_READ, Reading
from metasync.metastore import Metastore
from metasync.model.hms import StorageDescriptor, Table, TableName
from metasync.model.lakefs import Ref, RefType
from metasync.model.marks import Marks
from metasync.planning.belonging import why_foreign
from metasync.planning.formats import why_header_off_ref, why_skipped
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeView, Observed, Occupant, Pinned, RefView, SourceTable, TableView
from metasync.planning.pauses import Pause, pause_of
from metasync.planning.plan import Notice
from metasync.planning.rules import RuleSet
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_CREATED_AT_ONCE = 50
"""Refs that get their mirrors in one pass; a plan of all, after weeks of silence, could be too large to hold."""


class Observer:
    """Makes what planning needs of what was tracked. It reads the metastore and the store, and writes nothing."""

    def __init__(self, stores: Stores, metastore: Metastore, merges: OpenMerges, rules: RuleSet, instance: str) -> None:
        self._database = stores.database
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._versions = stores.versions
        self._pauses = stores.pauses
        self._metastore = metastore
        self._merges = merges
        self._rules = rules
        self._instance = instance

    def observe(self, snapshot: Snapshot, *, also: int | None = None, anew: int | None = None) -> Observed:
        """The repository as planning sees it; empty, with a notice, where there is nothing to plan.

        The ref of the id `also` is seen whatever there is to do for it. So is that of the id `anew`, as one that is
        being created: with all tables that it could have mirrors of.
        """
        if not (snapshot.exists and snapshot.complete) or snapshot.blocked:
            return self._nothing_to_plan(snapshot)
        merges = [self._merges.view(snapshot, due.merge, due.destination) for due in snapshot.due]
        pauses = self._pauses.in_force()
        later = self._later(snapshot, pauses)
        waiting = snapshot.waiting | later
        concerned = [row for row in snapshot.refs.rows if row.id in (also, anew) or _is_concerned(snapshot, row)]
        pins = self._mirrors.pinned_of(row.id for row in concerned)
        views = [
            self._view(snapshot, row, merges, pins[row.id], anew=row.id == anew)
            if row.id not in waiting
            else _waiting(snapshot, row)
            for row in concerned
        ]
        unreadable: dict[TableName, str] = {}
        wanted = self._wanted_names(snapshot.repository.name, views)
        claims = self._mirrors.claims(wanted)
        return Observed(
            repository=snapshot.repository,
            instance=self._instance,
            store_id=self._database.store_id(),
            refs=tuple(views),
            merges=tuple(merges),
            occupied=self._occupied(snapshot, wanted, unreadable),
            claims=claims,
            canonical=self._canonical_tables(snapshot),
            notices=(*snapshot.notices, *(self._orphans(snapshot) if snapshot.full else ())),
            behind=snapshot.left + len(later),
            pauses=pauses,
            again_in=snapshot.again_in,
            unreadable=unreadable,
            read=frozenset(snapshot.readings),
            full=snapshot.full,
            elsewhere=self._elsewhere(snapshot, views, claims),
            others=self._others(snapshot, views),
        )

    def _elsewhere(
        self, snapshot: Snapshot, views: Iterable[RefView], claims: Mapping[TableName, int]
    ) -> dict[int, Ref]:
        """The refs of this repository that hold a name and are not among the views."""
        seen = {view.id for view in views}
        rows = (snapshot.refs.by_id(ref_id) for ref_id in set(claims.values()) - seen)
        return {row.id: row.ref for row in rows if row is not None}

    def _others(self, snapshot: Snapshot, views: Sequence[RefView]) -> int:
        """The refs with mirrors that are not among the views; it is counted where something could be dropped."""
        if not any(view.ended for view in views):
            return 0
        seen = {view.id for view in views}
        return len(self._mirrors.of_repository(snapshot.repository_id) - seen)

    def _nothing_to_plan(self, snapshot: Snapshot) -> Observed:
        notices = snapshot.notices
        if not snapshot.exists:
            notices += (
                Notice(
                    "unknown-repository",
                    snapshot.repository.name,
                    "lakeFS has no such repository, or does not show it to this user; nothing is changed",
                    "check the rule's repository, lakefs.endpoint_url and the user's rights",
                ),
            )
        elif not snapshot.complete:
            why = f"{snapshot.left} branches and tags are still to be read for the first time"
            notices += (Notice("catching-up", snapshot.repository.name, why),)
        return Observed(
            snapshot.repository,
            self._instance,
            self._database.store_id(),
            notices=notices,
            behind=snapshot.left,
            blocked=snapshot.blocked,
        )

    def _later(self, snapshot: Snapshot, pauses: Collection[Pause]) -> set[int]:
        """The refs that are to be created and whose turn is not in this pass."""
        name = snapshot.repository.name
        creating = [
            row for row in snapshot.refs.rows if snapshot.refs.is_being_created(row) and row.id not in snapshot.waiting
        ]
        # Those that are paused keep nobody else from its turn.
        creating.sort(key=lambda row: any(pause_of(r.name, pauses) for r in self._rules.of_ref(name, row.ref)))
        return {row.id for row in creating[_CREATED_AT_ONCE:]}

    def _canonical_tables(self, snapshot: Snapshot) -> frozenset[TableName]:
        canonical = self._rules.canonical_branches(snapshot.repository)
        return frozenset(
            view.logical
            for row in snapshot.refs.rows
            if row.ref.type is RefType.BRANCH and row.ref.name in canonical
            for view in snapshot.reading(row).tables
        )

    def _view(
        self,
        snapshot: Snapshot,
        row: RefRow,
        merges: Iterable[MergeView],
        pinned: tuple[Pinned, ...],
        *,
        anew: bool,
    ) -> RefView:
        reading = snapshot.reading(row)
        # A merge that is open for a table that failed waits for nobody, and nobody for it.
        open_merges = [(m.source_ref_id, m.destination_ref_id) for m in merges if not m.partial]
        open_merges += [(m.source_ref_id, m.destination_ref_id) for m in snapshot.behind]
        being_created = anew or snapshot.refs.is_being_created(row)
        confirmed_gone = row.id in snapshot.refs.confirmed_gone
        failed = dict(reading.failed) | dict(snapshot.failed.get(row.id, {}))
        own: dict[str, Marks] = {}
        if row.replaced or confirmed_gone:
            own = self._own_databases(snapshot.repository.name, row, reading)
        left, foreign = self._left(snapshot.repository.name, row, reading, own, failed)
        return RefView(
            id=row.id,
            ref=row.ref,
            incarnation=row.incarnation,
            state=row.state,
            present=row.ref in snapshot.refs.heads and not row.replaced,
            head=snapshot.refs.heads.get(row.ref, row.head),
            confirmed_gone=confirmed_gone,
            missing_for=snapshot.now - row.missed_since if row.missed_since is not None else 0.0,
            replaced=row.replaced,
            tables=reading.tables,
            databases=tuple(own),
            left=left,
            foreign=foreign,
            pinned=pinned,
            source=row.source,
            as_of=row.as_of,
            to_create=self._to_create(snapshot, row, failed, anew=anew) if being_created else (),
            failed=failed,
            stranded=reading.stranded,
            off_ref=reading.off_ref,
            waits=not being_created and (snapshot.logs_unread or any(row.id in pair for pair in open_merges)),
            discovered=snapshot.discovered.get(row.id, ()),
        )

    def databases_of(self, repository: str, row: RefRow) -> tuple[str, ...]:
        """The databases that metasync made for a ref, as far as its mirrors show them."""
        return tuple(self._own_databases(repository, row, NOTHING_READ))

    def _left(
        self,
        repository: str,
        row: RefRow,
        reading: Reading,
        databases: Mapping[str, Marks],
        failed: dict[TableName, str],
    ) -> tuple[tuple[TableView, ...], dict[TableName, str]]:
        """What no merge carries and what else lies in the databases that metasync made for a ref.

        What goes with the ref, and what is not its own and why. A view goes only with a database of ours.
        """
        known = {view.physical for view in (*reading.tables, *reading.never_merged)}
        found = [view for view in reading.never_merged if view.table.sd.location or view.physical.database in databases]
        for database, marks in databases.items():
            names = [n for n in self._metastore.get_all_tables(database) if TableName(database, n) not in known]
            for table in readable_tables(self._metastore, database, names, failed) if names else ():
                name = table.table_name
                if Marks.from_parameters(table.parameters, str(name)) is None:
                    found.append(TableView(name, name, table, "belonging", marks))
        foreign = {
            view.physical: why
            for view in found
            if view.kind == "belonging" and (why := why_foreign(view.table, repository, row.ref.name))
        }
        return tuple(view for view in found if view.physical not in foreign), foreign

    def _own_databases(self, repository: str, row: RefRow, reading: Reading) -> dict[str, Marks]:
        names = {pin.physical.database for pin in self._mirrors.pinned(row.id)}
        names |= {view.physical.database for view in reading.tables} | set(reading.databases)
        found: dict[str, Marks] = {}
        for name in sorted(names):
            database = self._metastore.get_database(name)
            marks = Marks.from_parameters(database.parameters, name) if database else None
            ours = (self._instance, repository, str(row.ref))
            if marks and (marks.instance, marks.repository, marks.ref) == ours:
                found[name] = marks
        return found

    def _to_create(
        self, snapshot: Snapshot, row: RefRow, failed: dict[TableName, str], *, anew: bool
    ) -> tuple[SourceTable, ...]:
        """The tables that a new ref takes over from the one that it was created from; `failed` gets those that fail.

        With `anew`, those too that stood there at that time without a rule that named them, as they are now.
        """
        parent = snapshot.refs.by_id(row.parent_id) if row.parent_id is not None else None
        reading = snapshot.readings.get(parent.id) if parent is not None else None
        if parent is not None and reading is not None:
            for logical, why in reading.failed.items():
                if self._rules.of_table(snapshot.repository.name, row.ref, logical) is not None:
                    failed.setdefault(logical, f"{parent.ref}: {why}")
        live = {view.logical: view for view in reading.tables} if reading else {}
        now = self._versions.in_force(parent) if parent else {}
        then = self._versions.in_force(row)
        missed = {
            logical: version
            for logical, version in now.items()
            if anew
            and logical not in then
            and logical in live
            and live[logical].table.create_time < int(row.first_seen)
        }
        tables = []
        for logical, version in sorted({**then, **missed}.items()):
            if version.definition is None:
                continue
            rule = self._rules.of_table(snapshot.repository.name, row.ref, logical)
            if rule is None or logical in failed:
                continue
            with one_table(logical, failed, f"reading the definition of {logical}"):
                stored = self._versions.definition(version.definition)
                view = live.get(logical)
                current = view is not None and logical in now and now[logical].id == version.id
                skipped = why_skipped(stored.header) or why_header_off_ref(stored.header)
                tables.append(
                    SourceTable(
                        logical=logical,
                        version=version.id,
                        definition=stored.hash,
                        header=stored.header,
                        partitions=stored.partitions,
                        copy_of=view.physical if view is not None and current and not row.as_of else None,
                        skipped=skipped,
                        as_of="live" if logical in missed else "",
                    )
                )
        if reading is not None:
            tables += self._skipped(snapshot, row, reading.skipped)
        return tuple(tables)

    def _skipped(self, snapshot: Snapshot, row: RefRow, skipped: dict[TableName, str]) -> list[SourceTable]:
        nothing = Table("", "", StorageDescriptor())
        return [
            SourceTable(logical, 0, "", nothing, 0, None, reason)
            for logical, reason in sorted(skipped.items())
            if self._rules.of_table(snapshot.repository.name, row.ref, logical) is not None
        ]

    def _wanted_names(self, repository: str, views: Iterable[RefView]) -> set[TableName]:
        """The names that new mirrors would take."""
        names: set[TableName] = set()
        for view in views:
            names |= {pin.physical for pin in view.pinned if not pin.made}
            for table in view.to_create:
                rule = self._rules.of_table(repository, view.ref, table.logical)
                if rule is not None and not table.skipped:
                    for hashed in (False, True):
                        names.add(physical_name(rule.target, repository, view.ref, table.logical, hashed=hashed))
        return names

    def _occupied(
        self, snapshot: Snapshot, names: Iterable[TableName], unreadable: dict[TableName, str]
    ) -> dict[TableName, Occupant]:
        """What stands at those names; `unreadable` gets what cannot be read."""
        there = snapshot.databases
        by_database: dict[str, list[str]] = {}
        for name in sorted(names):
            by_database.setdefault(name.database, []).append(name.table)
        asked = ((database, some) for database, some in by_database.items() if there is None or database in there)
        found = (
            table for database, some in asked for table in readable_tables(self._metastore, database, some, unreadable)
        )
        return {t.table_name: Occupant(t, Marks.from_parameters(t.parameters, str(t.table_name))) for t in found}

    def _orphans(self, snapshot: Snapshot) -> list[Notice]:
        """Mirrors that no rule wants any more. They are reported, never dropped."""
        name = snapshot.repository.name
        listed = [row for row in snapshot.refs.rows if row.ref in snapshot.refs.heads]
        pins = self._mirrors.pinned_of(row.id for row in listed)
        return [
            Notice("orphan", str(pin.physical), f"no rule wants {row.ref} {pin.logical} any more", "metasync prune")
            for row in listed
            for pin in pins[row.id]
            if pin.made and self._rules.of_table(name, row.ref, pin.logical) is None
        ]


def _waiting(snapshot: Snapshot, row: RefRow) -> RefView:
    """A ref that is not created in this pass."""
    head = snapshot.refs.heads[row.ref]
    return RefView(row.id, row.ref, row.incarnation, row.state, present=True, head=head, waits=True)


def _is_concerned(snapshot: Snapshot, row: RefRow) -> bool:
    """Whether a pass may have anything to do for a ref: most of them live on as they are."""
    lives = row.state == "live" and not row.replaced and row.ref in snapshot.refs.heads
    found = snapshot.discovered.get(row.id) or snapshot.failed.get(row.id)
    return not lives or row.id in snapshot.readings or bool(found)
