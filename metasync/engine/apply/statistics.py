"""Statistics of a merge's destination, of columns, tables and partitions: the source's where the data is its alone.

Where the merged data is neither side's, what was known of it before is taken away: engines plan by these figures, and
some answer queries from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from metasync.metastore import Metastore
from metasync.model.hms import Partition, PartitionValues, Table
from metasync.planning.changes import CopyStatistics
from metasync.planning.definition import is_statistic
from metasync.planning.discovery import values_of
from metasync.planning.partition_names import partition_name
from metasync.planning.three_way import ItemConflict

NO_STATISTICS: Mapping[str, str] = {}


def copy_statistics(metastore: Metastore, change: CopyStatistics) -> Sequence[ItemConflict]:
    """Copies the statistics of the columns that both tables have alike, and of partitions that both have."""
    source, target = metastore.get_table(change.source), metastore.get_table(change.physical)
    if source is None or target is None or source.partition_keys != target.partition_keys:
        return ()
    _of_columns(metastore, change, source, target)
    parameters = NO_STATISTICS if change.mixed else source.parameters
    # Statistics of columns write a parameter of the table too.
    target = metastore.get_table(change.physical) or target
    wanted = _with_statistics_of(target.parameters, parameters)
    if wanted != target.parameters:
        metastore.alter_table(replace(target, parameters=wanted), was=target)
    if target.partition_keys:
        _of_partitions(metastore, change, target)
    return ()


def _of_columns(metastore: Metastore, change: CopyStatistics, source: Table, target: Table) -> None:
    theirs = {(column.name, column.type) for column in source.sd.cols}
    columns = [column.name for column in target.sd.cols if (column.name, column.type) in theirs]
    every = [column.name for column in target.sd.cols]
    if not target.partition_keys:
        found = () if change.mixed else metastore.get_statistics(change.source, columns)
        metastore.drop_statistics(change.physical, every)
        metastore.put_statistics(change.physical, found)
        return
    names = _names(target, (*change.partitions, *change.mixed_partitions))
    metastore.drop_partition_statistics(change.physical, every, names)
    there = [
        partition_name(target.partition_keys, partition.values)
        for partition in metastore.get_partitions(change.physical, _names(target, change.partitions))
    ]
    if there:
        metastore.copy_partition_statistics(change.source, change.physical, columns, there)


def _of_partitions(metastore: Metastore, change: CopyStatistics, target: Table) -> None:
    """The basic statistics of partitions: parameters of theirs."""
    names = _names(target, change.partitions)
    theirs = {p.values: p for p in metastore.get_partitions(change.source, names)} if names else {}
    known: dict[PartitionValues, Mapping[str, str]] = {values: p.parameters for values, p in theirs.items()}
    altered: list[Partition] = []
    every = _names(target, (*change.partitions, *change.mixed_partitions))
    for partition in metastore.get_partitions(change.physical, every) if every else ():
        wanted = _with_statistics_of(partition.parameters, known.get(partition.values, NO_STATISTICS))
        if wanted != partition.parameters:
            altered.append(replace(partition, parameters=wanted))
    if altered:
        metastore.alter_partitions(change.physical, altered)


def _names(target: Table, directories: Iterable[str]) -> list[str]:
    found = (values_of(path, target.partition_keys) for path in directories)
    return [partition_name(target.partition_keys, values) for values in found if values is not None]


def _with_statistics_of(parameters: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    own = {key: value for key, value in parameters.items() if not is_statistic(key)}
    return own | {key: value for key, value in other.items() if is_statistic(key)}
