"""The three-way merge of one table: base from the version graph, the matrix over trees, then the rule's policy.

A conflict stops its table as a whole: nobody sees half of a merge on a production table. What the policy withholds
does not stop the rest; it is offered again by the next merge, which is why `remainder` exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from metasync.model.hms import Table
from metasync.planning.accepted_types import ColumnCheck
from metasync.planning.file_layout import Layout, layout_of
from metasync.planning.item_tree import (
    Definition,
    column_names,
    dangling,
    from_tree,
    header_from_tree,
    in_merged_order,
    is_container,
    merged_view,
    order_of,
    ordered_names,
    to_tree,
)
from metasync.planning.kinds import kind_of
from metasync.planning.kinds.columns import refused_positions
from metasync.planning.kinds.kind import ALL
from metasync.planning.kinds.partitions import keeps_former_storage
from metasync.planning.kinds.storage import off_ref
from metasync.planning.one_schema import asked_once, leader, same_decision, together
from metasync.planning.ordering import renames
from metasync.planning.policy import allowed, is_destructive
from metasync.planning.shared_directories import TAKEN, conflicts_of, newly_shared, renamed_as_one
from metasync.planning.three_way import (
    ABSENT,
    UNKNOWN,
    Item,
    ItemChange,
    ItemConflict,
    Path,
    TableTree,
    TreeMerge,
    get,
    merge_trees,
    plain,
    put,
)
from metasync.planning.types import spelled_like
from metasync.planning.version_graph import Parents, entry, merge_bases
from metasync.settings.models import MergePolicy

Side = Literal["ours", "theirs"]
Choice = Callable[[ItemConflict], Side | None]
"""Who wins a conflict; None leaves it open."""

_COLUMNS = (("columns",), ("column_order",), ("spark_schema",), ("avro_schema",))
UNSETTLED = ("location-off-ref", "partition-keys-changed", "metastore-refuses", "missing-column", TAKEN)
"""Conflicts that taking the source's side cannot settle: it would leave the ref or break the table."""


@dataclass(frozen=True)
class MergeInput:
    """What the merge of one table is computed from.

    `versions` has the definition of both sides, of every base and of bases of bases; `fallback_base` is the version at
    lakeFS's merge base, used where the graph has none.
    """

    parents: Parents
    versions: Mapping[int, Definition]
    source: int | None
    destination: int | None
    fallback_base: int | None = None


@dataclass(frozen=True)
class MergeRules:
    """How a merge is judged.

    `choose` settles conflicts; `by_strategy`: it is no person who was asked, so it drops, narrows and repoints nothing,
    and the policy holds for what it takes. `approved` applies what the policy withholds. `column_check`: which changes
    of type the metastore refuses. `emptied`: the partitions below which the merged data has no object.
    """

    policy: MergePolicy = "additive"
    protected: bool = False
    additive_when_unknown: bool = False
    choose: Choice | None = None
    by_strategy: bool = False
    approved: bool = False
    column_check: ColumnCheck = "4.0"
    emptied: frozenset[str] = frozenset()

    def allow(self, change: ItemChange, layout: Layout) -> bool:
        """Whether a change goes through at once."""
        return self.approved or allowed(change, self.policy, layout, protected=self.protected, emptied=self.emptied)


DEFAULT_RULES = MergeRules()


@dataclass(frozen=True)
class TableMerge:
    """The outcome for one table.

    `carried` leads from the destination to `after`; `withheld` waits for somebody to apply it; with conflicts, nothing
    is carried. `remainder` is the source with the withheld items put back to the base. `renames` are columns of the
    source that probably only changed their name: (old, new).
    """

    source_changed: bool
    carried: tuple[ItemChange, ...]
    withheld: tuple[ItemChange, ...]
    conflicts: tuple[ItemConflict, ...]
    before: Definition
    after: Definition
    remainder: Definition
    renames: tuple[tuple[str, str], ...] = ()


