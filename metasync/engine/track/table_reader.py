"""Reading the tables of a ref, and keeping a version of each that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metasync.engine.isolation import one_table, readable_tables
from metasync.engine.threads import parallel
from metasync.engine.track.manifest_reader import ManifestReader
from metasync.errors import ObservationMoved
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.metastore.notification_log import LogPosition
from metasync.model.hms import Table, TableName
from metasync.model.lakefs import RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.belonging import Asker, as_canonical, as_of_ref, may_hold_tables, named_by
from metasync.planning.definition import (
    Home,
    content_hash,
    header_json,
    header_of,
)
from metasync.planning.formats import place_off_ref, why_skipped
from metasync.planning.kinds.constraints import at_home
from metasync.planning.names import physical_name
from metasync.planning.observed import Pinned, StrandedPartitions, TableView
from metasync.planning.rules import RuleSet, may_take_database, takes_table
from metasync.settings.models import Rule
from metasync.store.refs import RefRow
from metasync.store.stores import Stores
from metasync.store.versions import Version

_READINGS = 3


@dataclass(frozen=True)
class Reading:
    """The tables of a ref at its head. `skipped` are those that are never mirrored, with the reason; `never_merged`
    are these tables themselves.

    `marks` are those of all tables that bear our instance's name and the ref's, of any incarnation and store.
    `stranded` are partitions that lie where a merge had them for a moment only. `failed` are tables that could not be
    read or stored, by their logical names: nothing is known of them but that something stands there. `off_ref` are
    tables with a location that was seen not to be on the ref.
    """

    tables: tuple[TableView, ...]
    skipped: dict[TableName, str]
    databases: tuple[str, ...]
    never_merged: tuple[TableView, ...] = ()
    marks: tuple[Marks, ...] = ()
    stranded: tuple[StrandedPartitions, ...] = ()
    failed: Mapping[TableName, str] = field(default_factory=dict)
    off_ref: Mapping[TableName, str] = field(default_factory=dict)


NOTHING_READ = Reading((), {}, ())


@dataclass(frozen=True)
class Moment:
    """What is asked for once, before anything is read: the metastore's databases, and its log's newest entry."""

    databases: tuple[str, ...]
    position: LogPosition | None


class TableReader:
    """Reads a ref's tables from the metastore and notes in the store what it saw; writes nothing else."""

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        metastore: Metastore,
        manifests: ManifestReader,
        rules: RuleSet,
        instance: str,
    ) -> None:
        self._database = stores.database
        self._lakefs = lakefs
        self._metastore = metastore
        self._refs = stores.refs
        self._versions = stores.versions
        self._manifests = manifests
        self._rules = rules
        self._instance = instance
        self._mirrors = stores.mirrors

    def moment(self) -> Moment:
        """The metastore as it is now."""
        return Moment(self._metastore.get_all_databases(), self._manifests.position())

    def read(
        self, repository: Repository, row: RefRow, head: str, moment: Moment, *, partitions: bool
    ) -> tuple[Reading, str]:
        """The tables of a ref, and the head at which they were read; `moment` is one since which the head is known.

        With `partitions`, those of every table are read, and its constraints; else of tables whose header changed or
        was never seen. Read again where the head moved meanwhile. Raises ObservationMoved where it keeps moving. What a
        ref was that has been read for the last time is in the store already.
        """
        if row.looked_last:
            return self._look(repository, row, moment.databases), head
        for _ in range(_READINGS):
            reading = self._look(repository, row, moment.databases)
            noted = self._note(repository, row, head, reading, moment.position, partitions=partitions)
            moves = row.ref.type is RefType.BRANCH and not row.replaced
            now = self._lakefs.get_ref(repository.name, row.ref) if moves else head
            if now is None or now == head:
                generation = self._generation(repository.name, row, head)
                newest = self._versions.newest_id()
                whole = partitions and not noted.failed
                self._refs.note_head(row.id, head, newest, whole=whole, generation=generation)
                return noted, head
            head, moment = now, self.moment()
        raise ObservationMoved(f"{repository.name} {row.ref}: its head moves faster than its tables can be read")

    def _generation(self, repository: str, row: RefRow, head: str) -> int:
        known = self._refs.generation(row.id, head)
        if known:
            return known
        return self._lakefs.generation(repository, head)

    def _look(self, repository: Repository, row: RefRow, databases: Sequence[str]) -> Reading:
        canonical = self._rules.canonical_branches(repository)
        if row.ref.type is RefType.BRANCH and row.ref.name in canonical:
            return self._canonical(repository, row, canonical[row.ref.name], databases)
        pinned = {pin.physical: pin.logical for pin in self._mirrors.pinned(row.id)}
        asker = Asker(self._instance, repository.name, row.ref, row.incarnation, pinned)
        if not pinned and not self._rules.of_ref(repository.name, row.ref):
            return NOTHING_READ
        names = [d for d in databases if may_hold_tables(d, asker, self._rules)]
        unread: dict[TableName, str] = {}
        found = self._tables_of({d: self._metastore.get_all_tables(d) for d in names}, unread)
        views = _viewed(found, lambda table: as_of_ref(table, asker, self._rules), unread)
        # What cannot be read may be the ref's, by its name; whose it is by its marks, nobody knows.
        failed = {logical: why for name, why in unread.items() if (logical := named_by(name, asker, self._rules))}
        reading = _reading(views, names, failed)
        marks = (Marks.from_parameters(table.parameters, str(table.table_name)) for table in found)
        ours = (self._instance, repository.name, str(row.ref))
        return replace(
            reading, marks=tuple(m for m in marks if m is not None and (m.instance, m.repository, m.ref) == ours)
        )

    def _canonical(self, repository: Repository, row: RefRow, own: Sequence[Rule], databases: Sequence[str]) -> Reading:
        wanted: dict[str, list[str]] = {}
        for database in databases:
            takers = [rule for rule in own if may_take_database(rule, database)]
            if takers:
                names = self._metastore.get_all_tables(database)
                wanted[database] = [
                    name for name in names if any(takes_table(rule, TableName(database, name)) for rule in takers)
                ]
        unread: dict[TableName, str] = {}
        found = self._tables_of(wanted, unread)
        views = _viewed(found, lambda table: as_canonical(table, repository.name, row.ref), unread)
        return _reading(views, (), unread)

    def _tables_of(self, wanted: Mapping[str, Sequence[str]], unread: dict[TableName, str]) -> list[Table]:
        """The tables of those names, by database; `unread` gets those that cannot be read."""
        found: list[Table] = []
        for database, names in wanted.items():
            if names:
                found += readable_tables(self._metastore, database, names, unread)
        return found

    # What was seen, into the store

    def _note(
        self,
        repository: Repository,
        row: RefRow,
        head: str,
        reading: Reading,
        position: LogPosition | None,
        *,
        partitions: bool,
    ) -> Reading:
        """Notes what is new; gives the reading with what only shows in full: partitions, and tables that failed."""
        stranded: list[StrandedPartitions] = []
        place = (repository.name, row.ref.name)
        home = Home(*place)
        off_ref = {v.logical: where for v in reading.tables if (where := place_off_ref(v.table.sd, v.table, *place))}
        failed = dict(reading.failed)
        in_force = self._versions.in_force(row)
        pinned = {pin.logical: pin for pin in self._mirrors.pinned(row.id)}
        hashes = self._versions.header_hashes(v.definition for v in in_force.values() if v.definition)
        ignored = self._rules.ignored_parameters(repository.name)

        # A key to a table that has no mirror refers to the canonical one, which is the same table here.
        logical_of = {logical: logical for logical in in_force} | {v.physical: v.logical for v in reading.tables}

        def define(view: TableView) -> tuple[TableView, str | None]:
            """The table's definition where it has to be read in full, else None."""
            known = in_force.get(view.logical)
            header = header_of(view.table, home, ignored)
            address = known.definition if known is not None else None
            same = address is not None and hashes[address] == content_hash(header_json(header))
            copies = self._copies_partitions(repository.name, row, view.logical, pinned.get(view.logical))
            if same and not partitions:
                return view, None
            settled = False
            if not copies and address is not None:
                manifest = self._versions.definition(address).manifest
            else:
                manifest, moved, outside = self._manifests.read(row.id, view, home, ignored, address, position)
                settled = not moved
                stranded.extend([StrandedPartitions(view.logical, view.physical, moved)] if moved else [])
                off_ref.update({view.logical: outside} if outside else {})
            constraints = at_home(self._metastore.get_constraints(view.physical), logical_of)
            definition = self._versions.put_definition(replace(header, constraints=constraints), manifest, address)
            if settled and position is not None:
                self._manifests.note(row.id, view, ignored, definition, position)
            return view, definition

        def define_one(view: TableView) -> tuple[TableView, str | None]:
            with one_table(view.logical, failed, f"reading {view.physical}"):
                return define(view)
            return view, None

        whole = [view for view in reading.tables if view.kind != "making"]
        # One that was followed so far, and is an Iceberg table or a view by now: merges must see that it is.
        changed = [v for v in reading.never_merged if (known := in_force.get(v.logical)) and known.definition]
        for view, definition in parallel(self._metastore.parallel, define_one, whole + changed):
            known = in_force.get(view.logical)
            if definition is None or (known is not None and known.definition == definition):
                continue
            with one_table(view.logical, failed, f"storing {view.physical}"):
                parents = _parents(known, view, row, pinned, self._database.store_id())
                self._versions.add(row.id, view.logical, definition, parents, head)
        for view in whole:
            pin = pinned.get(view.logical)
            if view.kind == "mirror" and pin is not None and not pin.made:
                # Built, and the process died before it could say so.
                self._mirrors.made(row.id, view.logical)
        self._note_absent(repository, row, head, reading, in_force, pinned, failed)
        return replace(reading, stranded=tuple(stranded), failed=failed, off_ref=off_ref)

    def _note_absent(
        self,
        repository: Repository,
        row: RefRow,
        head: str,
        reading: Reading,
        in_force: Mapping[TableName, Version],
        pinned: Mapping[TableName, Pinned],
        failed: dict[TableName, str],
    ) -> None:
        """Notes the tables that stood on the ref and are gone."""
        present = {view.logical for view in reading.tables} | set(reading.skipped) | set(failed)
        own = self._versions.own(row.id)
        expected = {pin.logical for pin in pinned.values() if pin.made}
        if not row.is_being_created:
            # Before its creation is finished, a ref has versions, by merges, of tables that are not created yet.
            expected |= {logical for logical, version in own.items() if version.definition is not None}
        for logical in sorted(expected - present):
            known = in_force.get(logical)
            if known is None or known.definition is None:
                continue
            with one_table(logical, failed, f"searching for {logical}"):
                if not self._stands(repository, row, logical, pinned):
                    self._versions.add(row.id, logical, None, (known.id,), head)

    def _stands(
        self, repository: Repository, row: RefRow, logical: TableName, pinned: Mapping[TableName, Pinned]
    ) -> bool:
        """Whether something still stands at the table's name, though it is not the ref's any more."""
        if logical in pinned:
            return self._metastore.get_table(pinned[logical].physical) is not None
        rule = self._rules.of_table(repository.name, row.ref, logical)
        if rule is None or row.ref.name in self._rules.canonical_branches(repository):
            return self._metastore.get_table(logical) is not None
        return self._metastore.get_table(physical_name(rule.target, repository.name, row.ref, logical)) is not None

    def _copies_partitions(self, repository: str, row: RefRow, logical: TableName, pin: Pinned | None) -> bool:
        rule = (self._rules.named(pin.rule) if pin else None) or self._rules.of_table(repository, row.ref, logical)
        return rule is None or rule.partitions != "none"


