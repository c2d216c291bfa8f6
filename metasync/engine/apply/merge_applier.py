"""Applying merges: one table of a destination from the state that a plan found to the state that it planned.

Before a table is changed it is read again: as the plan found it, it is written; as the plan would leave it, it is done;
each item at one or the other, it is finished; else nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from metasync.engine.apply.databases import Databases
from metasync.engine.apply.partitions import PartitionWriter
from metasync.errors import ChangedMeanwhile, MetastoreError, NotFound
from metasync.metastore import Metastore, TableBuilder
from metasync.metastore.builder import Blueprint
from metasync.model.hms import NO_CONSTRAINTS, Constraints, Database, FieldSchema, Partition, Table, TableName
from metasync.model.lakefs import Repository
from metasync.model.marks import MAKING
from metasync.planning.changes import MergeTable
from metasync.planning.database_places import place_of_table
from metasync.planning.definition import (
    Home,
    PartitionDefinition,
    PartitionMaker,
    PartitionReader,
    changed_table,
    content_hash,
    header_json,
    header_of,
    table_from,
)
from metasync.planning.formats import real_location
from metasync.planning.item_tree import normalised
from metasync.planning.kinds.columns import halfway
from metasync.planning.kinds.constraints import at_home, between, moved_to, names_gone, parents
from metasync.planning.names import physical_name
from metasync.planning.partition_names import partition_name
from metasync.planning.rules import RuleSet
from metasync.planning.table_type import as_external, of_own_type, without_type
from metasync.planning.three_way import ItemConflict

STAMP = "transient_lastDdlTime"


@dataclass(frozen=True)
class _Constraints:
    """Constraints to drop, by their names, and those that shall be there in the end."""

    dropped: tuple[str, ...] = ()
    wanted: Constraints = NO_CONSTRAINTS


class MergeApplier:
    """Writes what merges carry."""

    def __init__(
        self, metastore: Metastore, builder: TableBuilder, partitions: PartitionWriter, rules: RuleSet
    ) -> None:
        self._partitions = partitions
        self._metastore = metastore
        self._builder = builder
        self._rules = rules

    def merge(  # noqa: C901  the steps of one write, in their order
        self, repository: Repository, databases: Databases, change: MergeTable
    ) -> Sequence[ItemConflict]:
        """Brings one table of a merge's destination to its planned state; gives the conflicts that the plan has.

        Raises ChangedMeanwhile where the table is neither as the plan found it nor as it would leave it.
        """
        if change.conflicts:
            return change.conflicts
        if not change.writes:
            if change.resumed and change.before is None:
                self._abandon(change)
            return ()
        home = Home(repository.name, change.destination.name)
        live = self._metastore.get_table(change.physical)
        if change.before is None:
            return self._create_on_destination(repository, databases, change, live)
        if change.after is None:
            return self._drop_on_destination(change, live, home)
        if live is None:
            raise ChangedMeanwhile(f"{change.physical}: is gone; it was there when the merge was planned")
        assert change.before is not None and change.after is not None
        ignored = self._rules.ignored_parameters(repository.name)
        now, planned, before = (_hash(h) for h in (header_of(live, home, ignored), change.after, change.before))
        between = self._between(change)
        # Cut short between two writes of the columns: the rest follows.
        cut_short = between is not None and now == _hash(between)
        if now not in (planned, before) and not cut_short:
            raise ChangedMeanwhile(
                f"{change.physical}: was changed while the merge {change.merge_commit[:12]} was applied"
            )
        if change.resumed and now == before != planned and _stamp(live) != change.stamp:
            # Written before the crash, and then changed back by somebody who did not want it.
            raise ChangedMeanwhile(f"{change.physical}: was changed by somebody after the merge had been applied")
        moved_on = cut_short or (now == planned and planned != before)
        there = self._partitions_now(change, live, home, ignored, header_done=moved_on)
        old_columns = table_from(change.before, "", "", home.ref).sd.cols
        new_columns = table_from(change.after, "", "", home.ref).sd.cols
        explicit = {p.values for p in change.partitions if p.after is not None and p.after.columns is not None}
        constraints = self._constraints_now(repository, change)
        for name in constraints.dropped:
            self._metastore.drop_constraint(change.physical, name)
        spread = bool(live.partition_keys) and old_columns != new_columns
        stands = between if between is not None and cut_short else change.before
        if between is not None and now == before != planned:
            live = self._write(change, live, stands, between, home)
            stands = between
        if now != planned:
            cascade = spread and not explicit and self._all_inherit(change.physical, live)
            live = self._write(change, live, stands, change.after, home, cascade=cascade)
            spread = spread and not cascade
        if spread:
            self._spread_columns(change.physical, live, old_columns, new_columns, explicit)
        self._write_partitions(repository, change, live, there)
        self._builder.add_constraints(change.physical, constraints.wanted)
        return ()

    def _write(
        self, change: MergeTable, live: Table, before: Table, after: Table, home: Home, *, cascade: bool = False
    ) -> Table:
        """Leads the live table from one header to another, and gives it as it is then. Raises ChangedMeanwhile."""
        table = changed_table(live, before, after, home.ref)
        expected = (STAMP, _stamp(live)) if _stamp(live) else None
        self._metastore.alter_table(table, cascade=cascade, was=live, expected=expected)
        found = self._metastore.get_table(change.physical)
        ignored = self._rules.ignored_parameters(home.repository)
        if found is None or _hash(header_of(found, home, ignored)) != _hash(after):
            # Before 4.0 nobody can compare and set: somebody who read the table before wrote it after.
            raise ChangedMeanwhile(f"{change.physical}: was changed by somebody just as it was written")
        return found

    def _between(self, change: MergeTable) -> Table | None:
        """The header that a table has for a moment, where the metastore takes its new columns in two writes alone."""
        assert change.before is not None and change.after is not None
        old, new = change.before.sd.cols, change.after.sd.cols
        if new[: len(old)] == old:
            return None
        columns = halfway(old, new, self._metastore.column_check())
        return replace(change.after, sd=replace(change.after.sd, cols=columns)) if columns is not None else None

    def _constraints_now(self, repository: Repository, change: MergeTable) -> _Constraints:
        """What is to be done about constraints.

        Raises ChangedMeanwhile where they are not what was planned from, NotFound where a key's parent is missing.
        """
        assert change.before is not None and change.after is not None
        before, after = change.before.constraints, change.after.constraints
        if before == after:
            return _Constraints()
        live = self._metastore.get_constraints(change.physical)
        on_destination: dict[TableName, TableName] = {}
        for parent in parents(before) | parents(after):
            found = self._parent(repository, change, parent)
            if found is None:
                raise NotFound(f"{change.physical}: its foreign key needs {parent} on {change.destination}")
            on_destination[parent] = found
        logical_of = {physical: logical for logical, physical in on_destination.items()}
        if not between(at_home(live, logical_of), before, after):
            raise ChangedMeanwhile(f"{change.physical}: its constraints were changed while the merge was applied")
        return _Constraints(names_gone(live, logical_of, after), moved_to(after, on_destination.get))

    def _parent(self, repository: Repository, change: MergeTable, parent: TableName) -> TableName | None:
        if parent == change.logical:
            return change.physical
        rule = self._rules.named(change.rule)
        names = [parent]
        if rule is not None and change.physical != change.logical:
            names = [physical_name(rule.target, repository.name, change.destination, parent), parent]
        return next((name for name in names if self._metastore.get_table(name) is not None), None)

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
            if len(batch) == self._metastore.batch:
                self._metastore.alter_partitions(name, batch)
                batch = []
        if batch:
            self._metastore.alter_partitions(name, batch)

    def _partitions_now(
        self, change: MergeTable, live: Table, home: Home, ignored: tuple[str, ...], *, header_done: bool
    ) -> Mapping[tuple[str, ...], Partition]:
        """The partitions that the change touches, as they are. Raises ChangedMeanwhile."""
        wanted, read = {p.values: p for p in change.partitions}, PartitionReader(live, home, ignored)
        names = [partition_name(live.partition_keys, values) for values in wanted]
        there = {p.values: p for p in self._metastore.get_partitions(change.physical, names)} if names else {}
        for values, planned in wanted.items():
            found = there.get(values)
            now = read(found) if found is not None else None
            sides: tuple[PartitionDefinition | None, ...] = (planned.before, planned.after)
            if now is not None and found is not None and MAKING in found.parameters and planned.after is not None:
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
        added, altered, dropped, make = [], [], [], PartitionMaker(live, ref)
        for item in change.partitions:
            found = there.get(item.values)
            if item.after is None:
                if found is not None:
                    dropped.append(item.values)
                continue
            partition = make(item.after)
            if found is None:
                added.append(partition)
            else:
                known = item.before.parameters if item.before is not None else {}
                volatile = {k: v for k, v in found.parameters.items() if k not in known and k != MAKING}
                partition = replace(
                    partition, parameters={**volatile, **partition.parameters}, create_time=found.create_time
                )
                if partition.sd != found.sd or partition.parameters != found.parameters:
                    altered.append(partition)
        if added:
            self._partitions.add(repository, ref, change.physical, added)
        if altered:
            self._metastore.alter_partitions(change.physical, altered)
        if dropped:
            self._metastore.drop_partitions(change.physical, live.partition_keys, dropped)

    def _create_on_destination(
        self, repository: Repository, databases: Databases, change: MergeTable, live: Table | None
    ) -> Sequence[ItemConflict]:
        """A table created on the source, made at the destination's location and of its own type."""
        assert change.after is not None
        making = _making(change)
        ref = change.destination.name
        if live is not None and live.parameters.get(MAKING) != making:
            ignored = self._rules.ignored_parameters(repository.name)
            home = Home(repository.name, ref)
            if _hash(header_of(live, home, ignored)) == _hash(change.after):
                return ()
            raise ChangedMeanwhile(f"{change.physical}: was created while the merge was applied")
        table = of_own_type(table_from(change.after, change.physical.database, change.physical.table, ref))
        name = change.physical.database
        place = place_of_table(name, change.physical.table, real_location(table) or "", ref)
        on_its_ref = databases.ensure(repository, change.destination, name, lambda: Database(name, place))
        if not on_its_ref and change.physical != change.logical:
            # What engines create in a database that branches share would lie on another ref.
            table = as_external(table)
        after = [p.after for p in sorted(change.partitions, key=lambda p: p.values) if p.after]
        blueprint = Blueprint(
            table=table,
            partitions=lambda: map(PartitionMaker(table, ref), after),
            making=making,
            marks={},
            constraints=moved_to(change.after.constraints, lambda parent: self._parent(repository, change, parent)),
        )
        try:
            self._builder.build(blueprint)
        except MetastoreError:
            self._abandon(change)
            raise
        return ()

    def _abandon(self, change: MergeTable) -> None:
        """Removes what a build was cut short of that nobody will finish: it was refused, or its ref has ended."""
        live = self._metastore.get_table(change.physical)
        if live is not None and live.parameters.get(MAKING) == _making(change):
            self._builder.remove(change.physical, live)

    def _drop_on_destination(self, change: MergeTable, live: Table | None, home: Home) -> Sequence[ItemConflict]:
        if live is None:
            return ()
        assert change.before is not None
        ignored = self._rules.ignored_parameters(home.repository)
        same = _hash(header_of(live, home, ignored)) == _hash(change.before)
        planned = {p.values: p.before for p in change.partitions}
        read = PartitionReader(live, home, ignored)
        there = self._metastore.iter_partitions(change.physical, live.partition_keys)
        same = same and {p.values: read(p) for p in there} == planned
        if not same or (change.resumed and _stamp(live) != change.stamp):
            raise ChangedMeanwhile(f"{change.physical}: was changed since its drop was planned; it is not dropped")
        self._metastore.drop_table(change.physical)
        return ()


def _making(change: MergeTable) -> str:
    return f"merge-{change.merge_id}"


def _hash(header: Table) -> str:
    """The hash of all that comes with the table itself, however it is written down.

    Constraints are compared where they are changed, types never.
    """
    return content_hash(header_json(normalised(without_type(replace(header, constraints=NO_CONSTRAINTS)))))


def _stamp(table: Table) -> str:
    """Changes with every DDL of a user; our own writes keep it."""
    return table.parameters.get(STAMP, "")