def merge_table(merge: MergeInput, rules: MergeRules = DEFAULT_RULES) -> TableMerge:
    """Merge one table."""
    layout = layout_of(d.header for d in merge.versions.values() if d is not None)

    def as_it_is(version: int | None) -> TableTree:
        return to_tree(merge.versions.get(version) if version is not None else None, layout)

    spelling = get(as_it_is(merge.destination), ("columns",))

    def tree(version: int | None) -> TableTree:
        one = as_it_is(version)
        if not isinstance(one, Mapping) or ALL in one.get("columns", (ALL,)):
            return one
        return {**one, "columns": spelled_like(one["columns"], spelling)}

    sides = _sides(merge, tree)
    changes, conflicts = _three_ways(sides, layout, rules)
    settled = [(c, side) for c in conflicts if (side := _settled(leader(c, conflicts), layout, rules)) is not None]
    conflicts = asked_once([c for c in conflicts if all(c is not one for one, _ in settled)])
    chosen = [ItemChange(c.path, c.ours, c.theirs) for c, side in settled if side == "theirs" and c.ours != c.theirs]
    along = {
        side: [c for c in changes if any(side == one and same_decision(c.path, at.path) for at, one in settled)]
        for side in ("ours", "theirs")
    }
    changes = [c for c in changes if c not in along["ours"] and c not in along["theirs"]]
    chosen += along["theirs"]
    if rules.by_strategy:
        changes = chosen + changes
        chosen = []
    # What somebody chose item by item is carried; what they were not asked about stays with the policy.
    carried = chosen + together(changes, lambda change: rules.allow(change, layout))
    carried, changes, taken = _on_directories_of_their_own(sides.destination, carried, changes, rules)
    after, reordered = _apply(sides, carried, rules)
    refused = _refused(sides.destination, after, rules)
    if refused and all(_choice(c, rules) == "ours" for c in refused):
        # The destination keeps its columns as they are; all else is merged, but for what needs the source's columns.
        carried = [c for c in carried if c.path[:1] not in _COLUMNS]
        changes = [c for c in changes if c.path[:1] not in _COLUMNS]
        after, reordered = put(sides.destination, _pairs(carried)), []
        refused = _refused(sides.destination, after, rules)
    conflicts += reordered + refused + taken
    withheld = [c for c in changes if c not in carried]
    order = _order_change(sides.destination, after)
    if order and not rules.allow(order[0], layout):
        withheld += order
        after, order = _in_own_order(sides, put(sides.destination, _pairs(carried))), ()
    if conflicts:
        carried, withheld, order, after = [], [], (), sides.destination
    if rules.policy == "ignore":
        withheld = []
    return TableMerge(
        source_changed=_differs(sides),
        carried=(*carried, *order),
        withheld=tuple(withheld),
        conflicts=tuple(conflicts),
        before=from_tree(sides.destination),
        after=from_tree(after),
        remainder=from_tree(_put_back(sides, withheld)),
        renames=_probable_renames(sides.began_there, sides.source),
    )


@dataclass(frozen=True)
class _Sides:
    """The three trees of a merge; any may be ABSENT, the base UNKNOWN too."""

    base: TableTree
    source: TableTree
    destination: TableTree
    began_there: TableTree
    began_here: TableTree
    """How source and destination stood once they knew the base: their order of columns is compared with that."""


def diff(before: Definition, after: Definition) -> tuple[ItemChange, ...]:
    """What leads from one definition to another, item by item."""
    layout = layout_of(d.header for d in (before, after) if d is not None)
    old, new = to_tree(before, layout), to_tree(after, layout)
    changes = merge_trees(*map(merged_view, (old, new, old)), is_container=is_container).changes
    return (*changes, *_order_change(old, new))


def _three_ways(sides: _Sides, layout: Layout, rules: MergeRules) -> tuple[list[ItemChange], list[ItemConflict]]:
    """The matrix, and of what only the source changed that which cannot be taken over as it is."""
    base, source, destination = sides.base, sides.source, sides.destination
    views = map(merged_view, (base, source, destination))
    if base is ABSENT and ABSENT not in (source, destination):
        # Two tables of one name: where they differ, neither of them is an addition to the other.
        merged = merge_trees(UNKNOWN, *list(views)[1:], is_container=is_container)
        merged = replace(merged, conflicts=tuple(replace(c, reason="added-on-both") for c in merged.conflicts))
    else:
        merged = merge_trees(*views, additive_when_unknown=rules.additive_when_unknown, is_container=is_container)
    conflicts = [c if c.path or c.theirs is None else replace(c, theirs=source) for c in merged.conflicts]
    changes: list[ItemChange] = []
    former = header_from_tree(sides.began_there) if isinstance(sides.began_there, Mapping) else None
    for found in merged.changes:
        if keeps_former_storage(found, former):
            continue
        # A whole table comes with what no merge compares.
        whole = not found.path and found.after is not None
        change = replace(found, after=source) if whole else _with_inherited_columns(found, base, destination)
        reason = _refusal(change, layout)
        if reason is None:
            changes.append(change)
        else:
            old = plain(get(base, change.path))
            conflicts.append(ItemConflict(change.path, old, change.before, change.after, reason))
    return changes, conflicts


