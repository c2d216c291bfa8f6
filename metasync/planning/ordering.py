"""The order of columns and fields after a merge. The matrix decides what is there; this decides where it stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from metasync.planning.three_way import Item, Path


def merged_order(
    base: Sequence[str],
    source: Sequence[str],
    destination: Sequence[str],
    names: Sequence[str],
    *,
    last: int = 0,
    here: Sequence[str] | None = None,
) -> tuple[list[str], bool]:
    """The order of `names` after a merge, and whether both sides reordered differently.

    `base` is how the source began, `here` how the destination did, where that is another order.

    The destination's order stays, unless only the source reordered. What the source added comes last, in its order, but
    before the final `last` names (Spark's schema ends with the partition columns); a name that took the place of one
    that went stays in that place, as the metastore compares types by position.
    """
    wanted = set(names)
    began = base if here is None else here
    common = set(base) & set(began) & set(source) & set(destination)
    by_source, by_destination = _only(source, common), _only(destination, common)
    there, ours = by_source != _only(base, common), by_destination != _only(began, common)
    take_source = there and not ours
    first, second = (source, destination) if take_source else (destination, source)
    instead = {old: new for old, new in renames(base, source) if old not in wanted and new not in first}
    order = [name for old in first if (name := instead.get(old, old)) in wanted]
    rest = [name for name in (*second, *names) if name in wanted and name not in order]
    cut = len(order) - last if last and not take_source else len(order)
    order = order[:cut] + list(dict.fromkeys(rest)) + order[cut:]
    return order, there and ours and by_source != by_destination


def _only(names: Sequence[str], some: Collection[str]) -> list[str]:
    return [name for name in names if name in some]


def renames(base: Sequence[str], source: Sequence[str]) -> list[tuple[str, str]]:
    """Names that went, each with a new one that stands in its place: (old, new)."""
    if len(base) != len(source):
        return []
    return [
        (old, new)
        for old, new in zip(base, source, strict=True)
        if old != new and old not in source and new not in base
    ]


def names_in(tree: Item) -> list[str]:
    """The names at the top of an ordered tree, none for what is missing."""
    return list(tree) if isinstance(tree, Mapping) else []


def in_order(tree: Item) -> Item:
    """A tree as nested lists, so that comparing sees the order too."""
    return [[key, in_order(value)] for key, value in tree.items()] if isinstance(tree, Mapping) else tree


def arrange(
    after: Item,
    base: Item,
    here: Item,
    source: Item,
    destination: Item,
    *,
    last: int = 0,
    prefer_source: bool = False,
) -> tuple[Item, list[Path]]:
    """A merged tree with its names in order at every level; and where both sides reordered differently.

    `base` and `here` are how source and destination began. With `prefer_source`, the source's order settles a
    difference.
    """
    if not isinstance(after, Mapping):
        return after, []
    order, both = merged_order(
        names_in(base),
        names_in(source),
        names_in(source) if prefer_source else names_in(destination),
        list(after),
        last=last,
        here=names_in(base) if prefer_source else names_in(here),
    )
    conflicts: list[Path] = [()] if both else []
    arranged: dict[str, Item] = type(after)() if isinstance(after, dict) else {}
    for name in order:
        below = [side.get(name) if isinstance(side, Mapping) else None for side in (base, here, source, destination)]
        arranged[name], found = arrange(after[name], *below, prefer_source=prefer_source)
        conflicts += [(name, *path) for path in found]
    return arranged, conflicts
