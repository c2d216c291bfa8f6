"""Spark's own schema of a table, merged field by field beside the columns; its buckets and partition keys.

`spark_schema/NAME/{name, type, nullable, metadata}`, nested types below `type`; `spark_schema/ALL`, a list, where the
SerDe reads by position; `spark_layout/{buckets, partitions}`, one item each. What Spark keeps in several parameters is
one thing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metasync.model.hms import Table
from metasync.planning import spark
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import ALL, Items, Kind
from metasync.planning.three_way import ItemChange, Tree, Variant
from metasync.planning.types import Family, TypeTree, applies_at_once, is_widening

_LAYOUT = {
    "partitions": ("numPartCols", "partCol."),
    "buckets": ("numBuckets", "numBucketCols", "bucketCol.", "numSortCols", "sortCol."),
}
_COLUMN_AT = re.compile(r"\.(?:bucketCol|sortCol|partCol)\.\d+$")
Judge = Callable[[TypeTree, TypeTree, Family], bool]
_HIVE_NAMES = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}


def keys_taken(header: Table, layout: Layout) -> set[str]:
    """The parameters that this kind speaks for."""
    if layout.schema_in_data:
        return {key for key in header.parameters if spark.is_schema(key) or _layout_item(key)}
    taken = {key for key in header.parameters if _layout_item(key)}
    return taken | ({spark.SCHEMA} if spark.parse(header.parameters.get(spark.SCHEMA)) is not None else set())


def _layout_item(key: str) -> str | None:
    rest = key.removeprefix(f"{spark.SCHEMA}.")
    if rest == key:
        return None
    return next((item for item, marks in _LAYOUT.items() if rest.startswith(marks)), None)


def _items(header: Table, layout: Layout) -> Items:
    taken = keys_taken(header, layout)
    if layout.schema_in_data:
        return {"~spark": {key: header.parameters[key] for key in sorted(taken)}}
    tree: Items = {}
    kept: dict[str, dict[str, str]] = {}
    for key in sorted(taken - {spark.SCHEMA}):
        kept.setdefault(_layout_item(key) or "", {})[key] = header.parameters[key]
    if kept:
        tree["spark_layout"] = {item: json.dumps(values) for item, values in kept.items()}
    if spark.SCHEMA in taken:
        schema = spark.parse(header.parameters[spark.SCHEMA]) or {}
        tree["spark_schema"] = {ALL: schema["fields"]} if layout.by_position else _fields(schema["fields"])
    return tree


def _fields(fields: Sequence[Mapping[str, Any]]) -> Items:
    return {field["name"].lower(): {**field, "type": _type_tree(field["type"])} for field in fields}


def _type_tree(kind: Any) -> Any:
    if isinstance(kind, Mapping):
        match kind.get("type"):
            case "struct" if _named_apart(kind.get("fields")):
                return Variant(struct=_fields(kind["fields"]))
            case "array":
                return Variant(array={**kind, "elementType": _type_tree(kind.get("elementType"))})
            case "map":
                inner = {"keyType": _type_tree(kind.get("keyType")), "valueType": _type_tree(kind.get("valueType"))}
                return Variant(map={**kind, **inner})
        # A user-defined type, or fields that differ in case only: one leaf.
        return [kind]
    return kind


def _named_apart(fields: Any) -> bool:
    names = [field["name"].lower() for field in fields]
    return len(set(names)) == len(names)


def _type_json(tree: Any) -> Any:
    if isinstance(tree, list):
        return tree[0]
    if not isinstance(tree, Mapping):
        return tree
    ((kind, inner),) = tree.items()
    if kind == "struct":
        return {"type": "struct", "fields": _fields_json(inner)}
    return {key: _type_json(value) if key.endswith("Type") else value for key, value in inner.items()}


def _fields_json(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    order = ("name", "type", "nullable", "metadata")
    return [
        {key: field[key] for key in (*order, *(k for k in field if k not in order)) if key in field}
        | {"type": _type_json(field.get("type"))}
        for field in fields.values()
    ]


def _restore(header: Table, tree: Tree) -> Table:
    parameters = dict(header.parameters) | dict(tree.get("~spark", {}))
    for values in tree.get("spark_layout", {}).values():
        parameters |= json.loads(values)
    if "spark_schema" in tree:
        fields = tree["spark_schema"]
        listed = fields[ALL] if ALL in fields else _fields_json(fields)
        parameters[spark.SCHEMA] = spark.dump({"type": "struct", "fields": listed})
    return replace(header, parameters=parameters)


def columns_used(tree: Tree) -> dict[str, set[str]]:
    """The columns that Spark's buckets, sorting and partitioning refer to, by item of `spark_layout`."""
    return {
        item: {name.lower() for key, name in json.loads(values).items() if _COLUMN_AT.search(key)}
        for item, values in tree.get("spark_layout", {}).items()
    }


