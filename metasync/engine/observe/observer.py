"""Observing: everything that a plan for one repository is a function of, gathered in the order in which it depends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from metasync.engine.isolation import one_table, readable_tables
from metasync.engine.observe.directories import Discoverer
from metasync.engine.observe.open_merges import MergeBook
from metasync.engine.scope import Scope
from metasync.engine.threads import parallel
from metasync.engine.track.lineage import Lineage, Sight
from metasync.engine.track.merge_log import MergeFinder
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

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        metastore: Metastore,
        lineage: Lineage,
        finder: MergeFinder,
        merges: MergeBook,
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
        sight = self._lineage.look(repository, scope, now)
        if sight.unbegun:
            return self._unready(sight)
        self._read_what_moved(sight, scope)
        if stranger := self._stranger(sight, full=scope.full):
            return self._blocked(sight, stranger)
        for row in list(sight.rows):
            if row.ref in sight.current and not row.replaced and self._rules.is_watched(repository, row.ref):
                self._finder.walk(sight, row, scope)
        merges, behind = self._merges.pending(sight, now, again=scope.full or scope.again)
        unsettled = {row.id for row in sight.rows if row.life != "live" or row.replaced}
        oldest = self._oldest(sight, merges, behind)
        unsettled |= set(oldest)
        discovered = {
            row.id: self._discoverer.look(sight, row)
            for row in sight.rows
            if row.ref.type is RefType.BRANCH and row.ref in sight.current and row.id not in unsettled
        }
        waiting = self._waiting(sight, oldest)
        pauses = self._pauses.in_force()
        creating = [row for row in sight.rows if self._is_being_created(sight, row) and row.id not in waiting]
        # Those that are paused keep nobody else from its turn.
        creating.sort(
            key=lambda row: any(pause_of(r.name, pauses) for r in self._rules.of_ref(repository.name, row.ref))
        )
        later = {row.id for row in creating[_CREATED_AT_ONCE:]}
        waiting |= later
        views = [
            replace(self._view(sight, row, merges, behind, now), discovered=discovered.get(row.id, ()))
            if row.id not in waiting
            else RefView(
                row.id, row.ref, row.incarnation, row.life, present=True, head=sight.current[row.ref], waits=True
            )
            for row in sight.rows
        ]
        canonical = {
            view.logical
            for row in sight.rows
            if row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(repository)
            for view in (sight.readings[row.id].tables if row.id in sight.readings else ())
        }
        unreadable: dict[TableName, str] = {}
        observed = Observed(
            repository=repository,
            instance=self._instance,
            store_id=self._database.store_id(),
            refs=tuple(views),
            merges=tuple(merges),
            occupied=self._occupied(sight, views, unreadable),
            claims=self._refs.claims(),
            canonical=frozenset(canonical),
            notices=(*sight.notices, *self._orphans(sight)),
            behind=len(behind) + len(sight.walking) + len(later),
            pauses=pauses,
            again_in=sight.again_in,
            unreadable=unreadable,
            read=frozenset(sight.readings),
        )
        for row in sight.rows:
            failed = row.id in sight.readings and sight.readings[row.id].failed
            # Where a table failed, the next pass reads the ref again.
            if row.ref in sight.current and not row.replaced and row.head != sight.current[row.ref] and not failed:
                self._refs.update(row.id, head=sight.current[row.ref])
        return observed

    def _unready(self, sight: Sight) -> Observed:
        """A look that only began the lives of refs: what came from what is known once all are."""
        notice = Notice(
            "catching-up",
            sight.repository.name,
            f"{sight.unbegun} branches and tags are still to be looked at for the first time",
        )
        notices = (*sight.notices, notice)
        return Observed(
            sight.repository, self._instance, self._database.store_id(), notices=notices, behind=sight.unbegun
        )

    def _stranger(self, sight: Sight, *, full: bool) -> str:
        """Why marks in the metastore say that this store must not write; it is remembered until somebody decides."""
        store, newest = self._database.store_id(), self._versions.newest_id()
        for row in sight.rows:
            reading = sight.readings.get(row.id)
            if reading is None or not reading.marks:
                continue
            known = self._refs.known_names(marks.name for marks in reading.marks)
            why = why_not_together(reading.marks, store, newest, row.incarnation, known)
            if why is not None:
                self._refs.block(sight.repository_id, ": ".join(why))
                return ": ".join(why)
        if full:
            # Everything was read: whoever it was is gone.
            self._refs.block(sight.repository_id, "")
        return self._refs.blocked(sight.repository.name)

    def _blocked(self, sight: Sight, why: str) -> Observed:
        notices = tuple(sight.notices)
        return Observed(sight.repository, self._instance, self._database.store_id(), notices=notices, blocked=why)

    def _absent(self, scope: Scope) -> Observed:
        notice = Notice(
            "unknown-repository",
            scope.repository,
            "lakeFS has no such repository, or does not show it to this user; nothing is changed",
            "check the rule's repository, lakefs.endpoint_url and the user's rights",
        )
        nowhere = Repository(scope.repository, 0, "", "")
        return Observed(nowhere, self._instance, self._database.store_id(), notices=(notice,))

    def _read_what_moved(self, sight: Sight, scope: Scope) -> None:
        """The tables of refs whose head moved, of all where the scope is full, and of those that end."""
        moved = []
        # What could not be read for a new ref is looked at until it can.
        wanted = {row.parent_id for row in sight.rows if row.unread and self._is_being_created(sight, row)}
        for row in list(sight.rows):
            if not self._rules.of_ref(sight.repository.name, row.ref) and not self._is_canonical(sight, row):
                continue
            if row.replaced or row.id in sight.confirmed_gone:
                reading = self._lineage.read(sight, row, partitions=True)
                if not reading.failed:
                    # From here on its versions come from merges alone: its tables are only there to be dropped.
                    self._refs.update(row.id, looked_last=1)
            elif row.ref in sight.current and (
                scope.full or row.is_being_created or row.id in wanted or sight.current[row.ref] != row.head
            ):
                moved.append(row)
        # No ref's tables are a question to another's: what a ref inherits is fixed by its watermark.
        width = min(_READ_AT_ONCE, self._metastore.parallel)
        parallel(width, lambda row: self._lineage.read(sight, row, partitions=False), moved)

    def _is_canonical(self, sight: Sight, row: RefRow) -> bool:
        return row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(sight.repository)

    def _view(
        self, sight: Sight, row: RefRow, merges: Iterable[MergeView], behind: Iterable[MergeRow], now: float
    ) -> RefView:
        reading = sight.readings.get(row.id)
        tables = reading.tables if reading else ()
        parent = sight.by_id(row.parent_id) if row.parent_id is not None else None
        # A merge that is open for a table that failed waits for nobody, and nobody for it.
        open_merges = [(m.source_ref_id, m.destination_ref_id) for m in merges if not m.partial]
        open_merges += [(m.source_ref_id, m.destination_ref_id) for m in behind]
        being_created = self._is_being_created(sight, row)
        failed = (dict(reading.failed) if reading else {}) | sight.failed.get(row.id, {})
        return RefView(
            id=row.id,
            ref=row.ref,
            incarnation=row.incarnation,
            life=row.life,
            present=row.ref in sight.current and not row.replaced,
            head=sight.current.get(row.ref, row.head),
            confirmed_gone=row.id in sight.confirmed_gone,
            missing_for=now - row.missed_since if row.missed_since is not None else 0.0,
            replaced=row.replaced,
            tables=tables,
            databases=self._own_databases(sight.repository.name, row, reading)
            if row.replaced or row.id in sight.confirmed_gone
            else (),
            pinned=self._refs.pinned(row.id),
            source=row.source,
            as_of=row.as_of,
            to_create=self._to_create(sight, row, parent, failed) if being_created else (),
            failed=failed,
            stranded=reading.stranded if reading else (),
            waits=not being_created and (bool(sight.walking) or any(row.id in pair for pair in open_merges)),
        )

    def _is_being_created(self, sight: Sight, row: RefRow) -> bool:
        return row.is_being_created and not row.replaced and row.ref in sight.current

    def _oldest(self, sight: Sight, merges: Iterable[MergeView], behind: Iterable[MergeRow]) -> dict[int, int]:
        """Branch -> the generation of the oldest merge into it that is not done; 0 where its log is not read yet."""
        oldest = dict.fromkeys(sight.walking, 0)
        found = [(m.destination_ref_id, m.generation) for m in merges if not m.partial]
        found += [(m.destination_ref_id, m.generation) for m in behind]
        for into, generation in found:
            oldest[into] = min(generation, oldest.get(into, generation))
        return oldest

    def _waiting(self, sight: Sight, oldest: dict[int, int]) -> set[int]:
        """The refs whose creation waits: for merges into them or, earlier ones, into their parent; or for their parent.

        Once nothing comes before it any more, a ref takes over what those merges have made of its parent.
        """
        waiting: set[int] = set()
        unsettled: set[int] = set()
        for row in list(sight.rows):
            creating = self._is_being_created(sight, row)
            if creating and row.id in oldest:
                waiting.add(row.id)
                unsettled.add(row.id)
            if row.parent_id is None or not (creating or row.waited or row.id in sight.begun):
                continue
            first = row.parent_id in oldest and oldest[row.parent_id] <= self._lineage.generation(
                sight, row.born_commit
            )
            if first or row.parent_id in unsettled:
                # A ref without mirrors waits for nothing itself, but those that were made from it do.
                unsettled.add(row.id)
                waiting |= {row.id} if creating else set()
                self._refs.update(row.id, waited=1)
            elif row.waited:
                self._lineage.forked(sight, row)
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
        self, sight: Sight, row: RefRow, parent: RefRow | None, failed: dict[TableName, str]
    ) -> tuple[SourceTable, ...]:
        """The tables that a new ref takes over from the one that it was created from; `failed` gets those that fail."""
        reading = sight.readings.get(parent.id) if parent else None
        if parent is not None and reading is not None:
            self._note_unread(sight, row, parent, reading, failed)
        live = {view.logical: view for view in reading.tables} if reading else {}
        now = self._versions.in_force(parent) if parent else {}
        tables = []
        for logical, version in sorted(self._versions.in_force(row).items()):
            if version.definition is None:
                continue
            rule = self._rules.of_table(sight.repository.name, row.ref, logical)
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
            tables += self._skipped(sight, row, reading.skipped)
        return tuple(tables)

    def _note_unread(
        self, sight: Sight, row: RefRow, parent: RefRow, reading: Reading, failed: dict[TableName, str]
    ) -> None:
        """Notes which of its parent's tables a new ref misses, as they fail; it gets each once it can be read."""
        name = sight.repository.name
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

    def _skipped(self, sight: Sight, row: RefRow, skipped: dict[TableName, str]) -> list[SourceTable]:
        nothing = Table("", "", StorageDescriptor())
        return [
            SourceTable(logical, 0, "", nothing, 0, None, reason)
            for logical, reason in sorted(skipped.items())
            if self._rules.of_table(sight.repository.name, row.ref, logical) is not None
        ]

    def _occupied(
        self, sight: Sight, views: Iterable[RefView], unreadable: dict[TableName, str]
    ) -> dict[TableName, Occupant]:
        """What stands at the names that new mirrors would take; `unreadable` gets what cannot be read."""
        repository, there = sight.repository, sight.moment.databases if sight.moment else None
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

    def _orphans(self, sight: Sight) -> list[Notice]:
        """Mirrors that no rule wants any more. They are reported, never dropped."""
        found = []
        for row in sight.rows:
            if row.ref not in sight.current:
                continue
            for pin in self._refs.pinned(row.id):
                if pin.made and self._rules.of_table(sight.repository.name, row.ref, pin.logical) is None:
                    found.append(
                        Notice(
                            "orphan",
                            str(pin.physical),
                            f"no rule wants {row.ref} {pin.logical} any more",
                            "metasync prune",
                        )
                    )
        return found
