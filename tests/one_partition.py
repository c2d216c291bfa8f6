"""One partition at a time, as the code reads and makes them by the thousand."""

from __future__ import annotations

from metasync.model.hms import Partition, Table
from metasync.planning.definition import Home, PartitionDefinition, PartitionMaker, PartitionReader


def partition_of(partition: Partition, table: Table, home: Home, ignored: tuple[str, ...] = ()) -> PartitionDefinition:
    return PartitionReader(table, home, ignored)(partition)


def partition_from(definition: PartitionDefinition, table: Table, ref: str) -> Partition:
    return PartitionMaker(table, ref)(definition)