def _on_directories_of_their_own(
    destination: TableTree, carried: list[ItemChange], changes: list[ItemChange], rules: MergeRules
) -> tuple[list[ItemChange], list[ItemChange], list[ItemConflict]]:
    """Carried and other changes so that no two partitions come to lie on one directory, and where they still would."""
    after = put(destination, _pairs(carried))
    carried = renamed_as_one(carried, changes, newly_shared(destination, after))
    taken = conflicts_of(destination, put(destination, _pairs(carried)))
    left = {conflict.path for conflict in taken if _choice(conflict, rules) == "ours"}
    if left:
        carried = [change for change in carried if change.path[:2] not in left]
        changes = [change for change in changes if change.path[:2] not in left]
        taken = conflicts_of(destination, put(destination, _pairs(carried)))
    return carried, changes, taken


def _refusal(change: ItemChange, layout: Layout) -> str | None:
    """Why a change that only the source made still cannot be taken over as it is."""
    if not change.path:
        return "location-off-ref" if change.after is not None and off_ref(change.after) else None
    return kind_of(change.path).refusal(change, layout)


def _settled(conflict: ItemConflict, layout: Layout, rules: MergeRules) -> Side | None:
    """The side that a choice settles a conflict for; None where none was made, or cannot be taken."""
    side = _choice(conflict, rules)
    if side != "theirs":
        return side
    change = ItemChange(conflict.path, conflict.ours, conflict.theirs)
    if {conflict.reason, _refusal(change, layout)} & set(UNSETTLED):
        return None
    unasked = conflict.reason == "type-not-widened" or _refusal(change, layout) or is_destructive(change, layout)
    return None if rules.by_strategy and unasked else side


def _choice(conflict: ItemConflict, rules: MergeRules) -> Side | None:
    return rules.choose(conflict) if rules.choose is not None else None


def _differs(sides: _Sides) -> bool:
    base, source = sides.base, sides.source
    if base is UNKNOWN or merged_view(source) != merged_view(base):
        return True
    return bool(order_of(source) != order_of(sides.began_there))


def _sides(merge: MergeInput, tree: Callable[[int | None], TableTree]) -> _Sides:
    source, destination = tree(merge.source), tree(merge.destination)
    if merge.source is None or merge.destination is None:
        # A side that was never seen: without it there is no history to share, and absent is what it was.
        return _Sides(ABSENT, source, destination, ABSENT, ABSENT)
    bases = merge_bases(merge.parents, merge.source, merge.destination)
    base = _common(merge.parents, tree, merge.source, merge.destination)
    if not bases and merge.fallback_base is not None:
        base = tree(merge.fallback_base)
    began = [
        tree(version) if (version := entry(merge.parents, bases[0], tip)) in merge.versions else tree(bases[0])
        for tip in (merge.source, merge.destination)
        if bases
    ]
    return _Sides(base, source, destination, *(began or (base, base)))


def _common(parents: Parents, tree: Callable[[int | None], TableTree], left: int, right: int) -> TableTree:
    """The merge base; several are merged over their own bases, and what conflicts there is unknown here."""
    bases = merge_bases(parents, left, right)
    if not bases:
        return UNKNOWN
    merged = tree(bases[0])
    for other in bases[1:]:
        below = _common(parents, tree, bases[0], other)
        ours = tree(other)
        result: TreeMerge = merge_trees(*map(merged_view, (below, merged, ours)), is_container=is_container)
        joint = put(ours, [(c.path, c.after) for c in result.changes])
        for conflict in result.conflicts:
            if not conflict.path:
                return UNKNOWN
            joint = put(joint, [(conflict.path, UNKNOWN)])
        merged, _ = in_merged_order(joint, below, below, merged, ours)
    return merged


