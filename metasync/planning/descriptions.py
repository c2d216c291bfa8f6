"""Item changes in a few words, for plans, history and reasons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from metasync.planning.changes import RepairMirror
from metasync.planning.three_way import ItemChange, Path
from metasync.planning.types import type_text


def describe(items: Sequence[ItemChange], most: int = 6) -> str:
    """`+column b bigint, -partition (2024) and 3 more`."""
    words = [describe_item(item) for item in items[:most]]
    return ", ".join(words) + (f" and {len(items) - most} more" if len(items) > most else "")


def describe_item(item: ItemChange) -> str:
    """`+column b bigint`, `-partition (2024)`, `~parameter comment`."""
    sign = "+" if item.before is None else "-" if item.after is None else "~"
    try:
        return f"{sign}{item_name(item.path)}{_detail(item)}"
    except (ValueError, TypeError, KeyError, AttributeError):
        # Words are no reason not to do, or not to show, the rest.
        return f"{sign}{'/'.join(item.path)}"


def repair_words(change: RepairMirror) -> str:
    """`becomes MANAGED, as its table is; gets its marks again`."""
    kind = change.table_type.removesuffix("_TABLE")
    words = [f"becomes {kind}, as its table is"] if kind else []
    return "; ".join([*words, "gets its marks again"] if change.marks else words)


def item_name(path: Path) -> str:
    """An item in words: `column addr.city type`, `partition (2024, de) location`, `primary key`."""
    match path:
        case ():
            return "table"
        case ("columns", "ALL"):
            return "columns"
        case ("spark_schema", "ALL"):
            return "spark columns"
        case ("column_order",):
            return "order of columns"
        case ("columns", name, *rest):
            return f"column {_below(name, rest)}"
        case ("partitions", key, *rest):
            return " ".join([f"partition ({', '.join(json.loads(key))})", *rest])
        case ("spark_schema", name, *rest):
            return f"spark column {_below(name, rest)}"
        case ("parameters", key):
            return f"parameter {key}"
        case ("constraints", kind, *rest):
            return " ".join([kind.replace("_", " "), *rest])
    return " ".join(path).replace("_", " ", 1)


def _below(name: str, rest: Sequence[str]) -> str:
    """`addr`, `addr type`, and for a field of a struct `addr.city`."""
    words, fields = list(rest), [name]
    while (words[:2] == ["type", "struct"] and len(words) > 2) or (words[:1] == ["struct"] and len(words) > 1):
        skip = 2 if words[0] == "type" else 1
        fields.append(words[skip])
        words = words[skip + 1 :]
    return " ".join([".".join(fields), *words])


def _detail(item: ItemChange) -> str:
    match item.path:
        case ("columns", _):
            kind = item.after.get("type") if isinstance(item.after, dict) else None
            return f" {type_text(kind)}" if kind else ""
        case ("columns", _, "type", *_):
            words = [type_text(value) for value in (item.before, item.after) if value is not None]
            return f" {' -> '.join(words)}"
        case ("parameters", _) | ("table", _) if item.before is not None and item.after is not None:
            return f" {_short(item.before)} -> {_short(item.after)}"
    return ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
