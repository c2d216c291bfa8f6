"""Column types: Hive's type strings as trees, and which changes of type a table's readers live with.

A tree is a leaf (`bigint`, `decimal(10,2)`) or a dict: `{"struct": {field: tree}}` in the order of the fields,
`{"array": tree}`, `{"map": {"key": tree, "value": tree}}`. So two branches that add different fields to one struct
change different items.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from metasync.planning.three_way import Item, Variant

Family = Literal["parquet", "orc", "avro", "text", "json", "other"]
"""How values are stored, as far as that decides which types can be read as which."""

TypeTree = str | Mapping[str, Any]

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
_COMPLEX = ("array", "map", "struct", "uniontype")
_PRIMITIVE = re.compile(r"([\w ]+?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
_TOKEN = re.compile(r"[^<>:,()]+(?:\([^()]*\))?|[<>:,]")


def type_tree(text: str) -> TypeTree:
    """`struct<a:int,b:array<string>>` as a tree. What cannot be written back letter for letter stays a leaf."""
    tokens = _TOKEN.findall(text)
    try:
        tree = _parse(tokens)
    except (ValueError, IndexError):
        return text
    return tree if not tokens and type_text(tree) == text else text


def _parse(tokens: list[str]) -> TypeTree:
    word = tokens.pop(0)
    if word in ("<", ">", ":", ","):
        raise ValueError(word)
    if not tokens or tokens[0] != "<":
        return word
    tokens.pop(0)
    inner: TypeTree
    match word:
        case "array":
            inner = Variant(array=_parse(tokens))
        case "map":
            key = _parse(tokens)
            _expect(tokens, ",")
            inner = Variant(map={"key": key, "value": _parse(tokens)})
        case "struct":
            inner = Variant(struct=_fields(tokens))
        case _:
            raise ValueError(word)
    _expect(tokens, ">")
    return inner


def _fields(tokens: list[str]) -> dict[str, TypeTree]:
    fields: dict[str, TypeTree] = {}
    while True:
        name = tokens.pop(0)
        _expect(tokens, ":")
        if name.lower() in (known.lower() for known in fields):
            raise ValueError(name)
        fields[name] = _parse(tokens)
        if tokens[0] != ",":
            return fields
        tokens.pop(0)


def _expect(tokens: list[str], token: str) -> None:
    if tokens.pop(0) != token:
        raise ValueError(token)


def type_text(tree: TypeTree) -> str:
    """The inverse of `type_tree`."""
    if isinstance(tree, str):
        return tree
    ((kind, inner),) = tree.items()
    if kind == "struct":
        return f"struct<{','.join(f'{name}:{type_text(below)}' for name, below in inner.items())}>"
    if kind == "map":
        return f"map<{type_text(inner['key'])},{type_text(inner['value'])}>"
    return f"array<{type_text(inner)}>"


def spelled_like(tree: Item, other: Item) -> Item:
    """A tree with the names of its structs' fields spelled as the other has them: engines do not tell cases apart."""
    if not isinstance(tree, Mapping) or not isinstance(other, Mapping):
        return tree
    spelling: dict[str, str] = {name.lower(): name for name in other}
    renamed: dict[str, Item] = {}
    for name, value in tree.items():
        like = spelling.get(str(name).lower(), str(name))
        renamed[like] = spelled_like(value, other.get(like))
    return Variant(renamed) if isinstance(tree, Variant) else renamed


