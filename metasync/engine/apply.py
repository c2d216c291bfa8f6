"""Applying: a plan's changes to the metastore, each so that doing it again is harmless.

Writes to the metastore only. Before a table is changed it is read again: as the plan found it, it is written; as the
plan would leave it, it is done; each item at one or the other, it is finished; else nothing is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from metasync.engine.tables import parallel
from metasync.errors import AlreadyExists, ChangedMeanwhile, MetastoreError, MetasyncError, TemporaryError
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore, TableBuilder
from metasync.metastore.builder import Blueprint
from metasync.metastore.client import partition_name
from metasync.model.hms import Constraints, Database, FieldSchema, ForeignKeyColumn, Partition, Table, TableName
from metasync.model.lakefs import Repository
from metasync.model.marks import Marks
from metasync.planning.definition import (
    Home,
    PartitionDefinition,
    as_external,
    changed_table,
    content_hash,
    header_json,
    header_of,
    moved_storage,
    partition_from,
    partition_of,
    table_from,
)
from metasync.planning.formats import real_location, why_off_ref
from metasync.planning.locations import absolute, is_relative, path_on_ref, ref_in, ref_root, relative
from metasync.planning.manifest import Manifest
from metasync.planning.matrix import ItemConflict
from metasync.planning.names import physical_name
from metasync.planning.plan import (
    Applied,
    Change,
    CreateMirror,
    DropDatabase,
    DropTable,
    EndRef,
    FinishMerge,
    MergeTable,
    Plan,
)
from metasync.planning.rules import RuleSet
from metasync.store import Database as Store
from metasync.store.versions import VersionStore

Stop = Callable[[], bool]
Done = Callable[[Applied], None]
_PARTITIONS_AT_ONCE = 500


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
        self._lakefs = lakefs
        self._metastore = metastore
        self._builder = TableBuilder(metastore)
        self._versions = versions
        self._rules = rules
        self._instance = instance
        self._databases = threading.Lock()

    def apply(self, repository: Repository, plan: Plan, done: Done, stop: Stop = lambda: False) -> list[Applied]:
        """Applies the changes in their order; mirrors of one plan are made in parallel.

        `stop` is asked between changes: the one in hand is finished, the rest is left for later. A failure of one
        change is its outcome and does not stop the others, but a TemporaryError of the whole metastore will fail all.
        """
        outcomes: list[Applied] = []

        def run(change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
            if stop():
                return Applied(change, "waiting", "stopping")
            outcome = self._guarded(change, do)
            done(outcome)
            return outcome

        for change in plan.changes:
            if isinstance(change, MergeTable):
                outcomes.append(run(change, lambda c=change: self._merge(repository, c)))  # type: ignore[misc]
            elif isinstance(change, DropTable):
                outcomes.append(run(change, lambda c=change: self._drop(repository, c)))  # type: ignore[misc]
            elif isinstance(change, DropDatabase):
                outcomes.append(run(change, lambda c=change: self._drop_database(c)))  # type: ignore[misc]
        mirrors = [change for change in plan.changes if isinstance(change, CreateMirror)]
        for wave in self._waves(mirrors):
            outcomes += parallel(
                self._metastore.parallel,
                lambda pair: run(pair[0], lambda: self._create_mirror(repository, *pair)),
                wave,
            )
        unfinished = {_owner(o.change) for o in outcomes if o.state in ("failed", "waiting")}
        for change in plan.changes:
            if isinstance(change, EndRef | FinishMerge) and _owner(change) not in unfinished:
                outcomes.append(run(change, tuple))
        return outcomes

    def _guarded(self, change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
        try:
            conflicts = tuple(do())
        except ChangedMeanwhile as error:
            return Applied(
                change, "conflict", str(error), (ItemConflict((), None, None, None, "changed-while-merging"),)
            )
        except TemporaryError as error:
            return Applied(change, "waiting", str(error))
        except MetasyncError as error:
            if isinstance(change, MergeTable):
                # Refused for good: the table waits for a person, and the merges behind it do not wait for the table.
                refused = ItemConflict((), None, None, str(error), "metastore-refuses")
                return Applied(change, "conflict", str(error), (refused,))
            return Applied(change, "failed", str(error))
        return Applied(change, "conflict" if conflicts else "done", "", conflicts)

    # Birth

    def _waves(self, mirrors: Sequence[CreateMirror]) -> Iterator[list[tuple[CreateMirror, Constraints]]]:
        """Mirrors in the order in which their foreign keys need each other, all of a wave at once."""
        if not mirrors:
            return
        found = parallel(self._metastore.parallel, self._constraints_of, list(mirrors))
        by_key = {(c.ref_id, c.logical): (c, constraints) for c, constraints in zip(mirrors, found, strict=True)}
        parents = {
            key: {
                (key[0], k.parent)
                for k in constraints.foreign_keys
                if (key[0], k.parent) in by_key and (key[0], k.parent) != key
            }
            for key, (_, constraints) in by_key.items()
        }
        sorter = TopologicalSorter(parents)
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

    def _constraints_of(self, change: CreateMirror) -> Constraints:
        if change.copy_of is None:
            return Constraints()
        try:
            return self._metastore.get_constraints(change.copy_of)
        except MetasyncError:
            # The mirror is worth more than its constraints; a metastore that is away fails the build itself.
            return Constraints()

    def _create_mirror(
        self, repository: Repository, change: CreateMirror, constraints: Constraints
    ) -> Sequence[ItemConflict]:
        stored = self._versions.definition(change.definition)
        plain = table_from(stored.header, change.physical.database, change.physical.table, change.ref.name)
        source = self._live_source(repository, change, stored.header_hash)
        if source is not None:
            # The live table is that very version: its volatile parameters and statistics come along.
            home = Home(repository.name, _ref_of(source, repository))
            raw = relative_table(source, home)
            plain = replace(
                table_from(raw, change.physical.database, change.physical.table, change.ref.name),
                last_access_time=source.last_access_time,
            )
        marks = self._marks(repository, change)
        table = as_external(plain, {})
        self._make_database(repository, change, source, table)
        mapped = replace(
            constraints,
            foreign_keys=tuple(
                replace(k, parent=self._mirror_of(repository, change, k)) for k in constraints.foreign_keys
            ),
        )

        def partitions() -> Iterator[Partition]:
            if change.copy_partitions:
                yield from self._partitions_of(repository, stored.manifest, source, table, change.ref.name)

        self._builder.build(
            Blueprint(
                table=table,
                partitions=partitions,
                making=f"birth-{change.ref_id}",
                marks=marks.to_parameters(),
                constraints=mapped,
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
        ignored = self._rules.ignored_parameters(repository.name)
        home = Home(repository.name, _ref_of(source, repository)) if source is not None else None
        for chunk in manifest:
            planned = self._versions.load_chunk(chunk)
            live: dict[tuple[str, ...], Partition] = {}
            if source is not None:
                names = [partition_name(source.partition_keys, p.values) for p in planned]
                live = {p.values: p for p in self._metastore.get_partitions(source.table_name, names)}
            for definition in planned:
                found = live.get(definition.values)
                if found is None or source is None or home is None:
                    yield partition_from(definition, table, ref)
                elif partition_of(found, source, home, ignored) == definition:
                    yield moved(found, home, ref)
                else:
                    yield partition_from(definition, table, ref)

    def _live_source(self, repository: Repository, change: CreateMirror, header_hash: str) -> Table | None:
        """The live table that the mirror is a copy of, if it still is the planned version."""
        if change.copy_of is None:
            return None
        live = self._metastore.get_table(change.copy_of)
        if live is None:
            return None
        home = Home(repository.name, _ref_of(live, repository))
        ignored = self._rules.ignored_parameters(repository.name)
        same = content_hash(header_json(header_of(live, home, ignored))) == header_hash
        return live if same else None

    def _mirror_of(self, repository: Repository, change: CreateMirror, key: ForeignKeyColumn) -> TableName:
        rule = self._rules.named(change.rule)
        if rule is None:
            return key.parent
        candidate = physical_name(rule.target, repository.name, change.ref, key.parent)
        return candidate if self._metastore.get_table(candidate) is not None else key.parent

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
        )

    def _make_database(self, repository: Repository, change: CreateMirror, source: Table | None, table: Table) -> None:
        """The mirror's database at the place that corresponds to its source's, without a directory of its own."""
        with self._databases:
            name = change.physical.database
            if self._metastore.get_database(name) is not None:
                return
            where = real_location(table)
            if where is None or not is_relative(relative(where, repository.name, change.ref.name)):
                raise MetastoreError(f"{change.physical}: its location {where} would not be on {change.ref}")
            root = ref_root(where, change.ref.name)
            origin = self._metastore.get_database(source.database if source else change.logical.database)
            location = root
            if origin is not None and origin.location_uri and source is not None:
                found = relative(origin.location_uri, repository.name, _ref_of(source, repository))
                location = absolute(found, change.ref.name) if is_relative(found) else root
            marks = replace(self._marks(repository, change), name=name, table="", as_of="")
            database = Database(
                name=name,
                location_uri=location,
                description=origin.description if origin else None,
                parameters=marks.to_parameters(),
                owner_name=origin.owner_name if origin else None,
                owner_type=origin.owner_type if origin else None,
            )
            try:
                self._metastore.create_database(database, root)
            except AlreadyExists:
                return

    # End

    def _drop(self, repository: Repository, change: DropTable) -> Sequence[ItemConflict]:
        """Drops a table if it still is what the plan took it for."""
        table = self._metastore.get_table(change.physical)
        if table is None:
            return ()
        marks = Marks.from_parameters(table.parameters, str(change.physical))
        if change.ours:
            mine = marks is not None and (marks.instance, marks.repository, marks.ref, marks.incarnation) == (
                self._instance,
                repository.name,
                str(change.ref),
                change.incarnation,
            )
            if not mine:
                raise ChangedMeanwhile(f"{change.physical}: is not ours any more; it is left alone")
        elif marks is not None or why_off_ref(table, repository.name, change.ref.name):
            raise ChangedMeanwhile(f"{change.physical}: is not this ref's table any more; it is left alone")
        self._builder.remove(change.physical, table)
        return ()

    def _drop_database(self, change: DropDatabase) -> Sequence[ItemConflict]:
        database = self._metastore.get_database(change.name)
        marks = Marks.from_parameters(database.parameters, change.name) if database else None
        if marks is not None and marks.instance == self._instance:
            self._metastore.drop_empty_database(change.name)
        return ()

    # Merge

    def _merge(self, repository: Repository, change: MergeTable) -> Sequence[ItemConflict]:
        if change.conflicts:
            return change.conflicts
        if not change.writes:
            return ()
        home = Home(repository.name, change.destination.name)
        live = self._metastore.get_table(change.physical)
        if change.before is None:
            return self._create_on_destination(repository, change, live)
        if change.after is None:
            return self._drop_on_destination(change, live, home)
        if live is None:
            raise ChangedMeanwhile(f"{change.physical}: is gone; it was there when the merge was planned")
        assert change.before is not None and change.after is not None
        ignored = self._rules.ignored_parameters(repository.name)
        now = content_hash(header_json(header_of(live, home, ignored)))
        planned, before = content_hash(header_json(change.after)), content_hash(header_json(change.before))
        if now not in (planned, before):
            raise ChangedMeanwhile(
                f"{change.physical}: was changed while the merge {change.merge_commit[:12]} was applied"
            )
        if change.resumed and now == before != planned and _stamp(live) != change.stamp:
            # Written before the crash, and then changed back by somebody who did not want it.
            raise ChangedMeanwhile(f"{change.physical}: was changed by somebody after the merge had been applied")
        there = self._partitions_now(change, live, home, ignored, header_done=now == planned and planned != before)
        old_columns = table_from(change.before, "", "", home.ref).sd.cols
        new_columns = table_from(change.after, "", "", home.ref).sd.cols
        explicit = {p.values for p in change.partitions if p.after is not None and p.after.columns is not None}
        spread = bool(live.partition_keys) and old_columns != new_columns
        if now != planned:
            table = changed_table(live, change.before, change.after, home.ref)
            cascade = spread and not explicit and self._all_inherit(change.physical, live)
            self._metastore.alter_table(table, cascade=cascade)
            spread = spread and not cascade
            live = self._metastore.get_table(change.physical) or live
        if spread:
            self._spread_columns(change.physical, live, old_columns, new_columns, explicit)
        self._write_partitions(repository, change, live, there)
        return ()

    def _all_inherit(self, name: TableName, live: Table) -> bool:
        return all(p.sd.cols == live.sd.cols for p in self._metastore.iter_partitions(name, live.partition_keys))

    def _spread_columns(
        self,
        name: TableName,
        live: Table,
        old: tuple[FieldSchema, ...],
        new: tuple[FieldSchema, ...],
        explicit: set[tuple[str, ...]],
    ) -> None:
        """Gives the partitions that had the table's old columns its new ones, one by one.

        CASCADE would flatten those with columns of their own. After a crash, this is simply done again.
        """
        batch: list[Partition] = []
        for p in self._metastore.iter_partitions(name, live.partition_keys):
            if p.sd.cols == old and p.values not in explicit:
                batch.append(replace(p, sd=replace(p.sd, cols=new)))
            if len(batch) == _PARTITIONS_AT_ONCE:
                self._metastore.alter_partitions(name, batch)
                batch = []
        if batch:
            self._metastore.alter_partitions(name, batch)

    def _partitions_now(
        self, change: MergeTable, live: Table, home: Home, ignored: Sequence[str], *, header_done: bool
    ) -> Mapping[tuple[str, ...], Partition]:
        """The partitions that the change touches, as they are. Raises ChangedMeanwhile."""
        wanted = {p.values: p for p in change.partitions}
        names = [partition_name(live.partition_keys, values) for values in wanted]
        there = {p.values: p for p in self._metastore.get_partitions(change.physical, names)} if names else {}
        for values, planned in wanted.items():
            found = there.get(values)
            now = partition_of(found, live, home, ignored) if found is not None else None
            sides: tuple[PartitionDefinition | None, ...] = (planned.before, planned.after)
            if now is not None and planned.after is not None and now.location == _waiting_room(planned.after):
                # An empty partition whose build was cut short between its two calls.
                now = replace(now, location=planned.after.location)
            if header_done:
                # The table's columns moved on already, and with them what "inherits" means.
                now = now and replace(now, columns=None)
                sides = tuple(side and replace(side, columns=None) for side in sides)
            if now not in sides:
                raise ChangedMeanwhile(f"{change.physical} {list(values)}: the partition was changed while merging")
        return there

    def _write_partitions(
        self, repository: Repository, change: MergeTable, live: Table, there: Mapping[tuple[str, ...], Partition]
    ) -> None:
        ref = change.destination.name
        added, altered, dropped = [], [], []
        for item in change.partitions:
            found = there.get(item.values)
            if item.after is None:
                if found is not None:
                    dropped.append(item.values)
                continue
            partition = partition_from(item.after, live, ref)
            if found is None:
                added.append(partition)
            else:
                volatile = {
                    k: v for k, v in found.parameters.items() if item.before is None or k not in item.before.parameters
                }
                partition = replace(
                    partition, parameters={**volatile, **partition.parameters}, create_time=found.create_time
                )
                if partition.sd != found.sd or partition.parameters != found.parameters:
                    altered.append(partition)
        if added:
            self._add_partitions(repository, ref, change.physical, added)
        if altered:
            self._metastore.alter_partitions(change.physical, altered)
        if dropped:
            self._metastore.drop_partitions(change.physical, live.partition_keys, dropped)

    def _add_partitions(
        self, repository: Repository, ref: str, name: TableName, partitions: Sequence[Partition]
    ) -> None:
        """Adds partitions of a live table without a directory appearing.

        Where data is, the directory is, and the metastore makes none. A partition without data is added at the ref's
        root, which exists, and then pointed at its place: altering a location makes no directory.
        """

        def has_data(partition: Partition) -> bool:
            path = path_on_ref(partition.sd.location or "")
            return path is None or self._lakefs.has_objects(repository.name, ref, path)

        filled = parallel(self._metastore.parallel, has_data, list(partitions))
        there = [p for p, has in zip(partitions, filled, strict=True) if has]
        empty = [p for p, has in zip(partitions, filled, strict=True) if not has]
        if there:
            self._metastore.add_partitions(name, there)
        if empty:
            waiting = [replace(p, sd=replace(p.sd, location=ref_root(p.sd.location or "", ref))) for p in empty]
            self._metastore.add_partitions(name, waiting)
            self._metastore.alter_partitions(name, empty)

    def _create_on_destination(
        self, repository: Repository, change: MergeTable, live: Table | None
    ) -> Sequence[ItemConflict]:
        """A table born on the source, made at the destination's location; on a mirrored branch it is a mirror."""
        assert change.after is not None
        making = f"merge-{change.merge_id}"
        ref = change.destination.name
        if live is not None and live.parameters.get("metasync.making") != making:
            ignored = self._rules.ignored_parameters(repository.name)
            home = Home(repository.name, ref)
            if content_hash(header_json(header_of(live, home, ignored))) == content_hash(header_json(change.after)):
                return ()
            raise ChangedMeanwhile(f"{change.physical}: was created while the merge was applied")
        table = as_external(table_from(change.after, change.physical.database, change.physical.table, ref), {})
        if self._metastore.get_database(change.physical.database) is None:
            root = ref_root(table.sd.location or "", ref)
            self._metastore.create_database(Database(change.physical.database, root), root)
        self._builder.build(
            Blueprint(
                table=table,
                partitions=lambda: (
                    partition_from(p.after, table, ref)
                    for p in sorted(change.partitions, key=lambda p: p.values)
                    if p.after
                ),
                making=making,
                marks={},
            )
        )
        return ()

    def _drop_on_destination(self, change: MergeTable, live: Table | None, home: Home) -> Sequence[ItemConflict]:
        if live is None:
            return ()
        assert change.before is not None
        ignored = self._rules.ignored_parameters(home.repository)
        same = content_hash(header_json(header_of(live, home, ignored))) == content_hash(header_json(change.before))
        planned = {p.values: p.before for p in change.partitions}
        there = self._metastore.iter_partitions(change.physical, live.partition_keys)
        same = same and {p.values: partition_of(p, live, home, ignored) for p in there} == planned
        if not same or (change.resumed and _stamp(live) != change.stamp):
            raise ChangedMeanwhile(f"{change.physical}: was changed since its drop was planned; it is not dropped")
        self._metastore.drop_table(change.physical)
        return ()


