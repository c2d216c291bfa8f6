"""Columns: by name, with nested types field by field; all of them one item where the SerDe reads by position.

`columns/NAME/{type, comment}`, a nested type below `type` (see `planning.types`); or `columns/ALL`, a list. Names are
lower-case, as HMS stores them. Delta and Hudi keep the schema in the data: their columns ride along in `~columns`,
which no merge compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from metasync.model.hms import FieldSchema, Table
from metasync.planning.accepted_types import ColumnCheck, metastore_accepts
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import ALL, Items, Kind, present
from metasync.planning.three_way import ItemChange, Tree
from metasync.planning.types import applies_at_once, is_widening, type_text, type_tree


def column_items(columns: Sequence[FieldSchema], layout: Layout) -> Items:
    """The items of a list of columns, of a table or of a partition."""
    if layout.by_position:
        return {ALL: [asdict(column) for column in columns]}
    return {c.name.lower(): present(type=type_tree(c.type), comment=c.comment) for c in columns}


def columns_from(items: Mapping[str, Any]) -> tuple[FieldSchema, ...]:
    """The inverse of `column_items`."""
    if ALL in items:
        return tuple(FieldSchema(**column) for column in items[ALL])
    return tuple(
        FieldSchema(name, type_text(item.get("type", "")), item.get("comment")) for name, item in items.items()
    )


def _items(header: Table, layout: Layout) -> Items:
    if layout.schema_in_data:
        return {"~columns": [asdict(column) for column in header.sd.cols]}
    return {"columns": column_items(header.sd.cols, layout)}


def _restore(header: Table, tree: Tree) -> Table:
    columns = columns_from({ALL: tree["~columns"]}) if "~columns" in tree else columns_from(tree["columns"])
    return replace(header, sd=replace(header.sd, cols=columns))


def columns_shrink(change: ItemChange, path: Sequence[str], layout: Layout) -> bool:
    """Whether a change below `columns` loses a column, a field or values; `path` is what follows `columns`."""
    match path:
        case ("ALL",):
            return not _grows(change.before or [], change.after or [], layout)
        case (_, "comment"):
            return False
        case (_, "type", *_) if change.before is not None and change.after is not None:
            return not applies_at_once(change.before, change.after, layout.family)
    return change.before is not None and change.after is None


def _grows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], layout: Layout) -> bool:
    """Whether a list of columns that are read by position only gained columns at its end, or wider types."""
    return len(after) >= len(before) and all(
        was["name"].lower() == now["name"].lower() and applies_at_once(was["type"], now["type"], layout.family)
        for was, now in zip(before, after, strict=False)
    )


def columns_refusal(change: ItemChange, path: Sequence[str], layout: Layout) -> str | None:
    """`type-not-widened` where values of a column, a field or a position could not be read any more."""
    match path:
        case ("ALL",) if change.before and change.after:
            pairs = zip(change.before, change.after, strict=False)
            fits = all(is_widening(was["type"], now["type"], layout.family) for was, now in pairs)
            return None if fits else "type-not-widened"
        case (_, "type", *rest):
            gone = change.after is None and not _names_field(rest)
            changed = change.before is not None and change.after is not None
            if gone or (changed and not is_widening(change.before, change.after, layout.family)):
                return "type-not-widened"
    return None


def _names_field(rest: Sequence[str]) -> bool:
    """Whether a path below a type ends at a field of a struct."""
    match rest:
        case ["struct", _]:
            return True
        case ["struct", _, *below] | ["map", _, *below] | ["array", *below]:
            return _names_field(below)
    return False


def refused_positions(
    old: Sequence[FieldSchema], new: Sequence[FieldSchema], check: ColumnCheck
) -> list[tuple[FieldSchema, FieldSchema]]:
    """The pairs, by position, for which HMS would refuse to alter a table from `old` columns to `new` ones.

    None where it takes the change in two: `halfway`.
    """
    refused = _refused(old, new, check)
    return [] if halfway(old, new, check) is not None else [(old[place], new[place]) for place in refused]


def halfway(
    old: Sequence[FieldSchema], new: Sequence[FieldSchema], check: ColumnCheck
) -> tuple[FieldSchema, ...] | None:
    """The columns in between, where HMS refuses to alter a table at once and takes it in two steps; else None.

    HMS compares types position by position, so that a column which went or moved makes those after it change their
    types. Without those they have no former type. A column that keeps its name must be one that HMS takes by itself.
    """
    refused = _refused(old, new, check)
    if not refused or refused[0] == 0:
        return None
    types = {column.name.lower(): column.type for column in old}
    stays = all(metastore_accepts(types.get(now.name.lower(), now.type), now.type, check) for now in new)
    return tuple(new[: refused[0]]) if stays else None


def _refused(old: Sequence[FieldSchema], new: Sequence[FieldSchema], check: ColumnCheck) -> list[int]:
    pairs = enumerate(zip(old, new, strict=False))
    return [place for place, (was, now) in pairs if not metastore_accepts(was.type, now.type, check)]


KIND = Kind(
    names=("columns", "column_order"),
    items=_items,
    restore=_restore,
    is_destructive=lambda change, layout: columns_shrink(change, change.path[1:], layout),
    refusal=lambda change, layout: columns_refusal(change, change.path[1:], layout),
)
