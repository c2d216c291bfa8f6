"""The first step of a sync pass: the version graph is brought up to date with lakeFS and the metastore."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from metasync.engine.scope import Scope
from metasync.engine.threads import parallel
from metasync.engine.track.directories import Discoverer
from metasync.engine.track.lakefs_cache import LakeFSCache
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_log import MergeFinder
from metasync.engine.track.merge_order import MergeOrder
from metasync.engine.track.ref_index import RefIndex
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.sync_pass import SyncPass
from metasync.engine.track.table_reader import Reading
from metasync.errors import UsageError
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.lakefs import RefType, Repository
from metasync.planning.identity import why_not_together
from metasync.planning.rules import RuleSet
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_READ_AT_ONCE = 4
"""Refs that are read side by side; the tables of each take turns at all of the connections."""


class Tracker:
    """Reads lakeFS and the metastore, and writes to the store what it saw; never to the metastore."""

    def __init__(  # noqa: PLR0913  built once, in wiring.py
        self,
        stores: Stores,
        lakefs: LakeFS,
        metastore: Metastore,
        lineage: Lineage,
        finder: MergeFinder,
        order: MergeOrder,
        discoverer: Discoverer,
        rules: RuleSet,
    ) -> None:
        self._database = stores.database
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._repositories = stores.repositories
        self._versions = stores.versions
        self._lakefs = lakefs
        self._metastore = metastore
        self._lineage = lineage
        self._finder = finder
        self._order = order
        self._discoverer = discoverer
        self._rules = rules

    def track(self, scope: Scope) -> Snapshot:
        """One pass over a repository. One that lakeFS does not have is given as one that does not exist."""
        repository = self._lakefs.get_repository(scope.repository)
        if repository is None:
            nowhere, asked = Repository(scope.repository, 0, "", ""), LakeFSCache(self._lakefs, scope.repository)
            return Snapshot(nowhere, 0, RefIndex({}, ()), asked, self._database.now(), exists=False)
        sync_pass = self._lineage.list_refs(repository, scope, self._database.now())
        if sync_pass.unseen:
            # What each new ref was created from is known once all are added.
            return sync_pass.snapshot()
        self._read_what_moved(sync_pass, scope)
        sync_pass.blocked = self._why_blocked(sync_pass, full=scope.full)
        sync_pass.full = scope.full
        if not sync_pass.blocked:
            self._follow(sync_pass, scope)
        return sync_pass.snapshot()

    def known(self, repository: str) -> Snapshot:
        """The refs as lakeFS and the store have them now, with nothing read. Raises UsageError for no repository."""
        return self._lineage.known(repository, self._database.now()).snapshot()

    def complete(self, repository: str) -> Snapshot:
        """The refs, with every one that is new added to the store. Raises UsageError for no repository."""
        found = self._lineage.known(repository, self._database.now()).repository
        while True:
            sync_pass = self._lineage.list_refs(found, Scope(repository), self._database.now())
            if not sync_pass.unseen:
                return sync_pass.snapshot()

    def time_now(self, repository: str) -> float | None:
        """The time by lakeFS's own clock; None where it gives none."""
        self._lakefs.get_repository(repository)
        return self._lakefs.server_time

    def named(self, snapshot: Snapshot, text: str) -> RefRow:
        """The ref that a person means: `branch/x`, `tag/x`, or a name, branches first. Raises UsageError."""
        _check_exists(snapshot)
        row = snapshot.refs.named(text)
        if row is None:
            raise UsageError(f"{snapshot.repository.name} has no branch or tag {text!r}; see: metasync refs")
        return row

    def with_partitions(self, snapshot: Snapshot, rows: Iterable[RefRow]) -> Snapshot:
        """The same pass with all partitions of some refs read, too. Raises UsageError for no repository."""
        _check_exists(snapshot)
        sync_pass = SyncPass(
            snapshot.repository,
            snapshot.repository_id,
            snapshot.refs.copy(),
            snapshot.lakefs,
            snapshot.now,
            readings=dict(snapshot.readings),
            partitions_read=set(snapshot.whole),
        )
        self._lineage.read_all(sync_pass, list(rows))
        whole = frozenset(sync_pass.partitions_read)
        return replace(snapshot, refs=sync_pass.refs, readings=sync_pass.readings, whole=whole)

    def note_heads(self, snapshot: Snapshot) -> None:
        """Notes the heads at which a pass read its refs; these are not read again before they move.

        A ref of which a table failed keeps its old head, so that the next pass reads it again.
        """
        if not snapshot.complete or snapshot.blocked:
            return
        for row in snapshot.refs.rows:
            head = snapshot.refs.heads.get(row.ref)
            if head is not None and head != row.head and not row.replaced and not snapshot.reading(row).failed:
                self._refs.update(row.id, head=head)

    def restate(self, snapshot: Snapshot) -> None:
        """Begins the graph anew: every table of every ref as it is now, with no history."""
        repository = snapshot.repository
        refs = RefIndex(dict(snapshot.refs.heads), self._refs.living(snapshot.repository_id))
        sync_pass = SyncPass(repository, snapshot.repository_id, refs, snapshot.lakefs, snapshot.now)
        canonical = self._rules.canonical_branches(repository)
        self._repositories.sever(sync_pass.repository_id, self._versions.newest_id())
        for row in sorted(sync_pass.refs.rows, key=lambda one: one.id):
            main = row.ref.type is RefType.BRANCH and row.ref.name in canonical
            known = self._versions.in_force(row)
            if main or self._rules.of_ref(repository.name, row.ref):
                reading = self._lineage.read(sync_pass, row, partitions=True)
                known = self._versions.in_force(row)
                if row.is_being_created:
                    # What is not whole yet is created anew, as its parent has it.
                    whole = {view.logical for view in reading.tables if view.kind != "making"}
                    known = {logical: version for logical, version in known.items() if logical in whole}
            for logical, version in known.items():
                self._versions.add(row.id, logical, version.definition, (), row.head)
            head = sync_pass.refs.heads.get(row.ref, row.head)
            self._refs.note_head(row.id, head, self._versions.newest_id(), whole=True)

    def _follow(self, sync_pass: SyncPass, scope: Scope) -> None:
        """The merges on the logs, what is due of them, what directories say, and what new refs take over."""
        for row in sync_pass.refs.rows:
            there = row.ref in sync_pass.refs.heads and not row.replaced
            if there and self._rules.is_watched(sync_pass.repository, row.ref):
                self._finder.walk(sync_pass, row, scope)
        self._order.find_due(sync_pass, again=scope.full or scope.again)
        unsettled = self._order.unsettled(sync_pass)
        for row in sync_pass.refs.rows:
            if row.ref.type is RefType.BRANCH and row.ref in sync_pass.refs.heads and row.id not in unsettled:
                sync_pass.discovered[row.id] = self._discoverer.discover(sync_pass, row)
        self._order.find_waiting(sync_pass)
        for row in sync_pass.refs.rows:
            if sync_pass.refs.is_being_created(row) and row.id not in sync_pass.waiting:
                self._follow_parent(sync_pass, row)

    def _read_what_moved(self, sync_pass: SyncPass, scope: Scope) -> None:
        """Reads the tables of refs whose head moved, of all where the scope is full, and of those that are deleted."""
        moved, refs = [], sync_pass.refs
        # What could not be read for a new ref is read again until it can be.
        wanted = {row.parent_id for row in refs.rows if row.unread and refs.is_being_created(row)}
        for row in refs.rows:
            if not self._rules.of_ref(sync_pass.repository.name, row.ref) and not self._is_canonical(sync_pass, row):
                continue
            if row.replaced or row.id in refs.confirmed_gone:
                reading = self._lineage.read(sync_pass, row, partitions=True)
                if not reading.failed:
                    # From here on its versions come from merges alone: its tables are only there to be dropped.
                    self._refs.update(row.id, looked_last=1)
            elif row.ref in refs.heads and (
                scope.full or row.is_being_created or row.id in wanted or refs.heads[row.ref] != row.head
            ):
                moved.append(row)
        # No ref's tables are a question to another's: what a ref inherits is fixed by its watermark.
        width = min(_READ_AT_ONCE, self._metastore.parallel)
        parallel(width, lambda row: self._lineage.read(sync_pass, row, partitions=False), moved)

    def _is_canonical(self, sync_pass: SyncPass, row: RefRow) -> bool:
        return row.ref.type is RefType.BRANCH and row.ref.name in self._rules.canonical_branches(sync_pass.repository)

    def _why_blocked(self, sync_pass: SyncPass, *, full: bool) -> str:
        """Why marks in the metastore say that this store must not write; it is remembered until somebody decides."""
        store, newest = self._database.store_id(), self._versions.newest_id()
        for row in sync_pass.refs.rows:
            reading = sync_pass.readings.get(row.id)
            if reading is None or not reading.marks:
                continue
            known = self._mirrors.known_names(marks.name for marks in reading.marks)
            why = why_not_together(reading.marks, store, newest, row.incarnation, known)
            if why is not None:
                self._repositories.block(sync_pass.repository_id, ": ".join(why))
                return ": ".join(why)
        if full:
            # Everything was read: whoever it was is gone.
            self._repositories.block(sync_pass.repository_id, "")
        return self._repositories.blocked(sync_pass.repository.name)

    def _follow_parent(self, sync_pass: SyncPass, row: RefRow) -> None:
        """Notes which of its parent's tables a new ref misses, as they fail; it gets each once it can be read."""
        parent = sync_pass.refs.by_id(row.parent_id) if row.parent_id is not None else None
        reading: Reading | None = sync_pass.readings.get(parent.id) if parent is not None else None
        if parent is None or reading is None:
            return
        name = sync_pass.repository.name
        failed = {logical for logical in reading.failed if self._rules.of_table(name, row.ref, logical) is not None}
        readable = {logical for logical in row.unread if logical not in reading.failed}
        now = self._versions.in_force(parent) if readable else {}
        for logical in readable & now.keys():
            # What it was at the ref's own commit, nobody could see.
            self._versions.add(row.id, logical, now[logical].definition, (now[logical].id,), row.head)
        unread = (row.unread | failed) - readable
        if unread != row.unread:
            self._refs.note_unread(row.id, unread)


def _check_exists(snapshot: Snapshot) -> None:
    if not snapshot.exists:
        name = snapshot.repository.name
        raise UsageError(f"lakeFS has no repository {name!r}, or does not show it to this user")
