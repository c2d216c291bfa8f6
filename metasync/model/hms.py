"""What the Hive Metastore holds, field for field, in its own words.

Field names follow the Thrift IDL in snake case. Absent and empty are kept apart only where the metastore keeps them
apart. Fields that only the server writes (write ids, catalog name, table id) are not here: the adapter lays a changed
value over the struct that the server gave, so they are never lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PartitionValues = tuple[str, ...]
"""The values of a partition's keys, in the keys' order. Compared as a list, never joined to a string."""


class TableType(StrEnum):
    """The table types that HMS writes itself; it stores others as they are sent."""

    MANAGED = "MANAGED_TABLE"
    EXTERNAL = "EXTERNAL_TABLE"
    VIEW = "VIRTUAL_VIEW"
    MATERIALIZED_VIEW = "MATERIALIZED_VIEW"


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """`database.table`, both lower-case as HMS stores them."""

    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"

    @classmethod
    def parse(cls, text: str) -> TableName:
        """`sales.orders` -> TableName. Raises ValueError where there is not exactly one dot between two names."""
        database, _, table = text.lower().partition(".")
        if not database or not table:
            raise ValueError(f"{text!r} is not database.table")
        return cls(database, table)


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """A column or partition key; `type` is Hive's type string."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A sort column: `order` is 1 ascending, 0 descending."""

    col: str
    order: int


@dataclass(frozen=True, slots=True)
class SerDeInfo:
    """How rows are read and written."""

    name: str | None = None
    serialization_lib: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    serializer_class: str | None = None
    deserializer_class: str | None = None
    serde_type: int | None = None


@dataclass(frozen=True, slots=True)
class SkewedInfo:
    """List bucketing; `locations` pairs a list of values with a directory."""

    col_names: tuple[str, ...] = ()
    col_values: tuple[PartitionValues, ...] = ()
    locations: tuple[tuple[PartitionValues, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StorageDescriptor:
    """Where and how the data of a table or partition lies."""

    cols: tuple[FieldSchema, ...] = ()
    location: str | None = None
    input_format: str | None = None
    output_format: str | None = None
    compressed: bool = False
    num_buckets: int = -1
    serde_info: SerDeInfo = field(default_factory=SerDeInfo)
    bucket_cols: tuple[str, ...] = ()
    sort_cols: tuple[Order, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    skewed_info: SkewedInfo = field(default_factory=SkewedInfo)
    stored_as_sub_directories: bool = False


@dataclass(frozen=True, slots=True)
class PrimaryKeyColumn:
    """One column of a primary key; `key_seq` counts from 1."""

    column: str
    key_seq: int
    name: str
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKeyColumn:
    """One column of a foreign key and the primary key column that it refers to."""

    column: str
    key_seq: int
    name: str
    parent: TableName
    parent_column: str
    pk_name: str | None = None
    update_rule: int = 0
    delete_rule: int = 0
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class UniqueColumn:
    """One column of a unique constraint; `key_seq` counts from 1."""

    column: str
    key_seq: int
    name: str
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class NotNullConstraint:
    """A column that is never null."""

    column: str
    name: str
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class DefaultConstraint:
    """A column's default value, as an expression."""

    column: str
    value: str
    name: str
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class CheckConstraint:
    """An expression that holds for every row."""

    column: str
    expression: str
    name: str
    enable: bool = False
    validate: bool = False
    rely: bool = False


@dataclass(frozen=True, slots=True)
class Constraints:
    """All constraints of a table. Keys are in every metastore since 2.3, the others since 3.1."""

    primary_key: tuple[PrimaryKeyColumn, ...] = ()
    foreign_keys: tuple[ForeignKeyColumn, ...] = ()
    unique: tuple[UniqueColumn, ...] = ()
    not_null: tuple[NotNullConstraint, ...] = ()
    default: tuple[DefaultConstraint, ...] = ()
    check: tuple[CheckConstraint, ...] = ()


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. Times are in Unix seconds; `owner_type` is Thrift's PrincipalType (1 user, 2 role, 3 group).

    Constraints come by calls of their own, so they are empty until somebody asked for them.
    """

    database: str
    name: str
    sd: StorageDescriptor
    partition_keys: tuple[FieldSchema, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    table_type: str = TableType.MANAGED
    owner: str | None = None
    owner_type: int | None = None
    create_time: int = 0
    last_access_time: int = 0
    retention: int = 0
    view_original_text: str | None = None
    view_expanded_text: str | None = None
    rewrite_enabled: bool = False
    constraints: Constraints = NO_CONSTRAINTS

    @property
    def table_name(self) -> TableName:
        return TableName(self.database, self.name)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; its storage descriptor is its own, not the table's."""

    values: PartitionValues
    sd: StorageDescriptor
    parameters: Mapping[str, str] = field(default_factory=dict)
    create_time: int = 0
    last_access_time: int = 0


@dataclass(frozen=True, slots=True)
class Database:
    """A database (schema). `location_uri` may come back rewritten from a 4.x server: never write it back."""

    name: str
    location_uri: str | None = None
    description: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    owner_name: str | None = None
    owner_type: int | None = None
