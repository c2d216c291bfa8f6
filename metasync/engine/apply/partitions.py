"""Writing partitions of live tables so that no directory appears on lakeFS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metasync.engine.threads import parallel
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import Partition, TableName
from metasync.model.lakefs import Repository
from metasync.model.marks import MAKING
from metasync.planning.changes import DiscoverPartitions, PlacePartitions
from metasync.planning.definition import PartitionMaker
from metasync.planning.locations import absolute, path_on_ref, ref_root
from metasync.planning.partition_names import partition_name
from metasync.planning.three_way import ItemConflict


class PartitionWriter:
    """Adds and drops partitions' metadata."""

    def __init__(self, lakefs: LakeFS, metastore: Metastore) -> None:
        self._lakefs = lakefs
        self._metastore = metastore

    def add(self, repository: Repository, ref: str, name: TableName, partitions: Sequence[Partition]) -> None:
        """Adds partitions of a live table.

        Where data is, the directory is, and the metastore makes none. A partition without data is added at the ref's
        root, which exists, with the mark of being made, and then pointed at its place: altering a location makes no
        directory.
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
            waiting = [_waiting(p, ref) for p in empty]
            self._metastore.add_partitions(name, waiting)
            self._metastore.alter_partitions(name, empty)

    def place(self, change: PlacePartitions) -> Sequence[ItemConflict]:
        """Points partitions at their places again, each if it still is half-made."""
        table = self._metastore.get_table(change.physical)
        if table is None:
            return ()
        names = [partition_name(table.partition_keys, p.values) for p in change.partitions]
        there = {p.values: p for p in self._metastore.get_partitions(change.physical, names)}
        ref = change.ref.name
        moved = [
            _whole(replace(found, sd=replace(found.sd, location=absolute(p.after.location, ref))))
            for p in change.partitions
            if (found := there.get(p.values)) and p.before and p.after and p.before.location and p.after.location
            if MAKING in found.parameters
        ]
        if moved:
            self._metastore.alter_partitions(change.physical, moved)
        return ()

    def discover(self, repository: Repository, change: DiscoverPartitions) -> Sequence[ItemConflict]:
        """Makes partitions of filled directories and ends those of emptied ones, each if it still is so."""
        table = self._metastore.get_table(change.physical)
        if table is None:
            return ()
        names = [partition_name(table.partition_keys, p.values) for p in change.partitions]
        there = {p.values: p for p in self._metastore.get_partitions(change.physical, names)}
        ref = change.ref.name
        added = [p.after for p in change.partitions if p.after is not None and p.values not in there]
        if added:
            self.add(repository, ref, change.physical, list(map(PartitionMaker(table, ref), added)))
        gone = [
            p.values
            for p in change.partitions
            if p.before is not None and p.after is None and _lies_at(there.get(p.values), p.before.location, ref)
        ]
        empty = [
            values
            for values in gone
            if (path := path_on_ref(there[values].sd.location or ""))
            and not self._lakefs.has_objects(repository.name, ref, path)
        ]
        if empty:
            self._metastore.drop_partitions(change.physical, table.partition_keys, empty)
        return ()


def _waiting(partition: Partition, ref: str) -> Partition:
    """A partition as it is until its last call."""
    root = ref_root(partition.sd.location or "", ref)
    return replace(
        partition, sd=replace(partition.sd, location=root), parameters={**partition.parameters, MAKING: "partition"}
    )


def _whole(partition: Partition) -> Partition:
    return replace(partition, parameters={k: v for k, v in partition.parameters.items() if k != MAKING})


def _lies_at(partition: Partition | None, location: str | None, ref: str) -> bool:
    return partition is not None and location is not None and partition.sd.location == absolute(location, ref)
