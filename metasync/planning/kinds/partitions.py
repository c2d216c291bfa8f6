"""Partitions: by their list of values; of each its own columns, location, storage and parameters.

`partitions/[VALUES]/{columns, location, storage, parameters}`. No `columns`: they are the table's; no `storage`:
formats and SerDe are the table's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache

from pydantic import TypeAdapter

from metasync.model.hms import PartitionValues, StorageDescriptor, Table
from metasync.planning.definition import PartitionDefinition
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.columns import column_items, columns_from, columns_refusal, columns_shrink
from metasync.planning.kinds.kind import Items, Kind, present
from metasync.planning.locations import is_relative, path_on_ref
from metasync.planning.three_way import ItemChange, Tree


@cache
def _storage() -> TypeAdapter[StorageDescriptor]:
    """Built when it is first needed: that takes longer than most commands do."""
    return TypeAdapter(StorageDescriptor)


def partition_key(values: PartitionValues) -> str:
    """The item name of a partition: its values as a JSON list, so that no separator can make two lists equal."""
    return json.dumps(list(values), ensure_ascii=False)


def partition_values(key: str) -> PartitionValues:
    """The inverse of `partition_key`."""
    return tuple(json.loads(key))


def partition_items(partitions: Iterable[PartitionDefinition], layout: Layout) -> Items:
    """The items of partitions; these may be only those that take part in a merge."""
    return {"partitions": {partition_key(p.values): _items(p, layout) for p in partitions}}


def _items(partition: PartitionDefinition, layout: Layout) -> Items:
    tree = present(
        location=partition.location,
        storage=json.dumps(asdict(partition.storage), sort_keys=True) if partition.storage else None,
        parameters=dict(partition.parameters),
    )
    if partition.columns is not None:
        tree["columns"] = column_items(partition.columns, layout)
    return tree


def partition_from_items(key: str, tree: Tree) -> PartitionDefinition:
    """The definition of the partition `key` of a tree."""
    return PartitionDefinition(
        values=partition_values(key),
        location=tree.get("location"),
        parameters=dict(tree.get("parameters", {})),
        columns=columns_from(tree["columns"]) if "columns" in tree else None,
        storage=_storage().validate_json(tree["storage"]) if "storage" in tree else None,
    )


def _is_destructive(change: ItemChange, layout: Layout) -> bool:
    match change.path:
        case ("partitions", _):
            return change.after is None
        case ("partitions", _, "columns", *rest) if rest:
            return columns_shrink(change, rest, layout)
        case ("partitions", _, "location" | "storage" | "columns"):
            return True
    return False


def _refusal(change: ItemChange, layout: Layout) -> str | None:
    match change.path:
        case ("partitions", _) if change.after is not None and not is_relative(change.after.get("location")):
            return "location-off-ref"
        case ("partitions", _, "location") if change.after is not None and not is_relative(change.after):
            return "location-off-ref"
        case ("partitions", _, "columns", *rest) if rest:
            return columns_refusal(change, rest, layout)
    return None


def places(partitions: Mapping[str, Tree]) -> dict[str, list[str]]:
    """Path on the ref -> the item names of the partitions that lie there."""
    found: dict[str, list[str]] = {}
    for key, partition in partitions.items():
        where = path_on_ref(partition.get("location") or "")
        if where:
            found.setdefault(where, []).append(key)
    return found


def keeps_former_storage(change: ItemChange, base: Table | None) -> bool:
    """Whether a partition only kept its storage when its table got another.

    No metastore carries a table's SerDe to its partitions, so on the source every partition that inherited has one of
    its own by then; the destination's will have theirs as soon as the table is changed.
    """
    match change.path:
        case ("partitions", _, "storage") if change.before is None and change.after is not None and base is not None:
            return _bare(_storage().validate_json(change.after)) == _bare(base.sd)
    return False


def _bare(sd: StorageDescriptor) -> StorageDescriptor:
    parameters = {key: value for key, value in sd.serde_info.parameters.items() if key != "path"}
    return replace(sd, cols=(), location=None, serde_info=replace(sd.serde_info, parameters=parameters))


def _no_items(_header: Table, _layout: Layout) -> Items:
    return {}


KIND = Kind(
    names=("partitions",),
    items=_no_items,
    restore=lambda header, _: header,
    is_destructive=_is_destructive,
    refusal=_refusal,
)