def relative_table(table: Table, home: Home) -> Table:
    """A live table with relative locations and everything else as it is, volatile parameters too."""
    steady = header_of(table, home)
    return replace(steady, parameters={**table.parameters, **_paths(steady, table)}, table_type=table.table_type)


def _paths(steady: Table, table: Table) -> dict[str, str]:
    return {k: v for k, v in steady.parameters.items() if k in table.parameters and "{ref}" in v}


def moved(partition: Partition, home: Home, ref: str) -> Partition:
    """A live partition with its locations moved to another ref."""
    return replace(partition, sd=moved_storage(partition.sd, home, ref))


def _ref_of(table: Table, repository: Repository) -> str:
    """The ref on which a live table lies."""
    return ref_in(real_location(table) or "", repository.name) or ""


def _waiting_room(definition: PartitionDefinition) -> str | None:
    """The ref's root, without a final slash, as the metastore gives it back."""
    where = definition.location
    return ref_root(where, "{ref}").rstrip("/") if where and is_relative(where) else None


def _stamp(table: Table) -> str:
    """Changes with every DDL of a user; our own writes keep it."""
    return table.parameters.get("transient_lastDdlTime", "")


def _owner(change: Change) -> tuple[str, int]:
    """The merge or ref whose books a change keeps open."""
    if isinstance(change, MergeTable | FinishMerge):
        return ("merge", change.merge_id)
    return ("ref", change.ref_id)
