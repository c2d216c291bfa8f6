"""Owner, retention, and what kind of table it is."""

from __future__ import annotations

from dataclasses import replace

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind, present
from metasync.planning.three_way import Tree


def _items(header: Table, _layout: Layout) -> Items:
    return {
        "table": present(
            owner=header.owner,
            owner_type=header.owner_type,
            retention=header.retention or None,
            type=header.table_type,
            view_original=header.view_original_text,
            view_expanded=header.view_expanded_text,
        )
    }


def _restore(header: Table, tree: Tree) -> Table:
    table = tree.get("table", {})
    return replace(
        header,
        table_type=table.get("type", "TABLE"),
        owner=table.get("owner"),
        owner_type=table.get("owner_type"),
        retention=table.get("retention", 0),
        view_original_text=table.get("view_original"),
        view_expanded_text=table.get("view_expanded"),
    )


KIND = Kind(
    names=("table",),
    items=_items,
    restore=_restore,
    is_destructive=lambda change, _: change.path[1:] == ("type",),
)
