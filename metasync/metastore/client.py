"""The metastore as the engine sees it: values in, values out, one kind of error.

Only calls that every version from 2.3 to 4.x has (reference: seen live on 2.3.9, 3.1.3, 4.0.1, 4.1.0, 4.2.1). Reads
are tried again on a fresh connection; a write whose answer was lost is not, as nobody can know whether it was done:
the engine looks again instead.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from hmsclient.genthrift.hive_metastore import ttypes
from thrift.Thrift import TApplicationException, TException
from thrift.transport.TTransport import TTransportException

from metasync.errors import (
    AlreadyExists,
    Incompatible,
    MetastoreError,
    MetastoreUnavailable,
    NotFound,
)
from metasync.metastore.connection import ConnectionPool
from metasync.metastore.conversion import (
    database_from,
    database_to,
    partition_from,
    partition_to,
    table_from,
    table_to,
)
from metasync.model.hms import (
    Constraints,
    Database,
    FieldSchema,
    ForeignKeyColumn,
    Partition,
    PartitionValues,
    PrimaryKeyColumn,
    Table,
    TableName,
)

T = TypeVar("T")
R = TypeVar("R")
_TABLES_AT_ONCE = 200
_READ_ATTEMPTS = 3
_ACID_INSERT_ONLY = ttypes.ClientCapabilities(values=[ttypes.ClientCapability.TEST_CAPABILITY, 2])
"""Without capability 2, a 3.1 metastore fails a whole bulk read for one insert-only table."""


class CallObserver(Protocol):
    """Told about every call, for metrics."""

    def __call__(self, call: str, seconds: float, ok: bool) -> None: ...


class Metastore:
    """Reads and writes of one Hive Metastore through a pool of connections."""

    def __init__(
        self, pool: ConnectionPool, *, partition_batch: int = 500, observe_call: CallObserver | None = None
    ) -> None:
        self._pool = pool
        self._batch = partition_batch
        self._observe = observe_call or (lambda call, seconds, ok: None)
        self.parallel = pool.size

    # Databases

    def ping(self) -> str:
        """The server's version as it tells it; 2.3 has only a number for the protocol. Raises when it is away."""
        return str(self._read("getVersion", "the version", lambda c: c.getVersion()))

    def get_all_databases(self) -> tuple[str, ...]:
        return tuple(self._read("get_all_databases", "the databases", lambda c: c.get_all_databases()))

    def get_database(self, name: str) -> Database | None:
        try:
            return database_from(self._read("get_database", name, lambda c: c.get_database(name)))
        except NotFound:
            return None

    def create_database(self, database: Database, existing_location: str) -> None:
        """Creates a database without a directory: first at one that exists, then pointed at its own location.

        Raises AlreadyExists.
        """
        first = database_to(database)
        first.locationUri = existing_location
        self._write("create_database", database.name, lambda c: c.create_database(first))
        if database.location_uri != existing_location:
            self.alter_database(database)

    def alter_database(self, database: Database) -> None:
        self._write("alter_database", database.name, lambda c: c.alter_database(database.name, database_to(database)))

    def drop_empty_database(self, name: str) -> bool:
        """Drops a database that has no tables, its data never. False where it is not empty or not there."""
        if self.get_database(name) is None or self.get_all_tables(name):
            return False
        self._write("drop_database", name, lambda c: c.drop_database(name, False, False))
        return True

    # Tables

    def get_all_tables(self, database: str) -> tuple[str, ...]:
        return tuple(self._read("get_all_tables", database, lambda c: c.get_all_tables(database)))

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
                result = self._read("get_table_objects_by_name_req", database, bulk)
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
        self._write("create_table", str(table.table_name), lambda c: c.create_table(table_to(table)))

    def alter_table(self, table: Table, *, cascade: bool = False) -> None:
        """Writes a table's definition over the one that is there; with `cascade`, its columns to its partitions too.

        Raises NotFound, Incompatible.
        """
        over = self._get_struct(table.table_name)
        if over is None:
            raise NotFound(f"{table.table_name}: the table is gone")
        properties = {"DO_NOT_UPDATE_STATS": "true"} | ({"CASCADE": "true"} if cascade else {})
        environment = ttypes.EnvironmentContext(properties=properties)
        self._write(
            "alter_table",
            str(table.table_name),
            lambda c: c.alter_table_with_environment_context(
                table.database, table.name, table_to(table, over), environment
            ),
        )

    def drop_table(self, name: TableName) -> bool:
        """Drops a table's metadata, its data never. False where it was gone already."""
        try:
            self._write(
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
                self._read(
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
            structs = self._read(
                "get_partitions_by_names",
                str(name),
                lambda c: c.get_partitions_by_names(name.database, name.table, list(batch)),
            )
            return [partition_from(struct) for struct in structs]

        return tuple(p for batch in self._batched(names, read) for p in batch)

    def iter_partitions(self, name: TableName, keys: Sequence[FieldSchema]) -> Iterator[Partition]:
        """All partitions sorted by their values, a batch in memory at a time."""
        if not keys:
            return
        names = sorted(self.get_partition_names(name), key=values_of_name)
        for start in range(0, len(names), self._batch):
            some = self.get_partitions(name, names[start : start + self._batch])
            yield from sorted(some, key=lambda partition: partition.values)

    def add_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        """Adds partitions; those that exist already are left as they are."""

        def add(batch: Sequence[Partition]) -> None:
            request = ttypes.AddPartitionsRequest(
                dbName=name.database,
                tblName=name.table,
                parts=[partition_to(p, name.database, name.table) for p in batch],
                ifNotExists=True,
                needResult=False,
            )
            self._write("add_partitions_req", str(name), lambda c: c.add_partitions_req(request))

        for _ in self._batched(partitions, add):
            pass

    def alter_partitions(self, name: TableName, partitions: Sequence[Partition]) -> None:
        """Writes definitions over those of existing partitions; no directory is made for a new location."""
        environment = ttypes.EnvironmentContext(properties={"DO_NOT_UPDATE_STATS": "true"})

        def alter(batch: Sequence[Partition]) -> None:
            structs = [partition_to(p, name.database, name.table) for p in batch]
            self._write(
                "alter_partitions",
                str(name),
                lambda c: c.alter_partitions_with_environment_context(name.database, name.table, structs, environment),
            )

        for _ in self._batched(partitions, alter):
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
            self._write("drop_partitions_req", str(name), lambda c: c.drop_partitions_req(request))

        for _ in self._batched(values, drop):
            pass

    # Statistics and constraints

    def copy_statistics(
        self, source: TableName, target: TableName, columns: Sequence[str], partition_names: Sequence[str]
    ) -> None:
        """Copies column statistics, of the table or of its partitions. They are never converted, shown or logged."""
        if not columns:
            return
        if not partition_names:
            request = ttypes.TableStatsRequest(source.database, source.table, list(columns))
            result = self._read("get_table_statistics_req", str(source), lambda c: c.get_table_statistics_req(request))
            if objects := _known_statistics(result.tableStats):
                description = ttypes.ColumnStatisticsDesc(True, target.database, target.table)
                statistics = ttypes.ColumnStatistics(description, objects)
                self._write(
                    "update_table_column_statistics",
                    str(target),
                    lambda c: c.update_table_column_statistics(statistics),
                )
            return

        def copy(batch: Sequence[str]) -> None:
            request = ttypes.PartitionsStatsRequest(source.database, source.table, list(columns), list(batch))
            result = self._read(
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
                self._write("set_aggr_stats_for", str(target), lambda c: c.set_aggr_stats_for(request))

        for _ in self._batched(partition_names, copy):
            pass

    def get_constraints(self, name: TableName) -> Constraints:
        primary = ttypes.PrimaryKeysRequest(name.database, name.table)
        foreign = ttypes.ForeignKeysRequest(foreign_db_name=name.database, foreign_tbl_name=name.table)
        keys = self._read("get_primary_keys", str(name), lambda c: c.get_primary_keys(primary)).primaryKeys
        fks = self._read("get_foreign_keys", str(name), lambda c: c.get_foreign_keys(foreign)).foreignKeys
        return Constraints(
            primary_key=tuple(
                PrimaryKeyColumn(
                    k.column_name, k.key_seq, k.pk_name, bool(k.enable_cstr), bool(k.validate_cstr), bool(k.rely_cstr)
                )
                for k in keys or ()
            ),
            foreign_keys=tuple(
                ForeignKeyColumn(
                    column=k.fkcolumn_name,
                    key_seq=k.key_seq,
                    name=k.fk_name,
                    parent=TableName(k.pktable_db, k.pktable_name),
                    parent_column=k.pkcolumn_name,
                    pk_name=k.pk_name,
                    update_rule=k.update_rule or 0,
                    delete_rule=k.delete_rule or 0,
                    enable=bool(k.enable_cstr),
                    validate=bool(k.validate_cstr),
                    rely=bool(k.rely_cstr),
                )
                for k in fks or ()
            ),
        )

    def add_primary_key(self, name: TableName, key: Sequence[PrimaryKeyColumn]) -> None:
        """Adds a primary key under a name that the server makes: names are unique in a whole metastore."""
        columns = [
            ttypes.SQLPrimaryKey(name.database, name.table, k.column, k.key_seq, None, k.enable, k.validate, k.rely)
            for k in key
        ]
        request = ttypes.AddPrimaryKeyRequest(primaryKeyCols=columns)
        self._write("add_primary_key", str(name), lambda c: c.add_primary_key(request))

    def add_foreign_key(self, name: TableName, key: Sequence[ForeignKeyColumn]) -> None:
        """Adds one foreign key, its columns in order."""
        columns = [
            ttypes.SQLForeignKey(
                k.parent.database,
                k.parent.table,
                k.parent_column,
                name.database,
                name.table,
                k.column,
                k.key_seq,
                k.update_rule,
                k.delete_rule,
                None,
                None,
                k.enable,
                k.validate,
                k.rely,
            )
            for k in key
        ]
        request = ttypes.AddForeignKeyRequest(foreignKeyCols=columns)
        self._write("add_foreign_key", str(name), lambda c: c.add_foreign_key(request))

    def close(self) -> None:
        self._pool.close()

    # How calls are made

    def _get_struct(self, name: TableName) -> Any:
        request = ttypes.GetTableRequest(name.database, name.table, capabilities=_ACID_INSERT_ONLY)
        try:
            return self._read("get_table_req", str(name), lambda c: c.get_table_req(request)).table
        except NotFound:
            return None

    def _read(self, call: str, subject: str, do: Callable[[Any], R]) -> R:
        """A call that changes nothing: tried again on a fresh connection where the transport failed."""
        for attempt in range(_READ_ATTEMPTS):
            try:
                return self._call(call, subject, do, fresh=attempt > 0)
            except MetastoreUnavailable:
                if attempt == _READ_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _write(self, call: str, subject: str, do: Callable[[Any], R]) -> R:
        return self._call(call, subject, do, fresh=False)

    def _call(self, call: str, subject: str, do: Callable[[Any], R], *, fresh: bool) -> R:
        start, ok = time.perf_counter(), False
        try:
            with _translated(call, subject), self._pool.connection(fresh=fresh) as connection:
                result = do(connection.client)
                ok = True
                return result
        finally:
            self._observe(call, time.perf_counter() - start, ok)

    def _batched(self, items: Sequence[T], do: Callable[[Sequence[T]], R]) -> Iterator[R]:
        """Calls `do` on batches; one that the server fails is halved until a single item fails."""
        pending = [items[start : start + self._batch] for start in range(0, len(items), self._batch)]
        pending.reverse()
        while pending:
            batch = pending.pop()
            try:
                yield do(batch)
            except (NotFound, AlreadyExists, Incompatible):
                raise
            except MetastoreError:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                pending += [batch[half:], batch[:half]]


@contextlib.contextmanager
def _translated(call: str, subject: str) -> Iterator[None]:
    """Turns what thrift and the metastore raise into our errors, naming call and subject."""
    try:
        yield
    except (TTransportException, OSError) as error:
        raise MetastoreUnavailable(f"{subject}: {call}: the metastore did not answer ({error})") from error
    except (ttypes.NoSuchObjectException, ttypes.UnknownDBException, ttypes.UnknownTableException) as error:
        raise NotFound(f"{subject}: {call}: {error.message}") from error
    except ttypes.AlreadyExistsException as error:
        raise AlreadyExists(f"{subject}: {call}: {error.message}") from error
    except ttypes.InvalidOperationException as error:
        message = error.message or ""
        if re.search(r"doesn't exist|does not exist|not found", message, re.I):
            raise NotFound(f"{subject}: {call}: {message}") from error
        raise Incompatible(f"{subject}: {call}: {message}") from error
    except ttypes.MetaException as error:
        message = error.message or ""
        raise MetastoreError(f"{subject}: {call}: {message.splitlines()[0] if message else 'MetaException'}") from error
    except TApplicationException as error:
        if call == "get_partitions_by_names" and int(error.type) == TApplicationException.MISSING_RESULT:
            raise NotFound(f"{subject}: {call}: the table is gone") from error
        raise MetastoreError(f"{subject}: {call}: {error.message}") from error
    except TException as error:
        raise MetastoreError(f"{subject}: {call}: {getattr(error, 'message', error)}") from error


def _known_statistics(objects: Iterable[Any]) -> list[Any]:
    """Statistics of kinds that the bindings know; others (timestamps, since 4.0) come back empty."""
    return [o for o in objects or () if o.statsData is not None and any(vars(o.statsData).values())]


_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_MUST_ESCAPE = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]")
DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def values_of_name(name: str) -> PartitionValues:
    """`dt=2024%3A01/c=x` -> ("2024:01", "x")."""
    parts = (part.partition("=")[2] for part in name.split("/"))
    return tuple(_ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), part) for part in parts)


def partition_name(keys: Sequence[FieldSchema], values: PartitionValues) -> str:
    """The name HMS gives a partition; its characters are escaped as Hive's FileUtils does."""

    def escape(text: str) -> str:
        return _MUST_ESCAPE.sub(lambda match: f"%{ord(match.group()):02X}", text) if text else DEFAULT_PARTITION

    return "/".join(f"{escape(key.name.lower())}={escape(v)}" for key, v in zip(keys, values, strict=True))