def is_widening(old: TypeTree, new: TypeTree, family: Family = "other") -> bool:
    """Whether every value of `old` is a value of `new`, and files written as `old` are read as `new` by all engines.

    In every format integers widen to larger ones, float to double, varchar to longer ones and to string; decimals gain
    digits before the point. Beyond that:
    - avro resolves decimals only with precision and scale unchanged (Avro specification, "Schema Resolution"), and
      promotes int to double;
    - text and JSON hold what a reader parses anew: numbers of fewer digits to decimals and doubles, and in text any
      plain value to string;
    - parquet and ORC readers differ between engines for anything more, so nothing else is counted as safe (and of
      Parquet not all of this is read at once: `reads_old_files`).
    A struct may gain fields; arrays, maps and fields widen by what they hold. Fields in text are identified by their
    place, so there they must stay in it.
    """
    if isinstance(old, str) and isinstance(new, str):
        old, new = type_tree(old), type_tree(new)
    if isinstance(old, str) or isinstance(new, str):
        return isinstance(old, str) and isinstance(new, str) and _primitive_widens(old, new, family)
    ((kind, was),) = old.items()
    ((other, now),) = new.items()
    if kind != other:
        return False
    if kind == "array":
        return is_widening(was, now, family)
    in_place = family != "text" or kind == "map" or list(now)[: len(was)] == list(was)
    return in_place and all(name in now and is_widening(was[name], now[name], family) for name in was)


def reads_old_files(old: TypeTree, new: TypeTree, family: Family = "other") -> bool:
    """Whether Spark before 4.0 reads files that were written as `old` with a table that says `new`, which is wider.

    From Parquet it reads a value only as what lies in the file in the same way: 32 or 64 bits for integers and for
    decimals of up to 9 and 18 digits, bytes beyond (SPARK-40876; every pair was read with 3.5.9, by both its readers).
    """
    if family != "parquet":
        return True
    if isinstance(old, str) and isinstance(new, str):
        old, new = type_tree(old), type_tree(new)
    if isinstance(old, str) or isinstance(new, str):
        return isinstance(old, str) and isinstance(new, str) and _in_parquet(old) == _in_parquet(new)
    ((kind, was),) = old.items()
    ((_, now),) = new.items()
    if kind == "array":
        return reads_old_files(was, now, family)
    return all(name in now and reads_old_files(was[name], now[name], family) for name in was)


def applies_at_once(old: TypeTree, new: TypeTree, family: Family = "other") -> bool:
    """Whether a changed type needs nobody's consent: no value is lost, and engines read what is there already."""
    return is_widening(old, new, family) and reads_old_files(old, new, family)


def _in_parquet(text: str) -> str:
    name, size, _ = _sized(text)
    if name in _INTEGERS:
        return "64 bits" if name == "bigint" else "32 bits"
    if name == "decimal":
        return "decimal of 32 bits" if size <= 9 else "decimal of 64 bits" if size <= 18 else "decimal"
    return "string" if name == "varchar" else name


def _primitive_widens(old: str, new: str, family: Family) -> bool:
    (one, size, scale), (other, new_size, new_scale) = _sized(old), _sized(new)
    if one in _INTEGERS and other in _INTEGERS:
        return _INTEGERS.index(one) <= _INTEGERS.index(other)
    if (one, other) in (("float", "double"), ("varchar", "string")):
        return True
    if one == other == "varchar":
        return new_size >= size
    if one == other == "decimal":
        same = (size, scale) == (new_size, new_scale)
        return same or (family != "avro" and scale == new_scale and new_size >= size)
    if family in ("avro", "text", "json") and other == "double":
        return one in _INTEGERS[:3] or one == "double"
    if family in ("text", "json") and one in _INTEGERS and other == "decimal":
        return new_size - new_scale >= _DIGITS[one]
    if family == "text" and other == "string":
        return one != "binary" and not old.strip().lower().startswith(_COMPLEX)
    return old.strip().lower() == new.strip().lower()


def _sized(text: str) -> tuple[str, int, int]:
    """A primitive's name, length or precision, and scale; a bare decimal is Hive's decimal(10,0)."""
    match = _PRIMITIVE.fullmatch(text.strip().lower())
    if match is None:
        return text.strip().lower(), 0, 0
    name = "int" if match.group(1) == "integer" else match.group(1)
    default = 10 if name == "decimal" else 0
    return name, int(match.group(2) or default), int(match.group(3) or 0)
