"""No merge leaves two partitions of one table on one directory: queries would count its rows twice.

Two partitions come together where one was renamed and only its new name is carried, where both sides registered one
directory under different values (`1` and `01` of a number), or where the source has it so already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metasync.planning.kinds.partitions import places
from metasync.planning.three_way import ItemChange, ItemConflict, Path, TableTree, get, plain

TAKEN = "directory-taken"


def newly_shared(before: TableTree, after: TableTree) -> list[frozenset[Path]]:
    """The partitions that `after` has on one directory and that did not share it in `before`, a set a directory."""
    there, now = _places(before), _places(after)
    return [
        frozenset(("partitions", key) for key in keys)
        for place, keys in now.items()
        if len(keys) > 1 and not set(keys) <= set(there.get(place, ()))
    ]


def _places(tree: TableTree) -> dict[str, list[str]]:
    partitions = get(tree, ("partitions",))
    return places(partitions) if isinstance(partitions, Mapping) else {}


def renamed_as_one(
    carried: Sequence[ItemChange], changes: Sequence[ItemChange], shared: Sequence[frozenset[Path]]
) -> list[ItemChange]:
    """The carried changes less the new names of partitions whose old names wait to go: a rename is one change."""
    waiting = {c.path[:2] for c in changes if c not in carried and c.path[:1] == ("partitions",)}
    held = {path for paths in shared if paths & waiting for path in paths}
    return [change for change in carried if change.path[:2] not in held]


def conflicts_of(before: TableTree, after: TableTree) -> list[ItemConflict]:
    """The conflicts of the partitions that a merge would bring onto a taken directory; of a new table, its own."""
    shared = newly_shared(before, after)
    if shared and not isinstance(before, Mapping):
        return [ItemConflict((), None, None, plain(after), TAKEN)]
    return [
        ItemConflict(path, None, plain(get(before, path)), plain(get(after, path)), TAKEN)
        for paths in shared
        for path in sorted(paths)
        if get(before, path) != get(after, path)
    ]
