"""Making a table with its partitions so that no directory marker appears on lakeFS and no object store is asked.

The order was found on running servers (2.3.9 with hadoop-aws on a real lakeFS; 3.1.3, 4.0.1, 4.2.1): create the table
as a view without a location, add the partitions without locations, turn it EXTERNAL with its location, set the
partitions' locations, give it its own type. No version translates that type: what an alter says is stored. Every step
can be repeated, so a build that was cut short is finished by building again; until the last call the table carries
`metasync.making` and is EXTERNAL, so that nobody deletes data by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metasync.errors import AlreadyExists, ForeignTable
from metasync.metastore.client import Metastore
from metasync.metastore.hive3_constraints import NewerKind
from metasync.metastore.read_ahead import Spool, ahead, batches
from metasync.model.hms import NO_CONSTRAINTS, Constraints, Partition, Table, TableName, TableType
from metasync.model.marks import MAKING
from metasync.planning.kinds.constraints import foreign_keys, unique_keys
from metasync.planning.partition_names import partition_name
from metasync.planning.table_type import as_external

_UNREADABLE = "metasync is building this table"
_WHOSE = tuple(f"metasync.{key}" for key in ("instance", "store", "repository", "ref", "incarnation", "name", "table"))


@dataclass(frozen=True)
class Blueprint:
    """A table to make, of its final type; its partitions by values, made as they are written.

    `lies_on_ref`: whether a partition lies on the ref; a table with one that does not becomes EXTERNAL instead.
    `statistics_of` is a table to copy column statistics from.
    """

    table: Table
    partitions: Callable[[], Iterator[Partition]]
    making: str
    marks: dict[str, str]
    constraints: Constraints = NO_CONSTRAINTS
    statistics_of: TableName | None = None
    lies_on_ref: Callable[[Partition], bool] = lambda _: True


class TableBuilder:
    """Builds what a blueprint says, from nothing or from wherever an earlier build stopped."""

    def __init__(self, metastore: Metastore) -> None:
        self._metastore = metastore

    def build(self, blueprint: Blueprint) -> None:
        """Makes or finishes the table. Raises ForeignTable where something that is not this build stands there."""
        table = blueprint.table
        name = table.table_name
        external = as_external(table)
        making = _marked(external, {**blueprint.marks, MAKING: blueprint.making})
        readable, on_ref = self._begin(blueprint, making), True
        if table.partition_keys:
            on_ref = self._add_partitions(blueprint, making, readable)
        else:
            self._add_statistics(blueprint, making, readable)
        self.add_constraints(name, blueprint.constraints)
        self._metastore.finish_table(_marked(table if on_ref else external, blueprint.marks))

    def _begin(self, blueprint: Blueprint, making: Table) -> bool:
        """Makes what nobody can read yet, or finds what an earlier build left; gives whether that is readable."""
        name = making.table_name
        view = replace(
            making,
            sd=replace(making.sd, location=None),
            table_type=TableType.VIEW,
            view_original_text=_UNREADABLE,
            view_expanded_text=_UNREADABLE,
        )
        try:
            self._metastore.create_table(view)
            return False
        except AlreadyExists:
            found = self._metastore.get_table(name)
        if found is not None and self._is_outdated(found, blueprint):
            self.remove(name, found)
            found = None
        if found is None:
            try:
                self._metastore.create_table(view)
                return False
            except AlreadyExists as error:
                raise ForeignTable(f"{name}: somebody created it just now; it is left alone") from error
        if found.parameters.get(MAKING) != blueprint.making or not _ours(found, blueprint):
            raise ForeignTable(f"{name}: stands at the name of a mirror and is not ours; it is left alone")
        return found.table_type != TableType.VIEW

    def _add_partitions(self, blueprint: Blueprint, making: Table, readable: bool) -> bool:
        """Adds the partitions, bare; makes the table readable; points them at their places.

        Gives whether all of them lie on the ref.
        """
        name, keys, on_ref = making.table_name, making.partition_keys, True
        made: Iterator[Sequence[Partition]] = batches(blueprint.partitions(), self._metastore.read_batch)
        with Spool() as spool:
            if not readable:
                # What the partitions are made from is read once, though they are written twice.
                for batch in ahead(made):
                    spool.put(batch)
                    self._metastore.add_partitions(name, [replace(p, sd=replace(p.sd, location=None)) for p in batch])
                self._metastore.finish_table(making)
                made = iter(spool)
            for batch in ahead(made):
                on_ref = on_ref and all(map(blueprint.lies_on_ref, batch))
                self._metastore.alter_partitions(name, batch)
                if blueprint.statistics_of is not None:
                    names = [partition_name(keys, p.values) for p in batch]
                    self._metastore.copy_partition_statistics(blueprint.statistics_of, name, _columns(making), names)
        return on_ref

    def _add_statistics(self, blueprint: Blueprint, making: Table, readable: bool) -> None:
        """Adds what the original has; where nothing is to be added, the last call makes the table readable, too."""
        source = blueprint.statistics_of
        found = self._metastore.get_statistics(source, _columns(making)) if source is not None else ()
        if not readable and (found or blueprint.constraints != NO_CONSTRAINTS):
            self._metastore.finish_table(making)
        self._metastore.put_statistics(making.table_name, found)

    def _is_outdated(self, found: Table, blueprint: Blueprint) -> bool:
        """Whether it is the same mirror, half-built, of another version than the one that is wanted by now."""
        making = found.parameters.get(MAKING, blueprint.making)
        same = bool(blueprint.marks) and all(found.parameters.get(k) == blueprint.marks.get(k) for k in _WHOSE)
        return same and making != blueprint.making

    def remove(self, name: TableName, table: Table) -> None:
        """Removes a table, or what there is of one.

        A half-built one is emptied in batches first: 4.x on Derby cannot drop thousands of partitions that have no
        locations yet.
        """
        if MAKING in table.parameters and table.partition_keys:
            values = [p.values for p in self._metastore.iter_partitions(name, table.partition_keys)]
            self._metastore.drop_partitions(name, table.partition_keys, values)
        self._metastore.drop_table(name)

    def add_constraints(self, name: TableName, wanted: Constraints) -> None:
        """Adds the constraints that are not there yet."""
        if wanted == NO_CONSTRAINTS:
            return
        there = self._metastore.get_constraints(name)
        if wanted.primary_key and not there.primary_key:
            self._metastore.add_primary_key(name, wanted.primary_key)
        present = {tuple((k.column, k.parent) for k in key) for key in foreign_keys(there)}
        for key in foreign_keys(wanted):
            if tuple((k.column, k.parent) for k in key) not in present:
                self._metastore.add_foreign_key(name, key)
        known = {tuple(k.column for k in key) for key in unique_keys(there)}
        for unique in unique_keys(wanted):
            if tuple(k.column for k in unique) not in known:
                self._metastore.add_constraints(name, "unique", unique)
        kinds: tuple[NewerKind, ...] = ("not_null", "default", "check")
        for kind in kinds:
            have = {replace(one, name="") for one in getattr(there, kind)}
            missing = [one for one in getattr(wanted, kind) if replace(one, name="") not in have]
            self._metastore.add_constraints(name, kind, missing)


def _ours(found: Table, blueprint: Blueprint) -> bool:
    return all(found.parameters.get(key) == value for key, value in blueprint.marks.items())


def _marked(table: Table, marks: Mapping[str, str]) -> Table:
    return replace(table, parameters={**table.parameters, **marks})


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.sd.cols]
