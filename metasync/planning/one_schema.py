"""A table's schema, which stands in several places, is one decision: its columns, Spark's schema, Avro's literal.

Where one of them is carried and another waits, engines read values as other columns than they are. So what two of
them say about one column, or about one field within it, is carried together, waits together, and is settled together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metasync.planning.kinds.kind import ALL
from metasync.planning.three_way import ItemChange, ItemConflict, Path

Subject = tuple[str, ...]
"""What an item says something about: (column), (column, "type", field, ...), (column, "comment")."""

_SAME = {"metadata": "comment"}


def subject(path: Path) -> Subject | None:
    """What a path of a schema is about; None where it is of none."""
    match path:
        case ("columns" | "spark_schema", "ALL"):
            return (ALL,)
        case ("columns" | "spark_schema", column, "type", *rest):
            return (column.lower(), "type", *_fields(rest))
        case ("columns" | "spark_schema", column, *rest):
            return (column.lower(), *(_SAME.get(word, word) for word in rest[:1]))
        case ("avro_schema", _, "fields", column, *_):
            return (column.lower(),)
    return None


def _fields(rest: Sequence[str]) -> list[str]:
    """The names of fields in what follows `type`: a name is what comes after `struct`."""
    return [word.lower() for before, word in zip(("type", *rest), rest, strict=False) if before == "struct"]


def same_decision(one: Path, other: Path) -> bool:
    """Whether two items of different schemas are about one column, or one is within what the other is about."""
    first, second = subject(one), subject(other)
    if first is None or second is None or one[0] == other[0]:
        return False
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]


def together(changes: Sequence[ItemChange], allowed: Callable[[ItemChange], bool]) -> list[ItemChange]:
    """The changes that are allowed, less those of a schema whose counterpart is not."""
    carried = [change for change in changes if allowed(change)]
    held = [change for change in changes if change not in carried]
    while more := [c for c in carried if any(same_decision(c.path, h.path) for h in held)]:
        carried = [change for change in carried if change not in more]
        held += more
    return carried


def asked_once(conflicts: Sequence[ItemConflict]) -> list[ItemConflict]:
    """The conflicts that a person is asked about: of one decision, the one of the columns."""
    columns = [conflict for conflict in conflicts if conflict.path[:1] == ("columns",)]
    return [c for c in conflicts if leader(c, columns) is c]


def leader(conflict: ItemConflict, conflicts: Sequence[ItemConflict]) -> ItemConflict:
    """The conflict of the columns that settles this one too; itself where there is none."""
    if conflict.path[:1] == ("columns",):
        return conflict
    among = (c for c in conflicts if c.path[:1] == ("columns",) and same_decision(c.path, conflict.path))
    return next(among, conflict)
