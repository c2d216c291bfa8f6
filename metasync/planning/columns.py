"""Columns: their order after a merge, and which changes of type a table can live with.

Which changes the metastore refuses was seen live on 2.3.9 to 4.2.1 (it compares by position while
`metastore.disallow.incompatible.col.type.changes` is true, the default).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from metasync.model.hms import FieldSchema

_NUMERIC = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
_STRINGS = ("char", "varchar", "string")
_TYPE = re.compile(r"(\w+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)|<.*>)?", re.S)


def _family(text: str) -> tuple[str, int | None, int | None]:
    match = _TYPE.fullmatch(text.strip().lower())
    if match is None:
        return text.strip().lower(), None, None
    length, scale = match.group(2), match.group(3)
    name = "int" if match.group(1) == "integer" else match.group(1)
    return name, int(length) if length else None, int(scale) if scale else None


def is_widening(old: str, new: str) -> bool:
    """Whether every value of `old` is a value of `new` and files written as `old` stay readable as `new`.

    Integers widen to larger ones and float to double; decimals and varchars grow. Anything else may be accepted by the
    metastore and still be unreadable in Parquet or ORC, so it is not counted as safe.
    """
    (one, length, scale), (other, new_length, new_scale) = _family(old), _family(new)
    integers = _NUMERIC[:4]
    if one in integers and other in integers:
        return integers.index(one) <= integers.index(other)
    if (one, other) == ("float", "double"):
        return True
    if one == other == "decimal":
        precision, digits = length or 10, scale or 0
        return (new_scale or 0) == digits and (new_length or 10) >= precision
    if one == "varchar" and other == "string":
        return True
    if one == other == "varchar":
        return (new_length or 0) >= (length or 0)
    return old.strip().lower() == new.strip().lower()


def metastore_accepts(old: str, new: str) -> bool:
    """Whether HMS lets a column change from `old` to `new` while it disallows incompatible changes."""
    (one, _, _), (other, _, _) = _family(old), _family(new)
    if old.strip().lower() == new.strip().lower():
        return True
    complex_types = ("array", "map", "struct", "uniontype")
    if one in complex_types or other in complex_types:
        return one == other
    if one in ("float", "double") and other == "decimal":
        return False
    if one in _NUMERIC and other in _NUMERIC:
        return _NUMERIC.index(one) <= _NUMERIC.index(other)
    if one in _STRINGS and other in _STRINGS:
        return True
    if other in _STRINGS:
        return one not in ("boolean", "binary")
    return one == other


def refused_positions(old: Sequence[FieldSchema], new: Sequence[FieldSchema]) -> list[tuple[FieldSchema, FieldSchema]]:
    """The pairs, by position, for which HMS would refuse to alter a table from `old` columns to `new` ones."""
    return [(was, now) for was, now in zip(old, new, strict=False) if not metastore_accepts(was.type, now.type)]


def merged_order(
    base: Sequence[str],
    source: Sequence[str],
    destination: Sequence[str],
    names: set[str],
    *,
    before_last: int = 0,
) -> tuple[list[str], bool]:
    """The order of `names` after a merge, and whether both sides reordered (then the destination's stays).

    The destination's order is kept unless only the source reordered; additions come last, in the source's order, but
    before the last `before_last` names (Spark's schema ends with the partition columns).
    """
    common = [name for name in base if name in source and name in destination]
    by_source = [name for name in source if name in common]
    by_destination = [name for name in destination if name in common]
    reordered_there = by_source != common
    reordered_here = by_destination != common
    take_source = reordered_there and not reordered_here
    first, second = (source, destination) if take_source else (destination, source)
    order = [name for name in first if name in names]
    rest = [name for name in second if name in names and name not in order]
    cut = len(order) - before_last if before_last and not take_source else len(order)
    conflict = reordered_there and reordered_here and by_source != by_destination
    return order[:cut] + rest + order[cut:], conflict
