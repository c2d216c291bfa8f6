"""Spark's own schema of a table, which it keeps as JSON in table parameters.

`spark.sql.sources.schema` holds it whole, or `.numParts` and `.part.0 ...` hold it in pieces of 4,000 characters, as
PostgreSQL- and MySQL-backed metastores of old could not store more (seen in tables of Spark 3.5.9: `orders` whole,
`wide` in 11 parts). It is one schema, so it is joined before it is compared and split again when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA = "spark.sql.sources.schema"
_NUM_PARTS = SCHEMA + ".numParts"
_PART = SCHEMA + ".part."
PIECE = 4000


def is_schema(key: str) -> bool:
    """Whether a parameter holds the schema or a piece of it."""
    return key in (SCHEMA, _NUM_PARTS) or key.startswith(_PART)


def joined(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters with the schema whole, its JSON in compact form. What does not parse is left as it is."""
    text = parameters.get(SCHEMA)
    if text is None and (count := parameters.get(_NUM_PARTS, "")).isdecimal():
        pieces = [parameters.get(f"{_PART}{index}") for index in range(int(count))]
        text = None if None in pieces else "".join(piece or "" for piece in pieces)
    schema = parse(text)
    if schema is None:
        return dict(parameters)
    rest = {key: value for key, value in parameters.items() if not is_schema(key)}
    return rest | {SCHEMA: dump(schema)}


def split(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters with a long schema in pieces, as Spark reads them."""
    text = parameters.get(SCHEMA)
    if text is None or len(text) <= PIECE:
        return dict(parameters)
    rest = {key: value for key, value in parameters.items() if not is_schema(key)}
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    return rest | {_NUM_PARTS: str(len(pieces))} | {f"{_PART}{i}": piece for i, piece in enumerate(pieces)}


def parse(text: str | None) -> dict[str, Any] | None:
    """The schema as JSON, or None where it is not a struct as Spark writes it, its fields named apart."""
    if text is None:
        return None
    try:
        schema = json.loads(text)
        names = [field["name"].lower() for field in schema["fields"]]
        sound = set(schema) == {"type", "fields"} and _is_type(schema)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return schema if sound and schema["type"] == "struct" and len(set(names)) == len(names) else None


def _is_type(kind: Any) -> bool:
    """Whether a type is one that Spark writes, all the way down. Raises KeyError or TypeError where it is not."""
    if isinstance(kind, str):
        return True
    match kind["type"]:
        case "struct":
            return all(isinstance(f["name"], str) and _is_type(f["type"]) for f in kind["fields"])
        case "array":
            return _is_type(kind["elementType"])
        case "map":
            return _is_type(kind["keyType"]) and _is_type(kind["valueType"])
    return isinstance(kind["type"], str)


def dump(schema: Mapping[str, Any]) -> str:
    """The schema as Spark writes it: compact, keys in its order."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
