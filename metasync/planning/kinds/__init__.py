"""What a definition holds, one module a kind of thing: its items, what of it is destructive, and what is refused.

`KINDS` is the whole list; a path's first word says whose kind it is. The matrix and the merge know no kind by name,
so a new field of HMS finds its place here and nowhere else.
"""

from __future__ import annotations

from metasync.planning.kinds import (
    avro_schema,
    bucketing,
    columns,
    constraints,
    ownership,
    parameters,
    partition_keys,
    partitions,
    spark_schema,
    storage,
)
from metasync.planning.kinds.kind import Kind
from metasync.planning.three_way import Path

KINDS: tuple[Kind, ...] = (
    columns.KIND,
    partition_keys.KIND,
    storage.KIND,
    bucketing.KIND,
    spark_schema.KIND,
    avro_schema.KIND,
    parameters.KIND,
    ownership.KIND,
    constraints.KIND,
    partitions.KIND,
)
"""In the order in which `restore` puts a header together: schemas go into the parameters that others wrote first."""

_BY_NAME = {name: kind for kind in KINDS for name in kind.names}


def kind_of(path: Path) -> Kind:
    """The kind of an item; the path must not be empty, as a whole table is of no kind."""
    return _BY_NAME[path[0]]
