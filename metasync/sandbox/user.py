"""What people do, for the demo and the tests: branches, commits and merges on lakeFS, tables in the metastore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lakefs_sdk
from pydantic import SecretStr

from metasync.lakefs import LakeFS
from metasync.metastore import ConnectionPool, Metastore
from metasync.model.hms import (
    Database,
    FieldSchema,
    Partition,
    PartitionValues,
    SerDeInfo,
    StorageDescriptor,
    Table,
    TableName,
    TableType,
)
from metasync.settings.models import LakeFS as LakeFSSettings
from metasync.settings.models import Metastore as MetastoreSettings

PARQUET = {
    "input_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "output_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "library": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
}


class LakeUser:
    """Somebody who works on a lakeFS repository."""

    def __init__(self, url: str, access_key_id: str, secret_access_key: str, repository: str) -> None:
        settings = LakeFSSettings(
            endpoint_url=url, access_key_id=access_key_id, secret_access_key=SecretStr(secret_access_key)
        )
        self.lakefs = LakeFS(settings)
        self.repository = repository

    def create_repository(self) -> None:
        """Makes the repository; one that exists is used as it is."""
        creation = lakefs_sdk.RepositoryCreation(name=self.repository, storage_namespace=f"local://{self.repository}")
        if self.lakefs.get_repository(self.repository) is None:
            self._do("create_repository", self.lakefs.repositories.create_repository, creation)

    def create_branch(self, name: str, source: str = "main") -> None:
        creation = lakefs_sdk.BranchCreation(name=name, source=source)
        self._do("create_branch", self.lakefs.branches.create_branch, self.repository, creation)

    def delete_branch(self, name: str) -> None:
        self._do("delete_branch", self.lakefs.branches.delete_branch, self.repository, name)

    def create_tag(self, name: str, ref: str = "main") -> None:
        self._do("create_tag", self.lakefs.tags.create_tag, self.repository, lakefs_sdk.TagCreation(id=name, ref=ref))

    def delete_tag(self, name: str) -> None:
        self._do("delete_tag", self.lakefs.tags.delete_tag, self.repository, name)

    def upload(self, branch: str, path: str, content: str = "x") -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "object"
            file.write_text(content, encoding="utf-8")
            upload = self.lakefs.objects.upload_object
            self._do("upload_object", upload, self.repository, branch, path, content=str(file))

    def commit(self, branch: str, message: str = "data") -> str:
        creation = lakefs_sdk.CommitCreation(message=message)
        return str(self._do("commit", self.lakefs.commits.commit, self.repository, branch, creation).id)

    def write(self, branch: str, *paths: str, message: str = "data") -> str:
        """Uploads objects and commits them; gives the commit."""
        for path in paths:
            self.upload(branch, path, f"{message} {path}")
        return self.commit(branch, message)

    def delete(self, branch: str, *paths: str, message: str = "deleted") -> str:
        """Deletes objects and commits that; gives the commit."""
        for path in paths:
            self._do("delete_object", self.lakefs.objects.delete_object, self.repository, branch, path)
        return self.commit(branch, message)

    def merge(self, source: str, destination: str = "main", **options: Any) -> str:
        body = lakefs_sdk.Merge(**options) if options else None
        merge = self.lakefs.refs.merge_into_branch
        return str(self._do("merge", merge, self.repository, source, destination, merge=body).reference)

    def revert(self, branch: str, ref: str, parent: int = 0) -> None:
        creation = lakefs_sdk.RevertCreation(ref=ref, parent_number=parent)
        self._do("revert", self.lakefs.branches.revert_branch, self.repository, branch, creation)

    def cherry_pick(self, branch: str, ref: str) -> None:
        creation = lakefs_sdk.CherryPickCreation(ref=ref)
        self._do("cherry_pick", self.lakefs.branches.cherry_pick, self.repository, branch, creation)

    def hard_reset(self, branch: str, ref: str) -> None:
        reset = lakefs_sdk.ExperimentalApi(self.lakefs.branches.api_client).hard_reset_branch
        self._do("hard_reset", reset, self.repository, branch, ref)

    def delete_repository(self) -> None:
        self._do("delete_repository", self.lakefs.repositories.delete_repository, self.repository)

    def head(self, branch: str) -> str:
        return str(self._do("get_branch", self.lakefs.branches.get_branch, self.repository, branch).commit_id)

    def uncommitted(self, branch: str) -> list[str]:
        page = self._do("diff_branch", self.lakefs.branches.diff_branch, self.repository, branch)
        return [row.path for row in page.results]

    def _do(self, name: str, function: Any, *arguments: Any, **options: Any) -> Any:
        return self.lakefs.once(name, self.repository, function, *arguments, **options)


class TableUser:
    """Somebody who works on tables, as Hive or Spark would."""

    def __init__(self, uri: str) -> None:
        self.metastore = Metastore(ConnectionPool(MetastoreSettings(uris=[uri])))

    def create_database(self, name: str, location: str) -> None:
        self.metastore.create_database(Database(name, location))

    def create_table(
        self,
        name: str,
        location: str,
        columns: Iterable[tuple[str, str]],
        keys: Iterable[tuple[str, str]] = (),
        **parameters: str,
    ) -> Table:
        """A managed Parquet table."""
        parsed = TableName.parse(name)
        sd = StorageDescriptor(
            cols=tuple(FieldSchema(*column) for column in columns),
            location=location,
            input_format=PARQUET["input_format"],
            output_format=PARQUET["output_format"],
            serde_info=SerDeInfo(serialization_lib=PARQUET["library"], parameters={"serialization.format": "1"}),
        )
        keys_ = tuple(FieldSchema(*key) for key in keys)
        made = Table(parsed.database, parsed.table, sd, keys_, parameters, TableType.MANAGED, owner="ana")
        self.metastore.create_table(made)
        return self.table(name)

    def table(self, name: str) -> Table:
        found = self.metastore.get_table(TableName.parse(name))
        if found is None:
            raise LookupError(name)
        return found

    def exists(self, name: str) -> bool:
        return self.metastore.get_table(TableName.parse(name)) is not None

    def columns(self, name: str) -> list[str]:
        return [column.name for column in self.table(name).sd.cols]

    def add_column(self, name: str, column: str, kind: str, *, cascade: bool = True) -> None:
        table = self.table(name)
        self._set_columns(table, (*table.sd.cols, FieldSchema(column, kind)), cascade=cascade)

    def drop_column(self, name: str, column: str) -> None:
        table = self.table(name)
        self._set_columns(table, tuple(c for c in table.sd.cols if c.name != column), cascade=True)

    def set_parameter(self, name: str, key: str, value: str | None) -> None:
        table = self.table(name)
        parameters = {k: v for k, v in table.parameters.items() if k != key}
        self.metastore.alter_table(replace(table, parameters=parameters | ({key: value} if value is not None else {})))

    def add_partitions(self, name: str, *values: PartitionValues) -> None:
        table = self.table(name)
        made = []
        for one in values:
            path = "/".join(f"{key.name}={value}" for key, value in zip(table.partition_keys, one, strict=True))
            made.append(Partition(one, replace(table.sd, location=f"{table.sd.location}/{path}")))
        self.metastore.add_partitions(table.table_name, made)

    def drop_partitions(self, name: str, *values: PartitionValues) -> None:
        table = self.table(name)
        self.metastore.drop_partitions(table.table_name, table.partition_keys, values)

    def partitions(self, name: str) -> list[PartitionValues]:
        table = self.table(name)
        return [p.values for p in self.metastore.iter_partitions(table.table_name, table.partition_keys)]

    def partition(self, name: str, *values: str) -> Partition:
        table = self.table(name)
        for found in self.metastore.iter_partitions(table.table_name, table.partition_keys):
            if found.values == values:
                return found
        raise LookupError(f"{name} {values}")

    def drop_table(self, name: str) -> None:
        self.metastore.drop_table(TableName.parse(name))

    def databases(self) -> list[str]:
        return sorted(self.metastore.get_all_databases())

    def tables(self, database: str) -> list[str]:
        return sorted(self.metastore.get_all_tables(database))

    def _set_columns(self, table: Table, columns: tuple[FieldSchema, ...], *, cascade: bool) -> None:
        changed = replace(table, sd=replace(table.sd, cols=columns))
        # Who reads a table and writes it back must not write over what came in between.
        self.metastore.alter_table(changed, cascade=cascade and bool(table.partition_keys), was=table)
