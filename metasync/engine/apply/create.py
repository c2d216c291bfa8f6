"""Creates mirrors from stored versions, with what their live sources have besides, and databases that are missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from metasync.engine.apply.databases import Databases
from metasync.engine.isolation import one_table, readable_tables
from metasync.errors import MetastoreError
from metasync.metastore import Metastore, TableBuilder
from metasync.metastore.builder import Blueprint
from metasync.metastore.read_ahead import batches
from metasync.model.hms import Database, Partition, Table, TableName
from metasync.model.lakefs import RefType, Repository
from metasync.model.marks import Marks
from metasync.planning.changes import CreateMirror
from metasync.planning.database_places import place_like
from metasync.planning.definition import (
    Home,
    PartitionMaker,
    PartitionMover,
    PartitionReader,
    content_hash,
    header_json,
    header_of,
    table_from,
)
from metasync.planning.formats import real_location
from metasync.planning.kinds.constraints import moved_to, parents
from metasync.planning.locations import on_ref, ref_in, ref_root
from metasync.planning.manifest import Manifest
from metasync.planning.names import physical_name
from metasync.planning.partition_names import partition_name
from metasync.planning.rules import RuleSet
from metasync.planning.table_type import as_external, of_own_type, type_marks, with_type_of
from metasync.planning.three_way import ItemConflict
from metasync.store import Database as Store
from metasync.store.versions import VersionStore

_TABLES_AT_ONCE = 50


class MirrorCreator:
    """Creates mirrors, in the order in which their foreign keys need each other."""

    def __init__(
        self,
        store: Store,
        metastore: Metastore,
        builder: TableBuilder,
        versions: VersionStore,
        rules: RuleSet,
        instance: str,
    ) -> None:
        self._store = store
        self._metastore = metastore
        self._builder = builder
        self._versions = versions
        self._rules = rules
        self._instance = instance

    def waves(self, mirrors: Sequence[CreateMirror]) -> Iterator[list[CreateMirror]]:
        """Mirrors in the order in which their foreign keys need each other, all of a wave at once."""
        by_key = {(change.ref_id, change.logical): change for change in mirrors}
        needs: dict[tuple[int, TableName], set[tuple[int, TableName]]] = {}
        unread: dict[TableName, str] = {}
        for key, change in by_key.items():
            needs[key] = set()
            # One whose definition cannot be read fails when it is its turn.
            with one_table(change.physical, unread, "reading the definition"):
                header = self._versions.definition(change.definition).header
                needs[key] = ({(key[0], parent) for parent in parents(header.constraints)} & set(by_key)) - {key}
        sorter = TopologicalSorter(needs)
        try:
            sorter.prepare()
        except CycleError:
            # Tables that refer to each other in a ring: their foreign keys stay with the original's parents.
            yield list(by_key.values())
            return
        while sorter.is_active():
            ready = sorter.get_ready()
            yield [by_key[key] for key in ready]
            sorter.done(*ready)

    def create(
        self, repository: Repository, databases: Databases, live: LiveTables, change: CreateMirror
    ) -> Sequence[ItemConflict]:
        """Creates one mirror; one that is half-built is finished. Raises MetastoreError."""
        stored = self._versions.definition(change.definition)
        source = self._live_source(repository, live, change, stored.header_hash)
        if source is None:
            plain = table_from(stored.header, change.physical.database, change.physical.table, change.ref.name)
        else:
            # The live table is that very version: its volatile parameters and statistics come along.
            home = Home(repository.name, _ref_of(source, repository))
            raw = _relative_table(source, home)
            plain = replace(
                table_from(raw, change.physical.database, change.physical.table, change.ref.name),
                last_access_time=source.last_access_time,
            )
        marks = self._marks(repository, change)
        own = of_own_type(with_type_of(stored.header, plain))
        own = replace(own, parameters={**own.parameters, **type_marks(stored.header)})
        on_its_ref = databases.ensure(
            repository, change.ref, change.physical.database, lambda: self._database(repository, change, source, own)
        )
        # A tag's files are nobody's to delete, and what engines create in a shared database lies on another ref.
        table = own if on_its_ref and change.ref.type is RefType.BRANCH else as_external(own)

        def partitions() -> Iterator[Partition]:
            if change.copy_partitions:
                yield from self._partitions_of(repository, stored.manifest, source, table, change.ref.name)

        self._builder.build(
            Blueprint(
                table=table,
                partitions=partitions,
                making=f"creation-{change.ref_id}-{change.version}",
                marks=marks.to_parameters(),
                constraints=moved_to(
                    stored.header.constraints, lambda parent: self._mirror_of(repository, change, parent)
                ),
                statistics_of=source.table_name
                if source is not None and (change.copy_partitions or not source.partition_keys)
                else None,
                lies_on_ref=lambda partition: on_ref(partition.sd.location, repository.name, change.ref.name),
            )
        )
        return ()

    def _partitions_of(
        self, repository: Repository, manifest: Manifest, source: Table | None, table: Table, ref: str
    ) -> Iterator[Partition]:
        """The partitions of the planned version, whatever the source gains or loses meanwhile.

        Where the live partition still is the planned one, its volatile parameters come along.
        """
        make = PartitionMaker(table, ref)
        if source is None:
            yield from map(make, self._versions.partitions(manifest))
            return
        home = Home(repository.name, _ref_of(source, repository))
        read = PartitionReader(source, home, self._rules.ignored_parameters(repository.name))
        move = PartitionMover(home, ref)
        for planned in batches(self._versions.partitions(manifest), self._metastore.read_batch):
            names = [partition_name(source.partition_keys, p.values) for p in planned]
            live = {p.values: p for p in self._metastore.get_partitions(source.table_name, names)}
            for definition in planned:
                found = live.get(definition.values)
                same = found is not None and read(found) == definition
                yield move(found) if found is not None and same else make(definition)

    def _live_source(
        self, repository: Repository, live: LiveTables, change: CreateMirror, header_hash: str
    ) -> Table | None:
        """The live table that the mirror is a copy of, if it still is the planned version."""
        found = live.get(change.copy_of) if change.copy_of is not None else None
        if found is None:
            return None
        home = Home(repository.name, _ref_of(found, repository))
        ignored = self._rules.ignored_parameters(repository.name)
        same = content_hash(header_json(header_of(found, home, ignored))) == header_hash
        return found if same else None

    def _mirror_of(self, repository: Repository, change: CreateMirror, parent: TableName) -> TableName | None:
        """The sibling mirror that a foreign key refers to; the canonical table where that has none."""
        if parent == change.logical:
            return change.physical
        rule = self._rules.named(change.rule)
        names = [physical_name(rule.target, repository.name, change.ref, parent)] if rule is not None else []
        return next((name for name in (*names, parent) if self._metastore.get_table(name) is not None), None)

    def _marks(self, repository: Repository, change: CreateMirror) -> Marks:
        return Marks(
            instance=self._instance,
            store=self._store.store_id(),
            repository=repository.name,
            ref=str(change.ref),
            incarnation=change.incarnation,
            name=str(change.physical),
            table=str(change.logical),
            rule=change.rule,
            as_of=change.as_of,
            version=change.version,
        )

    def _database(self, repository: Repository, change: CreateMirror, source: Table | None, table: Table) -> Database:
        """The mirror's database, at the place that corresponds to its source's."""
        name, logical = change.physical.database, change.logical.database
        where = real_location(table)
        if where is None or not on_ref(where, repository.name, change.ref.name):
            raise MetastoreError(f"{change.physical}: its location {where} would not be on {change.ref}")
        origins = list(dict.fromkeys([source.database, logical] if source is not None else [logical]))
        found = [self._metastore.get_database(one) for one in origins]
        origin = next(filter(None, found), None)
        marks = replace(self._marks(repository, change), name=name, table="", as_of="", version=0)
        return Database(
            name=name,
            location_uri=place_like(
                repository.name,
                change.ref.name,
                logical,
                ref_root(where, change.ref.name),
                [one.location_uri for one in found if one is not None],
            ),
            description=origin.description if origin else None,
            parameters=marks.to_parameters(),
            owner_name=origin.owner_name if origin else None,
            owner_type=origin.owner_type if origin else None,
        )


class LiveTables:
    """Tables that mirrors are copies of, read some at a time, just before the first of them is needed."""

    def __init__(self, metastore: Metastore, wanted: Sequence[TableName]) -> None:
        self._metastore = metastore
        self._unread = dict.fromkeys(wanted)
        self._read: dict[TableName, Table] = {}
        self._failed: dict[TableName, str] = {}
        self._lock = threading.Lock()

    def get(self, name: TableName) -> Table | None:
        with self._lock:
            if name in self._unread:
                same = (one for one in self._unread if one.database == name.database and one != name)
                some = [name, *islice(same, _TABLES_AT_ONCE - 1)]
                failed: dict[TableName, str] = {}
                found = readable_tables(self._metastore, name.database, [one.table for one in some], failed)
                self._read |= {table.table_name: table for table in found}
                self._failed |= failed
                for one in some:
                    del self._unread[one]
            if name in self._failed:
                raise MetastoreError(f"{name}: {self._failed[name]}")
            return self._read.get(name)


def _relative_table(table: Table, home: Home) -> Table:
    """A live table with relative locations and everything else as it is, volatile parameters too."""
    steady = header_of(table, home)
    return replace(steady, parameters={**table.parameters, **_paths(steady, table)}, table_type=table.table_type)


def _paths(steady: Table, table: Table) -> dict[str, str]:
    return {k: v for k, v in steady.parameters.items() if k in table.parameters and "{ref}" in v}


def _ref_of(table: Table, repository: Repository) -> str:
    """The ref on which a live table lies."""
    return ref_in(real_location(table) or "", repository.name) or ""
