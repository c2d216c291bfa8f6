"""What is destructive, and which changes a rule's merge policy lets through: a filter over a merge's changes."""

from __future__ import annotations

from typing import Any

from metasync.planning.columns import is_widening
from metasync.planning.matrix import ItemChange
from metasync.settings.models import MergePolicy


def is_destructive(change: ItemChange) -> bool:
    """Whether a change makes rows or columns that queries see today disappear, or repoints them.

    Dropped tables, columns and partitions; types that do not merely widen; locations, formats, SerDe, bucketing and
    skew; columns that are read by position. Parameters, comments and owners are not: no row depends on them.
    """
    path, before, after = change.path, change.before, change.after
    if before is None:
        return path[:1] in (("buckets",), ("skew",))
    match path:
        case ():
            return after is None
        case ("columns", "*"):
            return not _only_appended(before, after)
        case ("columns", _):
            return after is None
        case ("columns", _, "type"):
            return not is_widening(str(before), str(after))
        case ("partitions", _):
            return after is None
        case ("partitions", _, item, *_):
            return item in ("location", "storage", "columns") and not (
                item == "columns" and _only_appended(before, after)
            )
        case ("location" | "formats" | "serde" | "buckets" | "skew" | "partition_keys", *_):
            return True
        case ("serde_parameters", key):
            return key == "path" or key.endswith((".delim", "separatorChar"))
        case ("spark_schema", _):
            return after is None
    return False


def _only_appended(before: Any, after: Any) -> bool:
    return isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before


def allowed(change: ItemChange, policy: MergePolicy, *, protected: bool) -> bool:
    """Whether `policy` applies a change at once; what it does not is planned and waits for `metasync apply`."""
    if protected or policy in ("plan", "ignore"):
        return False
    return policy == "full" or not is_destructive(change)
