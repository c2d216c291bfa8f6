"""The version graph: nearest common ancestors, as `git merge-base --all` answers them.

Version numbers grow along every edge (a version is stored after its parents), so the numbers themselves are a
topological order and one sweep from the newest down is exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

Parents = Mapping[int, Sequence[int]]


def merge_bases(parents: Parents, left: int, right: int) -> tuple[int, ...]:
    """The common ancestors of `left` and `right` that are no ancestors of another one, newest first.

    A version counts as its own ancestor. Several answers mean a criss-cross; none, two unrelated histories.
    """
    if left == right:
        return (left,)
    from_left, from_right, stale = 1, 2, 4
    both = from_left | from_right
    marks = {left: from_left, right: from_right}
    queue = [-left, -right]
    heapq.heapify(queue)
    queued = {left, right}
    bases = []
    while any(not marks[-version] & stale for version in queue):
        version = -heapq.heappop(queue)
        mark = marks[version]
        if mark & both == both and not mark & stale:
            bases.append(version)
            mark |= stale
        for parent in parents.get(version, ()):
            marks[parent] = marks.get(parent, 0) | mark
            if parent not in queued:
                queued.add(parent)
                heapq.heappush(queue, -parent)
    return tuple(bases)


def is_ancestor(parents: Parents, old: int, new: int) -> bool:
    """Whether `old` is `new` or one of its ancestors."""
    return merge_bases(parents, old, new) == (old,)


def entry(parents: Parents, base: int, tip: int) -> int:
    """The oldest version on the own line of `tip` that knows `base`: the base itself, or the merge that brought it.

    What differs between base and entry was not done on this side after the base; it is how the merge left it.
    """
    knows = {base}
    for version in sorted(v for v in parents if v > base):
        if any(parent in knows for parent in parents[version]):
            knows.add(version)
    while tip != base and (above := parents.get(tip, ())[:1]) and above[0] in knows:
        tip = above[0]
    return tip


def bases_needed(parents: Parents, left: int, right: int) -> frozenset[int]:
    """Every version whose definition the merge of `left` and `right` needs as a base, bases of bases included."""
    needed: set[int] = set()
    pairs = [(left, right)]
    while pairs:
        bases = merge_bases(parents, *pairs.pop())
        needed |= set(bases)
        # Several bases are merged one after the other, over their own bases.
        pairs += [(one, other) for i, one in enumerate(bases) for other in bases[:i]]
    return frozenset(needed)
