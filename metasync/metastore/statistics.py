"""Column statistics: copied from table to table as they are, never shown or logged: their bounds are data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.metastore.calls import Calls
from metasync.model.hms import TableName


class StatisticsCalls(Calls):
    """Reads and writes of column statistics."""

    def copy_statistics(
        self, source: TableName, target: TableName, columns: Sequence[str], partition_names: Sequence[str]
    ) -> None:
        """Copies column statistics, of the table or of its partitions. They are never converted, shown or logged."""
        if not columns:
            return
        if not partition_names:
            request = ttypes.TableStatsRequest(source.database, source.table, list(columns))
            result = self.read("get_table_statistics_req", str(source), lambda c: c.get_table_statistics_req(request))
            if objects := _known_statistics(result.tableStats):
                description = ttypes.ColumnStatisticsDesc(True, target.database, target.table)
                statistics = ttypes.ColumnStatistics(description, objects)
                self.write(
                    "update_table_column_statistics",
                    str(target),
                    lambda c: c.update_table_column_statistics(statistics),
                )
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
