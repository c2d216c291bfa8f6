"""The metastore as the engine sees it: values in, values out, one kind of error.

Only calls that every version from 2.3 to 4.x has (reference: seen live on 2.3.9, 3.1.3, 4.0.1, 4.1.0, 4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.errors import ChangedMeanwhile, MetastoreError, NotFound
from metasync.metastore.constraints import ConstraintClient
from metasync.metastore.conversion import (
    database_from,
    database_to,
    partition_from,
    partitions_to,
    table_from,
    table_to,
)
from metasync.metastore.notification_log import NotificationClient
from metasync.metastore.read_ahead import Spool, ahead, batches
from metasync.metastore.statistics import StatisticsClient
from metasync.model.hms import (
    Database,
    FieldSchema,
    Partition,
    PartitionValues,
    Table,
    TableName,
)
from metasync.planning.partition_names import partition_name, values_of_name

_TABLES_AT_ONCE = 200
_ACID_INSERT_ONLY = ttypes.ClientCapabilities(values=[ttypes.ClientCapability.TEST_CAPABILITY, 2])
"""Without capability 2, a 3.1 metastore fails a whole bulk read for one insert-only table."""


class Metastore(ConstraintClient, StatisticsClient, NotificationClient):
    """Reads and writes of one Hive Metastore."""

    # Databases

    def get_all_databases(self) -> tuple[str, ...]:
        return tuple(self.read("get_all_databases", "the databases", lambda c: c.get_all_databases()))

    def get_database(self, name: str) -> Database | None:
        try:
            return database_from(self.read("get_database", name, lambda c: c.get_database(name)))
        except NotFound:
            return None

    def create_database(self, database: Database) -> None:
        """Creates a database; a directory too, where nothing lies at or below its location. Raises AlreadyExists."""
        self.write("create_database", database.name, lambda c: c.create_database(database_to(database)))

    def alter_database(self, database: Database) -> None:
        """Writes a database's definition; 2.3 ignores its location, no version looks at it."""
        self.write("alter_database", database.name, lambda c: c.alter_database(database.name, database_to(database)))

    def drop_empty_database(self, name: str) -> bool:
        """Drops a database that has no tables, its data never. False where it is not empty or not there."""
        if self.get_database(name) is None or self.get_all_tables(name):
            return False
        self.write("drop_database", name, lambda c: c.drop_database(name, False, False))
        return True

    # Tables

    def get_all_tables(self, database: str) -> tuple[str, ...]:
        return tuple(self.read("get_all_tables", database, lambda c: c.get_all_tables(database)))

    def get_tables(self, database: str, names: Sequence[str]) -> tuple[Table, ...]:
        """The tables of those names that exist, read in bulk.

        A bulk read that the server refuses is done one by one, so that a single bad table is named in the error.
        """
        found: list[Table] = []
        for start in range(0, len(names), _TABLES_AT_ONCE):
            some = list(names[start : start + _TABLES_AT_ONCE])
            request = ttypes.GetTablesRequest(dbName=database, tblNames=some, capabilities=_ACID_INSERT_ONLY)

            def bulk(client: Any, request: Any = request) -> Any:
                return client.get_table_objects_by_name_req(request)

            try:
                result = self.read("get_table_objects_by_name_req", database, bulk)
                found += [table_from(struct) for struct in result.tables]
            except NotFound:
                return ()
            except MetastoreError:
                one_by_one = (self.get_table(TableName(database, name)) for name in some)
                found += [table for table in one_by_one if table is not None]
        return tuple(found)

    def get_table(self, name: TableName) -> Table | None:
        struct = self._get_struct(name)
        return table_from(struct) if struct is not None else None

    def create_table(self, table: Table) -> None:
        """Creates a table as it is given. Raises AlreadyExists."""
        self.write("create_table", str(table.table_name), lambda c: c.create_table(table_to(table)))

    def alter_table(
        self,
        table: Table,
        *,
        cascade: bool = False,
        was: Table | None = None,
        expected: tuple[str, str] | None = None,
    ) -> None:
        """Writes a table's definition over the one that is there; with `cascade`, its columns to its partitions too.

        `was` is the table that the change was made for: it is read once more. `expected` is a parameter and the
        value that the table must still have: 4.0 and later compare and set, earlier ones do not (seen on 3.1.3);
        there, DDL between that read and the write is not seen. Raises NotFound, Incompatible, ChangedMeanwhile.
        """
        over = self._get_struct(table.table_name)
        if over is None:
            raise NotFound(f"{table.table_name}: the table is gone")
        if was is not None and table_from(over) != was:
            raise ChangedMeanwhile(f"{table.table_name}: was changed by somebody just before it was written")
        properties = {"DO_NOT_UPDATE_STATS": "true"} | ({"CASCADE": "true"} if cascade else {})
        if expected is not None and expected[0] in table.parameters:
            properties |= {"expected_parameter_key": expected[0], "expected_parameter_value": expected[1]}
        self._write_table(table.table_name, table_to(table, over), properties)

    def finish_table(self, table: Table) -> None:
        """Writes a table that this process is making: nobody else has put anything into it that could be lost."""
        self._write_table(table.table_name, table_to(table), {"DO_NOT_UPDATE_STATS": "true"})

    def _write_table(self, name: TableName, struct: Any, properties: dict[str, str]) -> None:
        environment = ttypes.EnvironmentContext(properties=properties)
        self.write(
            "alter_table",
            str(name),
            lambda c: c.alter_table_with_environment_context(name.database, name.table, struct, environment),
        )

    def drop_table(self, name: TableName) -> bool:
        """Drops a table's metadata, its data never. False where it was gone already."""
        try:
            self.write(
                "drop_table",
                str(name),
                lambda c: c.drop_table_with_environment_context(name.database, name.table, False, None),
            )
        except NotFound:
            return False
        return True

    # Partitions

    def get_partition_names(self, name: TableName) -> tuple[str, ...]:
        """Names of all partitions. Raises NotFound for a missing table, which 4.x itself answers with an empty list."""
        names: tuple[str, ...] = ()
        failure: MetastoreError | None = None
        try:
            names = tuple(
                self.read(
                    "get_partition_names", str(name), lambda c: c.get_partition_names(name.database, name.table, -1)
                )
            )
        except MetastoreError as error:
            failure = error
        if not names and self._get_struct(name) is None:
            raise NotFound(f"{name}: the table is gone") from failure
        if failure is not None:
            raise failure
        return names

    def get_partitions(self, name: TableName, names: Sequence[str]) -> tuple[Partition, ...]:
        """The partitions of those names that exist; in batches, halved where the server finds them too large."""

        def read(batch: Sequence[str]) -> list[Partition]:
            structs = self.read(
                "get_partitions_by_names",
                str(name),
                lambda c: c.get_partitions_by_names(name.database, name.table, list(batch)),
            )
            return [partition_from(struct) for struct in structs]

        return tuple(p for batch in self.batched(names, read, self.read_batch) for p in batch)

    def iter_partitions(self, name: TableName, keys: Sequence[FieldSchema]) -> Iterator[Partition]:
        """All partitions sorted by their values, two batches in memory at a time, and at first all names."""
        if not keys:
            return
        with Spool() as names:
            for batch in batches(iter(self._sorted_partition_names(name)), self.read_batch):
                names.put(batch)
            for some in ahead(self.get_partitions(name, batch) for batch in names):
                yield from sorted(some, key=lambda partition: partition.values)

    def _sorted_partition_names(self, name: TableName) -> Sequence[str]:
        """In the order of their values: the server's, but for escaped characters; a copy of a million is spared."""
        names = self.get_partition_names(name)
        if any(values_of_name(one) > values_of_name(next_) for one, next_ in pairwise(names)):
            return sorted(names, key=values_of_name)
        return names

    def add_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        """Adds partitions; those that exist already are left as they are."""

        def add(batch: Sequence[Partition]) -> None:
            request = ttypes.AddPartitionsRequest(
                dbName=name.database,
                tblName=name.table,
                parts=partitions_to(batch, name),
                ifNotExists=True,
                needResult=False,
            )
            self.write("add_partitions_req", str(name), lambda c: c.add_partitions_req(request))

        for _ in self.batched(partitions, add):
            pass

    def alter_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        """Writes definitions over those of existing partitions; no directory is made for a new location."""
        environment = ttypes.EnvironmentContext(properties={"DO_NOT_UPDATE_STATS": "true"})

        def alter(batch: Sequence[Partition]) -> None:
            structs = partitions_to(batch, name)
            self.write(
                "alter_partitions",
                str(name),
                lambda c: c.alter_partitions_with_environment_context(name.database, name.table, structs, environment),
            )

        for _ in self.batched(partitions, alter):
            pass

    def drop_partitions(self, name: TableName, keys: Sequence[FieldSchema], values: Sequence[PartitionValues]) -> None:
        """Drops partitions' metadata, their data never; those that are gone already are no error."""

        def drop(batch: Sequence[PartitionValues]) -> None:
            request = ttypes.DropPartitionsRequest(
                dbName=name.database,
                tblName=name.table,
                parts=ttypes.RequestPartsSpec(names=[partition_name(keys, one) for one in batch]),
                deleteData=False,
                ifExists=True,
                needResult=False,
            )
            self.write("drop_partitions_req", str(name), lambda c: c.drop_partitions_req(request))

        for _ in self.batched(values, drop):
            pass

    def _get_struct(self, name: TableName) -> Any:
        request = ttypes.GetTableRequest(name.database, name.table, capabilities=_ACID_INSERT_ONLY)
        try:
            return self.read("get_table_req", str(name), lambda c: c.get_table_req(request)).table
        except NotFound:
            return None
