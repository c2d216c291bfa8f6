"""Column statistics of a merge's destination: the source's, where the merged data is the source's alone."""

from __future__ import annotations

from collections.abc import Sequence

from metasync.metastore import Metastore
from metasync.planning.changes import CopyStatistics
from metasync.planning.discovery import values_of
from metasync.planning.partition_names import partition_name
from metasync.planning.three_way import ItemConflict


def copy_statistics(metastore: Metastore, change: CopyStatistics) -> Sequence[ItemConflict]:
    """Copies the statistics of the columns that both tables have alike, for partitions that both have."""
    source, target = metastore.get_table(change.source), metastore.get_table(change.physical)
    if source is None or target is None or source.partition_keys != target.partition_keys:
        return ()
    theirs = {(column.name, column.type) for column in source.sd.cols}
    columns = [column.name for column in target.sd.cols if (column.name, column.type) in theirs]
    if not target.partition_keys:
        metastore.put_statistics(change.physical, metastore.get_statistics(change.source, columns))
        return ()
    found = (values_of(path, target.partition_keys) for path in change.partitions)
    names = [partition_name(target.partition_keys, values) for values in found if values is not None]
    there = [partition_name(target.partition_keys, p.values) for p in metastore.get_partitions(change.physical, names)]
    if there:
        metastore.copy_partition_statistics(change.source, change.physical, columns, there)
    return ()