def _viewed(
    tables: Sequence[Table], view_of: Callable[[Table], TableView | None], unread: dict[TableName, str]
) -> list[TableView]:
    """The ref's tables among those that were read."""
    found = []
    for table in tables:
        with one_table(table.table_name, unread, f"reading {table.table_name}"):
            if (view := view_of(table)) is not None:
                why_skipped(view.table)
                found.append(view)
    return found


def _reading(views: Sequence[TableView], databases: Sequence[str], failed: Mapping[TableName, str]) -> Reading:
    # A mirror that is being made stands as a view until its last call.
    whole = (view for view in views if view.kind != "making")
    skipped = {
        view.logical: reason for view in whole if (reason := why_skipped(view.table, mirror=view.kind == "mirror"))
    }
    merged = tuple(view for view in views if view.logical not in skipped)
    never = tuple(view for view in views if view.logical in skipped)
    return Reading(merged, skipped, tuple(databases), never, failed=failed)


def _parents(
    known: Version | None, view: TableView, row: RefRow, pinned: Mapping[TableName, Pinned], store_id: str
) -> tuple[int, ...]:
    if known is None:
        # A mirror that was made later than its ref bears the version that it is a copy of.
        made_of = view.marks.version if view.marks is not None and view.marks.store == store_id else 0
        return (made_of,) if made_of else ()
    if view.marks is not None and view.marks.store != store_id:
        # Created under another store, which is lost: how it came to differ from its parent, nobody knows.
        return (known.id,) if known.ref_id == row.id else ()
    if view.kind == "belonging" and known.ref_id != row.id and view.logical not in pinned:
        # A table that was there before us: how it came from its namesake on the parent, nobody knows.
        return ()
    return (known.id,)
