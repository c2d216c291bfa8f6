"""The one matrix of three-way merging, over trees.

A tree is a dict whose keys are items (a column, a parameter, a partition) and whose values are trees or leaves; an
item that is not there is ABSENT, an item of whose past nothing is known is UNKNOWN. The same matrix decides at every
level, the table itself included, so creating a table, dropping a partition and changing a comment follow one rule:

    base     source  destination   outcome
    x        x       any           nothing
    x        y       x             y
    x        y       y             nothing
    x        y       z             conflict (gone is a value like any other)
    unknown  y       y             nothing
    unknown  y       z             conflict, but for additions where these are allowed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum
from typing import Any

Path = tuple[str, ...]
Item = object
"""What stands at a path: a tree, a leaf (a JSON value, whose form its kind knows), or nothing."""
Tree = Mapping[str, Any]
"""Items by name."""


class Missing(Enum):
    """Stands where no value is."""

    ABSENT = "absent"
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return self.value


ABSENT = Missing.ABSENT
UNKNOWN = Missing.UNKNOWN
TableTree = Tree | Missing
"""A whole table on one side of a merge: its tree, or ABSENT; the base may be UNKNOWN too."""


@dataclass(frozen=True)
class ItemChange:
    """One item of the destination that becomes the source's. None stands for absent."""

    path: Path
    before: Any
    after: Any


@dataclass(frozen=True)
class ItemConflict:
    """One item that both sides changed, or that cannot be changed; `reason` is a stable word, see docs/merging.md."""

    path: Path
    base: Any
    ours: Any
    theirs: Any
    reason: str


@dataclass(frozen=True)
class TreeMerge:
    """What to change on the destination, and what cannot be decided."""

    changes: tuple[ItemChange, ...]
    conflicts: tuple[ItemConflict, ...]


class Variant(dict[str, Item]):
    """A tree that is one of several things, as its only key says: items below two different ones are not the same."""


def merge_trees(
    base: TableTree,
    source: TableTree,
    destination: TableTree,
    *,
    additive_when_unknown: bool = False,
    is_container: Callable[[Path], bool] = lambda path: not path,
) -> TreeMerge:
    """Three-way merge of trees; any of them may be ABSENT, the base UNKNOWN too.

    Where both sides hold trees and the base holds none, what each of them made is one thing, and two different ones are
    a conflict; but in a container, as which an empty one is the same as none, items are compared one by one.
    """
    changes: list[ItemChange] = []
    conflicts: list[ItemConflict] = []

    def visit(path: Path, base: Item, source: Item, destination: Item) -> None:
        if source == destination or (base is not UNKNOWN and source == base):
            return
        if trees := _comparable(base, source, destination, is_container(path)):
            below, theirs, ours = trees
            missing = UNKNOWN if base is UNKNOWN else ABSENT
            for key in keys(theirs, ours, below):
                visit((*path, key), below.get(key, missing), theirs.get(key, ABSENT), ours.get(key, ABSENT))
            return
        if base is UNKNOWN and additive_when_unknown and ABSENT in (source, destination):
            if destination is ABSENT:
                changes.append(ItemChange(path, None, source))
            return
        if base is not UNKNOWN and base == destination:
            changes.append(ItemChange(path, plain(destination), plain(source)))
            return
        conflicts.append(
            ItemConflict(path, plain(base), plain(destination), plain(source), _reason(base, source, destination))
        )

    visit((), base, source, destination)
    return TreeMerge(tuple(changes), tuple(conflicts))


def _comparable(base: Item, source: Item, destination: Item, container: bool) -> tuple[Tree, Tree, Tree] | None:
    """The three as trees, where the items below them are the same items; an empty tree for a base that is none."""
    if not isinstance(source, Mapping) or not isinstance(destination, Mapping):
        return None
    if not (isinstance(base, Mapping) or base is UNKNOWN or container):
        return None
    trees = (base if isinstance(base, Mapping) else {}, source, destination)
    some = trees if isinstance(base, Mapping) else trees[1:]
    if any(isinstance(tree, Variant) for tree in some) and len({tuple(tree) for tree in some}) > 1:
        return None
    return trees


def keys(*trees: Iterable[str]) -> list[str]:
    """The keys of all, in the order of the first that has them."""
    return list(dict.fromkeys(key for tree in trees for key in tree))


def plain(value: Item) -> Item:
    """None for what is missing, at any depth: plans and conflicts are stored as JSON."""
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    return None if isinstance(value, Missing) else value


def _reason(base: Item, source: Item, destination: Item) -> str:
    if base is UNKNOWN:
        return "base-unknown"
    if base is ABSENT:
        return "added-on-both"
    if source is ABSENT:
        return "dropped-here-changed-there"
    if destination is ABSENT:
        return "changed-here-dropped-there"
    return "changed-on-both"


def get(tree: Item, path: Path) -> Item:
    """The value at `path`, or ABSENT."""
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return ABSENT
        tree = tree[key]
    return tree


def put(tree: TableTree, values: Sequence[tuple[Path, Item]]) -> TableTree:
    """A copy of `tree` with each value at its path; None or ABSENT takes the item away, parents are made."""
    for path, value in values:
        whole = value if isinstance(value, Mapping) else ABSENT
        tree = _put(tree, path, value) if path else whole
    return tree


def _put(tree: Item, path: Path, value: Item) -> Tree:
    below = copy(tree) if isinstance(tree, dict) else {}
    key, rest = path[0], path[1:]
    if rest:
        below[key] = _put(below.get(key, ABSENT), rest, value)
    elif value is None or value is ABSENT:
        below.pop(key, None)
    else:
        below[key] = value
    return below
