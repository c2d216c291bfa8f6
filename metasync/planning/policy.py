"""What is destructive, and which changes a rule's merge policy lets through: a filter over a merge's changes."""

from __future__ import annotations

from collections.abc import Collection

from metasync.planning.file_layout import Layout
from metasync.planning.kinds import kind_of
from metasync.planning.three_way import ItemChange
from metasync.settings.models import MergePolicy


def is_destructive(change: ItemChange, layout: Layout) -> bool:
    """Whether a change makes rows or columns that queries see today disappear, or repoints them.

    Dropped tables, columns, fields and partitions; types that do not merely widen; locations, formats, SerDe and what
    else decides how files become rows; bucketing and skew; columns that are read by position. A dropped constraint too:
    engines plan by it. Other parameters, comments, owners and added constraints are not: no row depends on them.
    """
    if not change.path:
        return change.after is None
    return kind_of(change.path).is_destructive(change, layout)


def allowed(
    change: ItemChange, policy: MergePolicy, layout: Layout, *, protected: bool, emptied: Collection[str] = ()
) -> bool:
    """Whether `policy` applies a change at once; what it does not is planned and waits for `metasync apply`.

    `emptied` are the partitions below which the destination's data has no object any more: to drop one loses nothing.
    """
    if protected or policy in ("plan", "ignore"):
        return False
    if policy == "full" or not is_destructive(change, layout):
        return True
    return change.path[:1] == ("partitions",) and change.path[1:] in {(key,) for key in emptied}
