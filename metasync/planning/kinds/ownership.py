"""Owner, retention, and what kind of table it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Kind, Tree, present


def _items(header: Table, _layout: Layout) -> Tree:
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


def _restore(header: Table, tree: Mapping[str, Any]) -> Table:
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
