"""Owner, retention, and what kind of table it is.

Whether a table is managed, and what belongs to that, rides along in `~type`, which no merge compares.
"""

from __future__ import annotations

from dataclasses import replace

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind, present
from metasync.planning.table_type import TYPE_PARAMETERS, UNKNOWN_TYPE, is_table
from metasync.planning.three_way import Tree


def _items(header: Table, _layout: Layout) -> Items:
    own = {key: value for key, value in header.parameters.items() if key in TYPE_PARAMETERS}
    return {
        "table": present(
            owner=header.owner,
            owner_type=header.owner_type,
            retention=header.retention or None,
            type=UNKNOWN_TYPE if is_table(header) else header.table_type,
            view_original=header.view_original_text,
            view_expanded=header.view_expanded_text,
        ),
        "~type": {"type": header.table_type, "parameters": own},
    }


def _restore(header: Table, tree: Tree) -> Table:
    table, own = tree.get("table", {}), tree.get("~type", {})
    kind = table.get("type", UNKNOWN_TYPE)
    return replace(
        header,
        table_type=own.get("type", kind) if kind == UNKNOWN_TYPE else kind,
        parameters={**header.parameters, **own.get("parameters", {})},
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