def _with_inherited_columns(change: ItemChange, base: TableTree, destination: TableTree) -> ItemChange:
    """A partition's own columns, with what the destination's table gained or lost since the base.

    A partition that inherited on both sides and now has its own columns (ALTER TABLE without CASCADE) must not lose
    the columns that the destination added to all.
    """
    match change.path:
        case ("partitions", _, "columns") if change.before is None and change.after is not None:
            old, now = column_names(base), column_names(destination)
            if old == now or not now or ALL in change.after:
                return change
            kept = {name: item for name, item in change.after.items() if name in now or name not in old}
            ours = get(destination, ("columns",))
            assert isinstance(ours, Mapping)
            gained = {name: ours[name] for name in now if name not in old and name not in kept}
            return ItemChange(change.path, change.before, kept | gained)
    return change


def _pairs(changes: list[ItemChange]) -> list[tuple[Path, Item]]:
    return [(change.path, change.after) for change in changes]


def _apply(sides: _Sides, carried: list[ItemChange], rules: MergeRules) -> tuple[TableTree, list[ItemConflict]]:
    """The destination with the changes; and the conflict where both sides reordered their columns differently."""
    after = put(sides.destination, _pairs(carried))
    if ABSENT in (after, sides.destination, sides.source, sides.base):
        return after, []
    names = [column_names(side) for side in (sides.base, sides.destination, sides.source)]
    question = ItemConflict(("column_order",), names[0], names[1], names[2], "changed-on-both")
    side = _choice(question, rules)
    ordered, conflicts = in_merged_order(
        after, sides.began_there, sides.began_here, sides.source, sides.destination, prefer_source=side == "theirs"
    )
    asked = side is None and any(path[:1] == ("columns",) for path in conflicts)
    return ordered, [question] if asked else []


def _in_own_order(sides: _Sides, after: TableTree) -> TableTree:
    """A merged tree in the order that the destination gives it, as if nobody had reordered on the source."""
    return in_merged_order(after, sides.began_there, sides.began_here, sides.began_there, sides.destination)[0]


def _put_back(sides: _Sides, withheld: list[ItemChange]) -> TableTree:
    """The source less what is withheld."""
    base, source, began = sides.base, sides.source, sides.began_there
    items = [c for c in withheld if c.path != ("column_order",)]
    remainder = put(source, [(change.path, plain(get(base, change.path))) for change in items])
    reordered = len(items) < len(withheld)
    kept = began if reordered else source
    return in_merged_order(remainder, began, began, kept, kept)[0]


def _order_change(destination: TableTree, after: TableTree) -> tuple[ItemChange, ...]:
    """A change of order that shows: columns, or fields within them, that stay changed their places."""
    before, now = ordered_names(destination), ordered_names(after)
    stayed = set(before) & set(now)
    kept, moved = [n for n in before if n in stayed], [n for n in now if n in stayed]
    return () if kept == moved else (ItemChange(("column_order",), kept, moved),)


def _refused(destination: TableTree, after: TableTree, rules: MergeRules) -> list[ItemConflict]:
    """What the metastore or the table could not live with, found before anything is written."""
    old, new = header_from_tree(destination), header_from_tree(after)
    if old is None or new is None or old == new:
        return []
    before = dangling(destination)
    broken = [
        ItemConflict(path, None, None, name, "missing-column")
        for path, name in dangling(after)
        if (path, name) not in before
    ]
    return broken + refused_columns(old, new, rules.column_check)


def refused_columns(before: Table, after: Table, check: ColumnCheck) -> list[ItemConflict]:
    """The columns for which the metastore would refuse to lead a table from one header to the other."""
    return [
        ItemConflict(("columns", now.name), None, was.type, now.type, "metastore-refuses")
        for was, now in refused_positions(before.sd.cols, after.sd.cols, check)
    ]


def _probable_renames(base: TableTree, source: TableTree) -> tuple[tuple[str, str], ...]:
    """Columns that went, each with a new one of the same type in its place."""
    pairs = renames(column_names(base), column_names(source))
    same = [get(base, ("columns", old, "type")) == get(source, ("columns", new, "type")) for old, new in pairs]
    return tuple(pair for pair, alike in zip(pairs, same, strict=True) if alike)
