"""Observing: everything that a plan for one repository is a function of, gathered in the order in which it depends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from metasync.engine.isolation import one_table, readable_tables
from metasync.engine.observe.directories import Discoverer
from metasync.engine.observe.open_merges import OpenMerges
from metasync.engine.scope import Scope
from metasync.engine.threads import parallel
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_log import MergeFinder
from metasync.engine.track.sync_pass import SyncPass
from metasync.engine.track.table_reader import Reading
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import StorageDescriptor, Table, TableName
from metasync.model.lakefs import RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.formats import why_header_off_ref
from metasync.planning.identity import why_not_together
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeView, Observed, Occupant, RefView, SourceTable
from metasync.planning.pauses import pause_of
from metasync.planning.plan import Notice
from metasync.planning.rules import RuleSet
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_READ_AT_ONCE = 4
"""Refs that are read side by side; the tables of each take turns at all of the connections."""
_CREATED_AT_ONCE = 50
"""Refs that get their mirrors in one pass; a plan of all, after weeks of silence, could be too large to hold."""


class Observer:
    """Reads lakeFS and the metastore; writes only what it saw, and only to the store."""

    def __init__(  # noqa: PLR0913  built once, in wiring.py
        self,
        stores: Stores,
        lakefs: LakeFS,
        metastore: Metastore,
        lineage: Lineage,
        finder: MergeFinder,
        merges: OpenMerges,
        discoverer: Discoverer,
        rules: RuleSet,
        instance: str,
    ) -> None:
        self._database = stores.database
        self._refs = stores.refs
        self._versions = stores.versions
        self._pauses = stores.pauses
        self._lakefs = lakefs
        self._metastore = metastore
        self._lineage = lineage
        self._finder = finder
        self._merges = merges
        self._discoverer = discoverer
        self._rules = rules
        self._instance = instance

    def observe(self, scope: Scope) -> Observed:
        """One look at a repository. One that lakeFS does not have is observed as empty, with a notice."""
        repository = self._lakefs.get_repository(scope.repository)
        if repository is None:
            return self._absent(scope)
        now = self._database.now()
        sync_pass = self._lineage.look(repository, scope, now)
        if sync_pass.unseen:
            return self._unready(sync_pass)
        self._read_what_moved(sync_pass, scope)
        if stranger := self._stranger(sync_pass, full=scope.full):
            return self._blocked(sync_pass, stranger)
        for row in sync_pass.rows:
            if row.ref in sync_pass.current and not row.replaced and self._rules.is_watched(repository, row.ref):
                self._finder.walk(sync_pass, row, scope)
        merges, behind = self._merges.pending(sync_pass, now, again=scope.full or scope.again)
        unsettled = {row.id for row in sync_pass.rows if row.life != "live" or row.replaced}
        oldest = self._oldest(sync_pass, merges, behind)
        unsettled |= set(oldest)
        discovered = {
            row.id: self._discoverer.look(sync_pass, row)
            for row in sync_pass.rows
            if row.ref.type is RefType.BRANCH and row.ref in sync_pass.current and row.id not in unsettled
        }
        waiting = self._waiting(sync_pass, oldest)
        pauses = self._pauses.in_force()
        creating = [row for row in sync_pass.rows if self._is_being_created(sync_pass, row) and row.id not in waiting]
        # Those that are paused keep nobody else from its turn.
        creating.sort(
            key=lambda row: any(pause_of(r.name, pauses) for r in self._rules.of_ref(repository.name, row.ref))
        )
        later = {row.id for row in creating[_CREATED_AT_ONCE:]}
        waiting |= later
        views = [
            replace(self._view(sync_pass, row, merges, behind, now), discovered=discovered.get(row.id, ()))
            if row.id not in waiting
            else RefView(
                row.id, row.ref, row.incarnation, row.life, present=True, head=sync_pass.current[row.ref], waits=True
            )
            for row in sync_pass.rows
        ]
        canonical = {
            view.logical
            for row in sync_pass.rows
            if row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(repository)
            for view in (sync_pass.readings[row.id].tables if row.id in sync_pass.readings else ())
        }
        unreadable: dict[TableName, str] = {}
        observed = Observed(
            repository=repository,
            instance=self._instance,
            store_id=self._database.store_id(),
            refs=tuple(views),
            merges=tuple(merges),
            occupied=self._occupied(sync_pass, views, unreadable),
            claims=self._refs.claims(),
            canonical=frozenset(canonical),
            notices=(*sync_pass.notices, *self._orphans(sync_pass)),
            behind=len(behind) + len(sync_pass.walking) + len(later),
            pauses=pauses,
            again_in=sync_pass.again_in,
            unreadable=unreadable,
            read=frozenset(sync_pass.readings),
        )
        for row in sync_pass.rows:
            failed = row.id in sync_pass.readings and sync_pass.readings[row.id].failed
            # Where a table failed, the next pass reads the ref again.
            if (
                row.ref in sync_pass.current
                and not row.replaced
                and row.head != sync_pass.current[row.ref]
                and not failed
            ):
                self._refs.update(row.id, head=sync_pass.current[row.ref])
        return observed

    def _unready(self, sync_pass: SyncPass) -> Observed:
        """A pass that only added new refs: what each was created from is known once all are added."""
        notice = Notice(
            "catching-up",
            sync_pass.repository.name,
            f"{sync_pass.unseen} branches and tags are still to be looked at for the first time",
        )
        notices = (*sync_pass.notices, notice)
        return Observed(
            sync_pass.repository, self._instance, self._database.store_id(), notices=notices, behind=sync_pass.unseen
        )

    def _stranger(self, sync_pass: SyncPass, *, full: bool) -> str:
        """Why marks in the metastore say that this store must not write; it is remembered until somebody decides."""
        store, newest = self._database.store_id(), self._versions.newest_id()
        for row in sync_pass.rows:
            reading = sync_pass.readings.get(row.id)
            if reading is None or not reading.marks:
                continue
            known = self._refs.known_names(marks.name for marks in reading.marks)
            why = why_not_together(reading.marks, store, newest, row.incarnation, known)
            if why is not None:
                self._refs.block(sync_pass.repository_id, ": ".join(why))
                return ": ".join(why)
        if full:
            # Everything was read: whoever it was is gone.
            self._refs.block(sync_pass.repository_id, "")
        return self._refs.blocked(sync_pass.repository.name)

    def _blocked(self, sync_pass: SyncPass, why: str) -> Observed:
        notices = tuple(sync_pass.notices)
        return Observed(sync_pass.repository, self._instance, self._database.store_id(), notices=notices, blocked=why)

    def _absent(self, scope: Scope) -> Observed:
        notice = Notice(
            "unknown-repository",
            scope.repository,
            "lakeFS has no such repository, or does not show it to this user; nothing is changed",
            "check the rule's repository, lakefs.endpoint_url and the user's rights",
        )
        nowhere = Repository(scope.repository, 0, "", "")
        return Observed(nowhere, self._instance, self._database.store_id(), notices=(notice,))

    def _read_what_moved(self, sync_pass: SyncPass, scope: Scope) -> None:
        """The tables of refs whose head moved, of all where the scope is full, and of those that end."""
        moved = []
        # What could not be read for a new ref is looked at until it can.
        wanted = {row.parent_id for row in sync_pass.rows if row.unread and self._is_being_created(sync_pass, row)}
        for row in sync_pass.rows:
            if not self._rules.of_ref(sync_pass.repository.name, row.ref) and not self._is_canonical(sync_pass, row):
                continue
            if row.replaced or row.id in sync_pass.confirmed_gone:
                reading = self._lineage.read(sync_pass, row, partitions=True)
                if not reading.failed:
                    # From here on its versions come from merges alone: its tables are only there to be dropped.
                    self._refs.update(row.id, looked_last=1)
            elif row.ref in sync_pass.current and (
                scope.full or row.is_being_created or row.id in wanted or sync_pass.current[row.ref] != row.head
            ):
                moved.append(row)
        # No ref's tables are a question to another's: what a ref inherits is fixed by its watermark.
        width = min(_READ_AT_ONCE, self._metastore.parallel)
        parallel(width, lambda row: self._lineage.read(sync_pass, row, partitions=False), moved)

    def _is_canonical(self, sync_pass: SyncPass, row: RefRow) -> bool:
        return row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(sync_pass.repository)

    def _view(
        self, sync_pass: SyncPass, row: RefRow, merges: Iterable[MergeView], behind: Iterable[MergeRow], now: float
    ) -> RefView:
        reading = sync_pass.readings.get(row.id)
        tables = reading.tables if reading else ()
        parent = sync_pass.by_id(row.parent_id) if row.parent_id is not None else None
        # A merge that is open for a table that failed waits for nobody, and nobody for it.
        open_merges = [(m.source_ref_id, m.destination_ref_id) for m in merges if not m.partial]
        open_merges += [(m.source_ref_id, m.destination_ref_id) for m in behind]
        being_created = self._is_being_created(sync_pass, row)
        failed = (dict(reading.failed) if reading else {}) | sync_pass.failed.get(row.id, {})
        return RefView(
            id=row.id,
            ref=row.ref,
            incarnation=row.incarnation,
            life=row.life,
            present=row.ref in sync_pass.current and not row.replaced,
            head=sync_pass.current.get(row.ref, row.head),
            confirmed_gone=row.id in sync_pass.confirmed_gone,
            missing_for=now - row.missed_since if row.missed_since is not None else 0.0,
            replaced=row.replaced,
            tables=tables,
            databases=self._own_databases(sync_pass.repository.name, row, reading)
            if row.replaced or row.id in sync_pass.confirmed_gone
            else (),
            pinned=self._refs.pinned(row.id),
            source=row.source,
            as_of=row.as_of,
            to_create=self._to_create(sync_pass, row, parent, failed) if being_created else (),
            failed=failed,
            stranded=reading.stranded if reading else (),
            waits=not being_created and (bool(sync_pass.walking) or any(row.id in pair for pair in open_merges)),
        )

    def _is_being_created(self, sync_pass: SyncPass, row: RefRow) -> bool:
        return row.is_being_created and not row.replaced and row.ref in sync_pass.current

    def _oldest(self, sync_pass: SyncPass, merges: Iterable[MergeView], behind: Iterable[MergeRow]) -> dict[int, int]:
        """Branch -> the generation of the oldest merge into it that is not done; 0 where its log is not read yet."""
        oldest = dict.fromkeys(sync_pass.walking, 0)
        found = [(m.destination_ref_id, m.generation) for m in merges if not m.partial]
        found += [(m.destination_ref_id, m.generation) for m in behind]
        for into, generation in found:
            oldest[into] = min(generation, oldest.get(into, generation))
        return oldest

    def _waiting(self, sync_pass: SyncPass, oldest: dict[int, int]) -> set[int]:
        """The refs whose creation waits: for merges into them or, earlier ones, into their parent; or for their parent.

        Once nothing comes before it any more, a ref takes over what those merges have made of its parent.
        """
        waiting: set[int] = set()
        unsettled: set[int] = set()
        for row in sync_pass.rows:
            creating = self._is_being_created(sync_pass, row)
            if creating and row.id in oldest:
                waiting.add(row.id)
                unsettled.add(row.id)
            if row.parent_id is None or not (creating or row.waited or row.id in sync_pass.new):
                continue
            first = row.parent_id in oldest and oldest[row.parent_id] <= sync_pass.lakefs.generation(row.born_commit)
            if first or row.parent_id in unsettled:
                # A ref without mirrors waits for nothing itself, but those that were made from it do.
                unsettled.add(row.id)
                waiting |= {row.id} if creating else set()
                self._refs.update(row.id, waited=1)
            elif row.waited:
                self._lineage.forked(sync_pass, row)
        return waiting

    def databases_of(self, repository: str, row: RefRow) -> tuple[str, ...]:
        """The databases that metasync made for a ref, as far as its mirrors show them."""
        return self._own_databases(repository, row, None)

    def _own_databases(self, repository: str, row: RefRow, reading: Reading | None) -> tuple[str, ...]:
        names = {pin.physical.database for pin in self._refs.pinned(row.id)}
        if reading is not None:
            names |= {view.physical.database for view in reading.tables} | set(reading.databases)
        found = []
        for name in sorted(names):
            database = self._metastore.get_database(name)
            marks = Marks.from_parameters(database.parameters, name) if database else None
            ours = (self._instance, repository, str(row.ref))
            if marks and (marks.instance, marks.repository, marks.ref) == ours:
                found.append(name)
        return tuple(found)

    def _to_create(
        self, sync_pass: SyncPass, row: RefRow, parent: RefRow | None, failed: dict[TableName, str]
    ) -> tuple[SourceTable, ...]:
        """The tables that a new ref takes over from the one that it was created from; `failed` gets those that fail."""
        reading = sync_pass.readings.get(parent.id) if parent else None
        if parent is not None and reading is not None:
            self._note_unread(sync_pass, row, parent, reading, failed)
        live = {view.logical: view for view in reading.tables} if reading else {}
        now = self._versions.in_force(parent) if parent else {}
        tables = []
        for logical, version in sorted(self._versions.in_force(row).items()):
            if version.definition is None:
                continue
            rule = self._rules.of_table(sync_pass.repository.name, row.ref, logical)
            if rule is None or logical in failed:
                continue
            with one_table(logical, failed, f"reading the definition of {logical}"):
                stored = self._versions.definition(version.definition)
                view = live.get(logical)
                current = view is not None and logical in now and now[logical].id == version.id
                skipped = why_header_off_ref(stored.header)
                tables.append(
                    SourceTable(
                        logical=logical,
                        version=version.id,
                        definition=stored.hash,
                        header=stored.header,
                        partitions=stored.partitions,
                        copy_of=view.physical if view is not None and current and not row.as_of else None,
                        skipped=skipped,
                    )
                )
        if reading is not None:
            tables += self._skipped(sync_pass, row, reading.skipped)
        return tuple(tables)

    def _note_unread(
        self, sync_pass: SyncPass, row: RefRow, parent: RefRow, reading: Reading, failed: dict[TableName, str]
    ) -> None:
        """Notes which of its parent's tables a new ref misses, as they fail; it gets each once it can be read."""
        name = sync_pass.repository.name
        for logical, why in reading.failed.items():
            if self._rules.of_table(name, row.ref, logical) is not None:
                failed.setdefault(logical, f"{parent.ref}: {why}")
        unread = row.unread | {logical for logical in reading.failed if logical in failed}
        readable = {logical for logical in row.unread if logical not in reading.failed}
        now = self._versions.in_force(parent) if readable else {}
        for logical in readable & now.keys():
            # What it was at the ref's own commit, nobody could see.
            self._versions.add(row.id, logical, now[logical].definition, (now[logical].id,), row.head)
        if unread - readable != row.unread:
            self._refs.note_unread(row.id, unread - readable)

    def _skipped(self, sync_pass: SyncPass, row: RefRow, skipped: dict[TableName, str]) -> list[SourceTable]:
        nothing = Table("", "", StorageDescriptor())
        return [
            SourceTable(logical, 0, "", nothing, 0, None, reason)
            for logical, reason in sorted(skipped.items())
            if self._rules.of_table(sync_pass.repository.name, row.ref, logical) is not None
        ]

    def _occupied(
        self, sync_pass: SyncPass, views: Iterable[RefView], unreadable: dict[TableName, str]
    ) -> dict[TableName, Occupant]:
        """What stands at the names that new mirrors would take; `unreadable` gets what cannot be read."""
        repository, there = sync_pass.repository, sync_pass.moment.databases if sync_pass.moment else None
        names: set[TableName] = set()
        for view in views:
            names |= {pin.physical for pin in view.pinned if not pin.made}
            for table in view.to_create:
                rule = self._rules.of_table(repository.name, view.ref, table.logical)
                if rule is not None and not table.skipped:
                    for hashed in (False, True):
                        names.add(physical_name(rule.target, repository.name, view.ref, table.logical, hashed=hashed))
        by_database: dict[str, list[str]] = {}
        for name in sorted(names):
            by_database.setdefault(name.database, []).append(name.table)
        asked = ((database, some) for database, some in by_database.items() if there is None or database in there)
        found = (
            table for database, some in asked for table in readable_tables(self._metastore, database, some, unreadable)
        )
        return {t.table_name: Occupant(t, Marks.from_parameters(t.parameters, str(t.table_name))) for t in found}

    def _orphans(self, sync_pass: SyncPass) -> list[Notice]:
        """Mirrors that no rule wants any more. They are reported, never dropped."""
        found = []
        for row in sync_pass.rows:
            if row.ref not in sync_pass.current:
                continue
            for pin in self._refs.pinned(row.id):
                if pin.made and self._rules.of_table(sync_pass.repository.name, row.ref, pin.logical) is None:
                    found.append(
                        Notice(
                            "orphan",
                            str(pin.physical),
                            f"no rule wants {row.ref} {pin.logical} any more",
                            "metasync prune",
                        )
                    )
        return found
