"""Column statistics: copied from table to table as they are, never shown or logged: their bounds are data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.errors import NotFound
from metasync.metastore.base_client import BaseClient
from metasync.model.hms import TableName


class StatisticsClient(BaseClient):
    """Reads and writes of column statistics."""

    def get_statistics(self, name: TableName, columns: Sequence[str]) -> Sequence[Any]:
        """A table's column statistics, as they are; nothing where it has none."""
        if not columns:
            return ()
        request = ttypes.TableStatsRequest(name.database, name.table, list(columns))
        result = self.read("get_table_statistics_req", str(name), lambda c: c.get_table_statistics_req(request))
        return _known_statistics(result.tableStats)

    def put_statistics(self, name: TableName, statistics: Sequence[Any]) -> None:
        """Writes column statistics of a table, as another table's were read."""
        description = ttypes.ColumnStatisticsDesc(True, name.database, name.table)
        whole = ttypes.ColumnStatistics(description, list(statistics))
        if statistics:
            self.write("update_table_column_statistics", str(name), lambda c: c.update_table_column_statistics(whole))

    def drop_statistics(self, name: TableName, columns: Sequence[str]) -> None:
        """Drops what statistics a table's columns have; none are no error.

        One by one: for no column in particular 4.2.1 says yes and drops none (seen live).
        """
        request = ttypes.TableStatsRequest(name.database, name.table, list(columns))
        found = self.read("get_table_statistics_req", str(name), lambda c: c.get_table_statistics_req(request))
        for column in [one.colName for one in found.tableStats or ()]:
            self._drop_one("delete_table_column_statistics", name, column)

    def drop_partition_statistics(
        self, name: TableName, columns: Sequence[str], partition_names: Sequence[str]
    ) -> None:
        """Drops what statistics the columns of partitions have."""

        def drop(batch: Sequence[str]) -> None:
            request = ttypes.PartitionsStatsRequest(name.database, name.table, list(columns), list(batch))
            found = self.read(
                "get_partitions_statistics_req", str(name), lambda c: c.get_partitions_statistics_req(request)
            )
            for partition, objects in found.partStats.items():
                for one in objects:
                    self._drop_one("delete_partition_column_statistics", name, partition, one.colName)

        for _ in self.batched(partition_names, drop) if columns else ():
            pass

    def _drop_one(self, call: str, name: TableName, *which: str) -> None:
        with suppress(NotFound):
            self.write(call, str(name), lambda c: getattr(c, call)(name.database, name.table, *which))

    def copy_partition_statistics(
        self, source: TableName, target: TableName, columns: Sequence[str], partition_names: Sequence[str]
    ) -> None:
        """Copies column statistics of partitions. They are never converted, shown or logged."""
        if not columns:
            return

        def copy(batch: Sequence[str]) -> None:
            request = ttypes.PartitionsStatsRequest(source.database, source.table, list(columns), list(batch))
            result = self.read(
                "get_partitions_statistics_req", str(source), lambda c: c.get_partitions_statistics_req(request)
            )
            statistics = [
                ttypes.ColumnStatistics(
                    ttypes.ColumnStatisticsDesc(False, target.database, target.table, partName=name),
                    _known_statistics(objects),
                )
                for name, objects in result.partStats.items()
                if _known_statistics(objects)
            ]
            if statistics:
                request = ttypes.SetPartitionsStatsRequest(colStats=statistics)
                self.write("set_aggr_stats_for", str(target), lambda c: c.set_aggr_stats_for(request))

        for _ in self.batched(partition_names, copy):
            pass


def _known_statistics(objects: Iterable[Any]) -> list[Any]:
    """Statistics of kinds that the bindings know; others (timestamps, since 4.0) come back empty."""
    return [o for o in objects or () if o.statsData is not None and any(vars(o.statsData).values())]