def partition_columns(tree: Tree) -> int:
    """How many of the last fields are partition columns: Spark keeps these at the end."""
    fields, keys = tree.get("spark_schema", {}), tree.get("partition_keys", ())
    return sum(1 for key in keys if key["name"].lower() in fields) if isinstance(keys, list) else 0


def _place(path: Sequence[str]) -> str:
    """What a path below `spark_schema` ends at: `field`, `type`, or something else of a field."""
    match path:
        case [_]:
            return "field"
        case [_, "type"]:
            return "type"
        case [_, "type", *below]:
            return _place_in_type(below)
    return "other"


def _place_in_type(path: Sequence[str]) -> str:
    match path:
        case ["struct", *below]:
            return _place(below)
        case ["array" | "map", "elementType" | "keyType" | "valueType", *below]:
            return _place_in_type(below) if below else "type"
    return "other"


def _is_destructive(change: ItemChange, layout: Layout) -> bool:
    if change.path[0] == "spark_layout":
        return True
    if change.path[1:] == (ALL,):
        before, after = ([f["name"].lower() for f in _data(side, layout)] for side in (change.before, change.after))
        return after[: len(before)] != before or not _fits(change, layout, applies_at_once)
    place = _place(change.path[1:])
    if place == "type":
        return not _judged(applies_at_once, change.before, change.after, layout)
    return place == "field" and change.after is None


def _refusal(change: ItemChange, layout: Layout) -> str | None:
    if change.path == ("spark_schema", ALL):
        fits = not change.before or not change.after or _fits(change, layout, is_widening)
        return None if fits else "type-not-widened"
    if change.path[0] != "spark_schema" or _place(change.path[1:]) != "type" or change.before is None:
        return None
    return None if _judged(is_widening, change.before, change.after, layout) else "type-not-widened"


def _fits(change: ItemChange, layout: Layout, judge: Judge) -> bool:
    """Whether the types of fields that two lists have in common, by position, fit."""
    pairs = zip(_data(change.before, layout), _data(change.after, layout), strict=False)
    return all(_judged(judge, was["type"], now["type"], layout) for was, now in pairs)


def _data(fields: Sequence[Mapping[str, Any]] | None, layout: Layout) -> list[Mapping[str, Any]]:
    """The fields that stand in the files; partition columns do not."""
    return [field for field in fields or () if field["name"].lower() not in layout.keys]


def _judged(judge: Judge, old: Any, new: Any, layout: Layout) -> bool:
    return judge(_hive_tree(_type_json(old)), _hive_tree(_type_json(new)), layout.family)


def _hive_tree(kind: Any) -> TypeTree:
    """A type of Spark's as the column that Hive has for it (`planning.types`); what Hive has none for, as a leaf."""
    match kind:
        case str():
            return _HIVE_NAMES.get(kind, kind)
        case {"type": "struct", "fields": fields} if _named_apart(fields):
            return Variant(struct={field["name"].lower(): _hive_tree(field["type"]) for field in fields})
        case {"type": "array", "elementType": inner}:
            return Variant(array=_hive_tree(inner))
        case {"type": "map", "keyType": key, "valueType": value}:
            return Variant(map={"key": _hive_tree(key), "value": _hive_tree(value)})
    return json.dumps(kind)


KIND = Kind(
    names=("spark_schema", "spark_layout"),
    items=_items,
    restore=_restore,
    is_destructive=_is_destructive,
    refusal=_refusal,
)
