"""Definitions as trees of items, which is what the matrix merges; and back. What the items are, `kinds` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from metasync.model.hms import StorageDescriptor, Table
from metasync.planning.definition import PartitionDefinition
from metasync.planning.file_layout import Layout, layout_of
from metasync.planning.kinds import KINDS, constraints, parameters, spark_schema
from metasync.planning.kinds.bucketing import columns_used as bucketing_columns
from metasync.planning.kinds.kind import ALL
from metasync.planning.kinds.partitions import partition_from_items, partition_items
from metasync.planning.ordering import arrange, in_order
from metasync.planning.three_way import ABSENT, Item, Path, TableTree, Variant

_ORDERED = ("columns", "spark_schema", "avro_schema")


@dataclass(frozen=True)
class Partial:
    """A definition with those of its partitions that take part in a merge, by item name."""

    header: Table
    partitions: Mapping[str, PartitionDefinition] = field(default_factory=dict)


Definition = Partial | None
"""None: the table is absent."""


def to_tree(definition: Definition, layout: Layout) -> TableTree:
    """The items of a definition, or ABSENT."""
    if definition is None:
        return ABSENT
    tree: dict[str, Any] = {}
    for kind in KINDS:
        tree |= kind.items(definition.header, layout)
    return tree | partition_items(definition.partitions.values(), layout)


def from_tree(tree: TableTree) -> Definition:
    """The inverse of `to_tree`."""
    header = header_from_tree(tree)
    if header is None or not isinstance(tree, Mapping):
        return None
    found = {key: partition_from_items(key, value) for key, value in tree.get("partitions", {}).items()}
    # A partition whose own columns are the table's inherits them: the metastore does not distinguish these.
    same = {key: replace(p, columns=None) for key, p in found.items() if p.columns == header.sd.cols}
    return Partial(header, found | same)


def header_from_tree(tree: TableTree) -> Table | None:
    """The header that a tree describes; None for what is absent."""
    if not isinstance(tree, Mapping):
        return None
    header = Table("", "", StorageDescriptor())
    for kind in KINDS:
        header = kind.restore(header, tree)
    return header


def merged_view(tree: TableTree) -> TableTree:
    """What the matrix sees of a tree: all but what only rides along."""
    if not isinstance(tree, Mapping):
        return tree
    return {key: value for key, value in tree.items() if not key.startswith("~")}


def column_names(tree: TableTree) -> list[str]:
    """The names of columns that are merged by name, in order; none for what is absent."""
    columns = tree.get("columns", {}) if isinstance(tree, Mapping) else {}
    return [name for name in columns if name != ALL]


def order_of(tree: TableTree) -> list[Item] | None:
    """The order of everything in a tree that has one, to compare."""
    return [in_order(tree.get(key)) for key in _ORDERED] if isinstance(tree, Mapping) else None


def ordered_names(tree: TableTree) -> list[str]:
    """The names of columns and of the fields within them, in order, each with those that it stands below."""
    found: list[str] = []
    for key in _ORDERED:
        below = tree.get(key) if isinstance(tree, Mapping) else None
        found += _names_below(below, () if key == "columns" else (key,))
    return found


def _names_below(tree: Item, above: Path) -> list[str]:
    """The names of a tree whose names have an order: those of columns, and of the fields of structs below them."""
    found: list[str] = []
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        found.append(".".join((*above, name)))
        pending = [value]
        while pending:
            one = pending.pop(0)
            if isinstance(one, Variant) and "struct" in one:
                found += _names_below(one["struct"], (*above, name))
            elif isinstance(one, Mapping):
                pending += one.values()
    return found


def is_container(path: Path) -> bool:
    """Whether a tree without the items at this path is the same as one with none there."""
    match path:
        case () | (_,) | ("partitions", _, "parameters") | ("avro_schema", _, "fields"):
            return True
        case ("constraints", kind):
            return kind != "primary_key"
    return False


def normalised(header: Table) -> Table:
    """A header as it comes back from its items, so that texts which say the same are the same."""
    again = header_from_tree(to_tree(Partial(header), layout_of([header])))
    assert again is not None
    return again


def in_merged_order(
    after: TableTree,
    base: TableTree,
    here: TableTree,
    source: TableTree,
    destination: TableTree,
    *,
    prefer_source: bool = False,
) -> tuple[TableTree, list[Path]]:
    """A merged tree with its columns in order; and where both sides reordered differently.

    `base` and `here` are how source and destination began.
    """
    if not isinstance(after, Mapping) or not isinstance(source, Mapping):
        return after, []
    tree, conflicts = dict(after), []
    for key in _ORDERED:
        if key not in tree:
            continue
        sides = [side.get(key) if isinstance(side, Mapping) else None for side in (base, here, source, destination)]
        last = spark_schema.partition_columns(tree) if key == "spark_schema" else 0
        tree[key], found = arrange(tree[key], *sides, last=last, prefer_source=prefer_source)
        conflicts += [(key, *path) for path in found]
    return tree, conflicts


def dangling(tree: TableTree) -> list[tuple[Path, str]]:
    """Items that refer to a column which is not there: (path, column)."""
    if not isinstance(tree, Mapping) or "columns" not in tree:
        return []
    columns = tree["columns"]
    names = {c["name"].lower() for c in columns[ALL]} if ALL in columns else set(columns)
    names |= {key["name"].lower() for key in tree.get("partition_keys", ())}
    found: list[tuple[Path, set[str]]] = [((item,), used) for item, used in bucketing_columns(tree).items()]
    found += [(("spark_layout", item), used) for item, used in spark_schema.columns_used(tree).items()]
    found += [(("parameters", key), used) for key, used in parameters.columns_used(tree).items()]
    found += [(("constraints", *item.split("/", 1)), used) for item, used in constraints.columns_used(tree).items()]
    return [(path, name) for path, used in found for name in sorted(used - names)]
