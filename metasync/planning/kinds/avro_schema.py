"""Avro's schema where a table carries it as text (`avro.schema.literal`): a record, merged field by field.

`avro_schema/HOLDER/{record, fields/NAME}`; the holder is `parameters` or `serde_parameters`, as Hive takes it from both
(recorded: `hive_avro` in spark-3.5.json has it in the table's parameters).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metasync.model.hms import Table
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind
from metasync.planning.three_way import ItemChange, Tree

LITERAL = "avro.schema.literal"


def keys_taken(parameters: Mapping[str, str]) -> set[str]:
    """The parameters that this kind speaks for."""
    return {LITERAL} if _record(parameters.get(LITERAL)) is not None else set()


def _record(text: str | None) -> dict[str, Any] | None:
    """The schema, or None where it is not a record whose fields have different names."""
    try:
        schema = json.loads(text or "")
        names = [field["name"] for field in schema["fields"]]
    except (ValueError, TypeError, KeyError):
        return None
    return schema if schema.get("type") == "record" and len(set(names)) == len(names) else None


def _items(header: Table, _layout: Layout) -> Items:
    holders = {"parameters": header.parameters, "serde_parameters": header.sd.serde_info.parameters}
    tree: Items = {}
    for holder, values in holders.items():
        schema = _record(values.get(LITERAL))
        if schema is not None:
            tree[holder] = {
                "record": json.dumps({key: value for key, value in schema.items() if key != "fields"}),
                "fields": {field["name"]: json.dumps(field) for field in schema["fields"]},
            }
    return {"avro_schema": tree} if tree else {}


def _restore(header: Table, tree: Tree) -> Table:
    texts = {
        holder: json.dumps(
            json.loads(schema["record"]) | {"fields": [json.loads(f) for f in schema.get("fields", {}).values()]}
        )
        for holder, schema in tree.get("avro_schema", {}).items()
    }
    if text := texts.get("parameters"):
        header = replace(header, parameters={**header.parameters, LITERAL: text})
    if text := texts.get("serde_parameters"):
        serde = header.sd.serde_info
        serde = replace(serde, parameters={**serde.parameters, LITERAL: text})
        header = replace(header, sd=replace(header.sd, serde_info=serde))
    return header


def _is_destructive(change: ItemChange, _layout: Layout) -> bool:
    # A field's changed type is judged by the column that it makes.
    return change.before is not None and change.after is None


KIND = Kind(names=("avro_schema",), items=_items, restore=_restore, is_destructive=_is_destructive)
