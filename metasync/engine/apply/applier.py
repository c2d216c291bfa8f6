"""Applying: a plan's changes to the metastore, each so that doing it again is harmless.

Writes to the metastore only. Births and ends are here, merges in `apply_merge`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from metasync.engine.apply.merge_applier import MergeApplier
from metasync.engine.apply.partitions import PartitionWriter
from metasync.engine.apply.statistics import copy_statistics
from metasync.engine.isolation import one_table, readable_tables, reason
from metasync.engine.threads import parallel
from metasync.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    ForeignTable,
    LeaseLost,
    MetastoreError,
    MetasyncError,
    TemporaryError,
)
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore, TableBuilder
from metasync.metastore.ahead import batches
from metasync.metastore.builder import Blueprint
from metasync.model.hms import Database, Partition, Table, TableName
from metasync.model.lakefs import Repository
from metasync.model.marks import Marks
from metasync.planning.conflicts import REASONS
from metasync.planning.definition import (
    Home,
    PartitionMaker,
    PartitionMover,
    PartitionReader,
    as_external,
    content_hash,
    header_json,
    header_of,
    table_from,
)
from metasync.planning.formats import real_location, why_off_ref
from metasync.planning.kinds.constraints import moved_to, parents
from metasync.planning.locations import absolute, is_relative, ref_in, ref_root, relative
from metasync.planning.manifest import Manifest
from metasync.planning.matrix import ItemConflict
from metasync.planning.names import physical_name
from metasync.planning.partition_names import partition_name
from metasync.planning.plan import (
    Applied,
    Change,
    CopyStatistics,
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    EndRef,
    FinishMerge,
    MergeTable,
    PlacePartitions,
    Plan,
    TableFailure,
    owner_of,
    subject_of,
)
from metasync.planning.rules import RuleSet
from metasync.planning.words import item_name
from metasync.store import Database as Store
from metasync.store.versions import VersionStore

_NAMED = 4
"""The most conflicts that an outcome names."""
Stop = Callable[[], bool]
Done = Callable[[Applied], None]
_TABLES_AT_ONCE = 50


class Applier:
    """Executes plans. `done` is told of each change as soon as it is made, so that a crash loses at most one."""

    def __init__(
        self,
        store: Store,
        lakefs: LakeFS,
        metastore: Metastore,
        versions: VersionStore,
        rules: RuleSet,
        instance: str,
    ) -> None:
        self._store = store
        self._metastore = metastore
        self._builder = TableBuilder(metastore)
        self._versions = versions
        self._rules = rules
        self._instance = instance
        self._partitions = PartitionWriter(lakefs, metastore)
        self._merges = MergeApplier(metastore, self._builder, self._partitions, rules)

    def apply(self, repository: Repository, plan: Plan, done: Done, stop: Stop = lambda: False) -> list[Applied]:
        """Applies the changes in their order; mirrors of one plan are made in parallel.

        `stop` is asked between changes: the one in hand is finished, the rest is left for later. A failure of one
        change is its outcome and does not stop the others, but a TemporaryError of the whole metastore will fail all.
        Raises LeaseLost as soon as somebody else may do the same.
        """
        outcomes: list[Applied] = []

        def run(change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
            if stop():
                return Applied(change, "waiting", "stopping")
            outcome = self._guarded(change, do)
            return self._recorded(outcome, done)

        for change in plan.changes:
            if isinstance(change, MergeTable):
                outcomes.append(run(change, partial(self._merges.merge, repository, change)))
            elif isinstance(change, CopyStatistics):
                outcomes.append(run(change, partial(copy_statistics, self._metastore, change)))
            elif isinstance(change, DiscoverPartitions):
                outcomes.append(run(change, partial(self._partitions.discover, repository, change)))
            elif isinstance(change, PlacePartitions):
                outcomes.append(run(change, partial(self._partitions.place, change)))
            elif isinstance(change, DropTable):
                outcomes.append(run(change, partial(self._drop, repository, change)))
            elif isinstance(change, DropDatabase):
                outcomes.append(run(change, partial(self._drop_database, change)))
        mirrors = [change for change in plan.changes if isinstance(change, CreateMirror)]
        ready = _Ready(self._metastore)
        for wave in self._waves(mirrors):
            live = _LiveTables(self._metastore, [change.copy_of for change in wave if change.copy_of is not None])
            create = partial(self._create_mirror, repository, ready, live)

            def make(change: CreateMirror, create: Callable[..., Sequence[ItemConflict]] = create) -> Applied:
                return run(change, partial(create, change))

            outcomes += parallel(self._metastore.parallel, make, wave)
        waiting = {owner_of(o.change) for o in outcomes if o.state == "waiting"}
        failed = {owner_of(o.change) for o in outcomes if o.state == "failed"}
        for change in plan.changes:
            if isinstance(change, EndRef) and owner_of(change) not in waiting | failed:
                outcomes.append(run(change, tuple))
            elif isinstance(change, FinishMerge) and owner_of(change) not in waiting:
                outcomes.append(run(replace(change, failed=(*change.failed, *_failures(change, outcomes))), tuple))
        return outcomes

    def _recorded(self, outcome: Applied, done: Done) -> Applied:
        """The outcome, once it is in the store; that which cannot be stored is a failure of its table."""
        try:
            done(outcome)
        except TemporaryError:
            raise
        except Exception as error:  # what was done stands; the other tables go on
            return Applied(outcome.change, "failed", reason(error, "recording", subject_of(outcome.change)))
        return outcome

    def _guarded(self, change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
        try:
            conflicts = tuple(do())
        except _NothingToDo as why:
            return Applied(change, "done", str(why))
        except ChangedMeanwhile as error:
            return Applied(
                change, "conflict", str(error), (ItemConflict((), None, None, None, "changed-while-merging"),)
            )
        except LeaseLost:
            # Whoever has the lease by now does the rest.
            raise
        except TemporaryError as error:
            return Applied(change, "waiting", str(error))
        except MetasyncError as error:
            if isinstance(change, CopyStatistics):
                # Nobody's rows depend on them: a merge does not wait for them.
                return Applied(change, "done", f"statistics not copied: {error}")
            if isinstance(change, MergeTable) and isinstance(error, MetastoreError | ForeignTable):
                # Refused for good: the table waits for a person, and the merges behind it do not wait for the table.
                refused = ItemConflict((), None, None, str(error), "metastore-refuses")
                return Applied(change, "conflict", str(error), (refused,))
            return Applied(change, "failed", str(error))
        except Exception as error:  # one table that nobody foresaw must not keep the others waiting
            return Applied(change, "failed", reason(error, change.kind, subject_of(change)))
        if not conflicts:
            return Applied(change, "done")
        words = ", ".join(f"{item_name(c.path)} ({REASONS.get(c.reason, c.reason)})" for c in conflicts[:_NAMED])
        more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
        return Applied(change, "conflict", f"{words}{more}", conflicts)

    # Birth

    def _waves(self, mirrors: Sequence[CreateMirror]) -> Iterator[list[CreateMirror]]:
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

    def _create_mirror(
        self, repository: Repository, ready: _Ready, live: _LiveTables, change: CreateMirror
    ) -> Sequence[ItemConflict]:
        stored = self._versions.definition(change.definition)
        source = self._live_source(repository, live, change, stored.header_hash)
        if source is None:
            plain = table_from(stored.header, change.physical.database, change.physical.table, change.ref.name)
        else:
            # The live table is that very version: its volatile parameters and statistics come along.
            home = Home(repository.name, _ref_of(source, repository))
            raw = relative_table(source, home)
            plain = replace(
                table_from(raw, change.physical.database, change.physical.table, change.ref.name),
                last_access_time=source.last_access_time,
            )
        marks = self._marks(repository, change)
        table = as_external(plain, {})
        with ready.making(change.physical.database) as missing:
            if missing:
                self._make_database(repository, change, source, table)

        def partitions() -> Iterator[Partition]:
            if change.copy_partitions:
                yield from self._partitions_of(repository, stored.manifest, source, table, change.ref.name)

        self._builder.build(
            Blueprint(
                table=table,
                partitions=partitions,
                making=f"birth-{change.ref_id}-{change.version}",
                marks=marks.to_parameters(),
                constraints=moved_to(
                    stored.header.constraints, lambda parent: self._mirror_of(repository, change, parent)
                ),
                statistics_of=source.table_name
                if source is not None and (change.copy_partitions or not source.partition_keys)
                else None,
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
        self, repository: Repository, live: _LiveTables, change: CreateMirror, header_hash: str
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

    def _make_database(self, repository: Repository, change: CreateMirror, source: Table | None, table: Table) -> None:
        """The mirror's database at the place that corresponds to its source's, without a directory of its own."""
        name = change.physical.database
        where = real_location(table)
        if where is None or not is_relative(relative(where, repository.name, change.ref.name)):
            raise MetastoreError(f"{change.physical}: its location {where} would not be on {change.ref}")
        root = ref_root(where, change.ref.name)
        origin = self._metastore.get_database(source.database if source else change.logical.database)
        location = root
        if origin is not None and origin.location_uri and source is not None:
            found = relative(origin.location_uri, repository.name, _ref_of(source, repository))
            location = absolute(found, change.ref.name) if is_relative(found) else root
        marks = replace(self._marks(repository, change), name=name, table="", as_of="", version=0)
        database = Database(
            name=name,
            location_uri=location,
            description=origin.description if origin else None,
            parameters=marks.to_parameters(),
            owner_name=origin.owner_name if origin else None,
            owner_type=origin.owner_type if origin else None,
        )
        with suppress(AlreadyExists):
            self._metastore.create_database(database, root)

    # End

    def _drop(self, repository: Repository, change: DropTable) -> Sequence[ItemConflict]:
        """Drops a table if it still is what the plan took it for."""
        table = self._metastore.get_table(change.physical)
        if table is None:
            raise _NothingToDo("was gone already")
        marks = Marks.from_parameters(table.parameters, str(change.physical))
        if change.ours:
            found = marks and (marks.instance, marks.store, marks.repository, marks.ref, marks.incarnation)
            mine = (self._instance, self._store.store_id(), repository.name, str(change.ref), change.incarnation)
            if found != mine:
                raise ChangedMeanwhile(f"{change.physical}: is not ours any more; it is left alone")
        elif marks is not None or why_off_ref(table, repository.name, change.ref.name):
            raise ChangedMeanwhile(f"{change.physical}: is not this ref's table any more; it is left alone")
        self._builder.remove(change.physical, table)
        return ()

    def _drop_database(self, change: DropDatabase) -> Sequence[ItemConflict]:
        database = self._metastore.get_database(change.name)
        marks = Marks.from_parameters(database.parameters, change.name) if database else None
        if marks is None or (marks.instance, marks.store) != (self._instance, self._store.store_id()):
            raise _NothingToDo("is not there, or not ours")
        if not self._metastore.drop_empty_database(change.name):
            raise _NothingToDo("stays, as it holds tables")
        return ()


class _NothingToDo(Exception):
    """There was nothing to change; the message says why."""


class _Ready:
    """The databases that are known to be there while one plan is applied: each is asked for, and made, once."""

    def __init__(self, metastore: Metastore) -> None:
        self._metastore = metastore
        self._names: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def making(self, name: str) -> Iterator[bool]:
        """Whether the database is missing, and now to be made, while nobody else does."""
        with self._lock:
            yield name not in self._names and self._metastore.get_database(name) is None
            self._names.add(name)


class _LiveTables:
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


def _failures(finish: FinishMerge, outcomes: Sequence[Applied]) -> list[TableFailure]:
    """The tables of a merge that could not be written, nor shown to be in conflict."""
    where = f"{finish.source} -> {finish.destination}"
    return [
        TableFailure(o.change.logical, where, o.message, merge_id=finish.merge_id)
        for o in outcomes
        if o.state == "failed" and isinstance(o.change, MergeTable) and o.change.merge_id == finish.merge_id
    ]


def relative_table(table: Table, home: Home) -> Table:
    """A live table with relative locations and everything else as it is, volatile parameters too."""
    steady = header_of(table, home)
    return replace(steady, parameters={**table.parameters, **_paths(steady, table)}, table_type=table.table_type)


def _paths(steady: Table, table: Table) -> dict[str, str]:
    return {k: v for k, v in steady.parameters.items() if k in table.parameters and "{ref}" in v}


def _ref_of(table: Table, repository: Repository) -> str:
    """The ref on which a live table lies."""
    return ref_in(real_location(table) or "", repository.name) or ""
