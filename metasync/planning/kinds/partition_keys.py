"""Partition keys: one item, as no metastore lets them change without a new table (4.x does, when asked to)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from metasync.model.hms import FieldSchema, Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind
from metasync.planning.three_way import Tree


def _items(header: Table, _layout: Layout) -> Items:
    return {"partition_keys": [asdict(key) for key in header.partition_keys]}


def _restore(header: Table, tree: Tree) -> Table:
    return replace(header, partition_keys=tuple(FieldSchema(**key) for key in tree["partition_keys"]))


def _names(keys: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(key["name"].lower(), key["type"]) for key in keys]


KIND = Kind(
    names=("partition_keys",),
    items=_items,
    restore=_restore,
    is_destructive=lambda change, _: _names(change.before) != _names(change.after),
    # Comments are free: every metastore takes them (seen live on 3.1.3 to 4.2.1).
    refusal=lambda change, _: None if _names(change.before) == _names(change.after) else "partition-keys-changed",
)
