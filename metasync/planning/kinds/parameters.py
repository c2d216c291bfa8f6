"""Table parameters, by key; the comment is one of them. Those that engines write were taken off before.

Those of the table's type are of the kind `ownership`.
"""

from __future__ import annotations

import json
from dataclasses import replace

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout, table_parameter_decides_reading
from metasync.planning.kinds import avro_schema, spark_schema
from metasync.planning.kinds.kind import Items, Kind
from metasync.planning.locations import names_another_place
from metasync.planning.table_type import TYPE_PARAMETERS
from metasync.planning.three_way import ItemChange, Tree

CLUSTERING = "clusteringColumns"


def _items(header: Table, layout: Layout) -> Items:
    taken = spark_schema.keys_taken(header, layout) | avro_schema.keys_taken(header.parameters) | set(TYPE_PARAMETERS)
    return {"parameters": {key: value for key, value in header.parameters.items() if key not in taken}}


def _restore(header: Table, tree: Tree) -> Table:
    # Schemas were restored into the parameters already.
    return replace(header, parameters={**header.parameters, **tree.get("parameters", {})})


def _refusal(change: ItemChange, _layout: Layout) -> str | None:
    key = change.path[-1]
    return "location-off-ref" if names_another_place(key, change.after) else None


def columns_used(tree: Tree) -> dict[str, set[str]]:
    """The columns that Spark and Delta cluster by, by parameter: a JSON list of paths, each a list of names."""
    try:
        paths = json.loads(tree.get("parameters", {}).get(CLUSTERING, "[]"))
        return {CLUSTERING: {str(path[0]).lower() for path in paths}}
    except (ValueError, TypeError, LookupError):
        return {}


KIND = Kind(
    names=("parameters",),
    items=_items,
    restore=_restore,
    is_destructive=lambda change, _: table_parameter_decides_reading(change.path[-1]),
    refusal=_refusal,
)
