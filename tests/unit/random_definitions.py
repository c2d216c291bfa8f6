"""Random definitions for property tests, and a short way to write one down."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from metasync.model.hms import FieldSchema, SerDeInfo, StorageDescriptor, Table
from metasync.planning.definition import PartitionDefinition
from metasync.planning.item_tree import Partial
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.table_type import UNKNOWN_TYPE

PARQUET = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
TEXT = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
WHERE = "s3a://lake/{ref}/wh/t"


def header(
    columns: str | Sequence[tuple[str, str]] = "id:bigint",
    parameters: dict[str, str] | None = None,
    serde: str = PARQUET,
    location: str = WHERE,
    keys: str = "",
    owner: str | None = "ana",
) -> Table:
    """`id:bigint a:string` -> a header."""
    return Table(
        "",
        "",
        StorageDescriptor(
            cols=fields(columns), location=location, input_format="in", output_format="out",
            serde_info=SerDeInfo(serialization_lib=serde),
        ),
        partition_keys=fields(keys),
        parameters=parameters or {},
        table_type=UNKNOWN_TYPE,
        owner=owner,
    )  # fmt: skip


def fields(text: str | Sequence[tuple[str, str]]) -> tuple[FieldSchema, ...]:
    pairs = [tuple(word.split(":")) for word in text.split()] if isinstance(text, str) else text
    return tuple(FieldSchema(*pair) for pair in pairs)


def partition(*values: str, location: str | None = None, **parameters: str) -> PartitionDefinition:
    return PartitionDefinition(values, location or f"{WHERE}/{'/'.join(values)}", parameters)


def partial(head: Table, *partitions: PartitionDefinition) -> Partial:
    return Partial(head, {partition_key(p.values): p for p in partitions})


names = st.sampled_from(["a", "b", "c", "d", "e"])
types = st.sampled_from(["int", "bigint", "string", "double"])
columns = st.dictionaries(names, types, min_size=1, max_size=5).map(lambda found: list(found.items()))
texts = st.dictionaries(st.sampled_from(["comment", "k1", "k2"]), st.sampled_from(["x", "y", "z"]), max_size=3)
headers = st.builds(header, columns, texts, owner=st.sampled_from(["ana", "bo"]))
partitions = st.lists(
    st.builds(
        # Each at one of two places of its own: two on one directory are a matter of their own (`directory-taken`).
        lambda value, where, parameters: PartitionDefinition((value,), f"{where}/{value}", parameters),
        st.sampled_from(["1", "2", "3", "4"]),
        st.sampled_from([f"{WHERE}/x", f"{WHERE}/y"]),
        texts,
    ),
    unique_by=lambda p: p.values,
    max_size=4,
)
definitions = st.builds(lambda head, some: partial(head, *some), headers, partitions)
optional_definitions = st.none() | definitions
