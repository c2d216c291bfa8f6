"""The three-way merge of one table: base from the version graph, the matrix over trees, then the rule's policy.

A conflict stops its table as a whole: nobody sees half of a merge on a production table. What the policy withholds
does not stop the rest; it is offered again by the next merge, which is why `remainder` exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from metasync.model.hms import Table
from metasync.planning.columns import is_widening, merged_order, refused_positions
from metasync.planning.definition import PartitionDefinition
from metasync.planning.graph import Parents, merge_bases
from metasync.planning.locations import PLACEHOLDER_SUFFIX, is_relative
from metasync.planning.matrix import (
    ABSENT,
    UNKNOWN,
    ItemChange,
    ItemConflict,
    Missing,
    TreeMerge,
    get,
    merge_trees,
    plain,
    put,
)
from metasync.planning.policy import allowed
from metasync.planning.tree import by_position, column_names, header_from_tree, partition_from_tree, to_tree
from metasync.settings.models import MergePolicy

Side = Literal["ours", "theirs"]


@dataclass(frozen=True)
class Partial:
    """A definition with those of its partitions that take part in a merge, by item name."""

    header: Table
    partitions: Mapping[str, PartitionDefinition] = field(default_factory=dict)


Definition = Partial | None
"""None: the table is absent."""


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
class TableMerge:
    """The outcome for one table.

    `carried` leads from the destination to `after`; `withheld` waits for somebody to apply it; with conflicts, nothing
    is carried. `remainder` is the source with the withheld items put back to the base.
    """

    source_changed: bool
    carried: tuple[ItemChange, ...]
    withheld: tuple[ItemChange, ...]
    conflicts: tuple[ItemConflict, ...]
    before: Definition
    after: Definition
    remainder: Definition


def merge_table(
    merge: MergeInput,
    *,
    policy: MergePolicy = "additive",
    protected: bool = False,
    additive_when_unknown: bool = False,
    choose: Side | None = None,
    may_drop: bool = True,
    approved: bool = False,
) -> TableMerge:
    """Merge one table.

    `choose` settles every conflict for one side, but with `may_drop` false none that would drop something; `approved`
    applies what the policy withholds.
    """
    versions = merge.versions
    positional = any(by_position(d.header) for d in versions.values() if d is not None)

    def tree(version: int | None) -> Any:
        definition = versions.get(version) if version is not None else None
        if definition is None:
            return ABSENT
        return to_tree(definition.header, definition.partitions.values(), positional=positional)

    source, destination = tree(merge.source), tree(merge.destination)
    base = _base(merge, tree)
    merged = merge_trees(*map(_unordered, (base, source, destination)), additive_when_unknown=additive_when_unknown)
    changes = [
        replace(change, after=source) if not change.path and change.after is not None else change
        for change in (_with_inherited_columns(change, base, destination) for change in merged.changes)
    ]
    conflicts = [c if c.path or c.theirs is None else replace(c, theirs=source) for c in merged.conflicts]
    sound: list[ItemChange] = []
    for change in changes:
        reason = _unsound(change)
        if reason is None:
            sound.append(change)
        else:
            conflicts.append(
                ItemConflict(change.path, plain(get(base, change.path)), change.before, change.after, reason)
            )
    settled = [c for c in conflicts if choose is not None and _may_settle(c, may_drop)]
    chosen = [ItemChange(c.path, c.ours, c.theirs) for c in settled if choose == "theirs" and c.ours != c.theirs]
    conflicts = [c for c in conflicts if c not in settled]
    # What somebody chose item by item is carried; what they were not asked about stays with the policy.
    carried = chosen + [c for c in sound if approved or allowed(c, policy, protected=protected)]
    withheld = [c for c in sound if c not in carried]
    after, reordered_on_both = _apply(base, source, destination, carried)
    if reordered_on_both and choose is None:
        old, ours, theirs = map(column_names, (base, destination, source))
        conflicts.append(ItemConflict(("column_order",), old, ours, theirs, "changed-on-both"))
    conflicts += _refused_by_metastore(destination, after)
    if conflicts:
        carried, withheld, after = [], [], destination
    if not carried and withheld and policy == "ignore":
        withheld = []
    remainder = _put_back(base, source, withheld)
    order_change = _order_change(destination, after, carried, conflicts)
    source_changed = (
        base is UNKNOWN or _unordered(source) != _unordered(base) or column_names(source) != column_names(base)
    )
    return TableMerge(
        source_changed=source_changed,
        carried=(*carried, *order_change),
        withheld=tuple(withheld),
        conflicts=tuple(conflicts),
        before=_partial(destination),
        after=_partial(after),
        remainder=_partial(remainder),
    )


def _base(merge: MergeInput, tree: Any) -> Any:
    if merge.source is None or merge.destination is None:
        # A side that was never seen: without it there is no history to share, and absent is what it was.
        return ABSENT
    base = _common(merge.parents, tree, merge.source, merge.destination)
    if base is UNKNOWN and merge.fallback_base is not None:
        return tree(merge.fallback_base)
    return base


def _common(parents: Parents, tree: Any, left: int, right: int) -> Any:
    """The merge base; several are merged over their own bases, and what conflicts there is unknown here."""
    bases = merge_bases(parents, left, right)
    if not bases:
        return UNKNOWN
    merged = tree(bases[0])
    for other in bases[1:]:
        below = _common(parents, tree, bases[0], other)
        result: TreeMerge = merge_trees(*map(_unordered, (below, merged, tree(other))))
        joint = put(tree(other), [(c.path, c.after) for c in result.changes])
        for conflict in result.conflicts:
            if not conflict.path:
                return UNKNOWN
            joint = put(joint, [(conflict.path, UNKNOWN)])
        merged = joint
    return merged


def _unordered(tree: Any) -> Any:
    if isinstance(tree, Missing):
        return tree
    return {key: value for key, value in tree.items() if key not in ("column_order", "spark_order")}


def _may_settle(conflict: ItemConflict, may_drop: bool) -> bool:
    """Whether a choice of sides can settle a conflict: never one that would leave the ref or break the partitions."""
    if conflict.reason in ("location-off-ref", "partition-keys-changed"):
        return False
    return may_drop or (conflict.theirs is not None and conflict.reason != "type-not-widened")


def _unsound(change: ItemChange) -> str | None:
    """Why a change that only the source made still cannot be taken over as it is."""
    match change.path:
        case ("columns", _, "type") if change.after is None or not is_widening(str(change.before), str(change.after)):
            return "type-not-widened"
        case ("partition_keys",):
            return "partition-keys-changed"
        case ("location",) if not is_relative(change.after):
            return "location-off-ref"
        case ("serde_parameters", "path") if change.after is not None and not is_relative(change.after):
            return "location-off-ref"
        case ("partitions", _, "location") if change.after is not None and not is_relative(change.after):
            return "location-off-ref"
        case ("partitions", _) if change.after is not None and not is_relative(change.after.get("location")):
            return "location-off-ref"
        case () if change.after is not None and not _is_home(change.after):
            return "location-off-ref"
    return None


def _is_home(tree: Any) -> bool:
    """Whether a table and all of its partitions lie on their own ref."""
    where = tree.get("location") or ""
    real = tree.get("serde_parameters", {}).get("path", where) if where.endswith(PLACEHOLDER_SUFFIX) else where
    return is_relative(real) and all(is_relative(p.get("location")) for p in tree.get("partitions", {}).values())


def _with_inherited_columns(change: ItemChange, base: Any, destination: Any) -> ItemChange:
    """A partition's own columns, with what the destination's table gained or lost since the base.

    A partition that inherited on both sides and now has its own columns (ALTER TABLE without CASCADE) must not lose
    the columns that the destination added to all.
    """
    match change.path:
        case ("partitions", _, "columns") if change.before is None and isinstance(change.after, list):
            old, now = column_names(base), column_names(destination)
            if old == now or "*" in destination["columns"]:
                return change
            after = [c for c in change.after if c["name"] in now or c["name"] not in old]
            present = {c["name"] for c in after}
            gained = [name for name in now if name not in old and name not in present]
            added = [{"name": name, **destination["columns"][name]} for name in gained]
            return ItemChange(change.path, change.before, [*after, *added])
    return change


def _apply(base: Any, source: Any, destination: Any, carried: list[ItemChange]) -> tuple[Any, bool]:
    """The destination with the changes; also whether both sides reordered their columns differently."""
    after = put(destination, [(change.path, change.after) for change in carried])
    if after is ABSENT or destination is ABSENT or source is ABSENT:
        return after, False
    after, conflict = _ordered(after, base, source, destination)
    return after, conflict


def _put_back(base: Any, source: Any, withheld: list[ItemChange]) -> Any:
    remainder = put(source, [(change.path, plain(get(base, change.path))) for change in withheld])
    if remainder is ABSENT or source is ABSENT:
        return remainder
    return _ordered(remainder, base, source, source)[0]


def _ordered(tree: Any, base: Any, source: Any, destination: Any) -> tuple[Any, bool]:
    if "*" in tree["columns"]:
        return tree, False
    old = column_names(base) if not isinstance(base, Missing) else column_names(destination)
    names = set(tree["columns"])
    order, conflict = merged_order(old, column_names(source), column_names(destination), names)
    order += [name for name in tree["columns"] if name not in order]
    tree = tree | {"column_order": order}
    if "spark_schema" in tree:
        fields = set(tree["spark_schema"])
        orders = [
            list(side.get("spark_order", ())) if isinstance(side, Mapping) else []
            for side in (base, source, destination)
        ]
        last = sum(1 for key in tree["partition_keys"] if key["name"].lower() in fields)
        order, _ = merged_order(orders[0], orders[1], orders[2], fields, before_last=last)
        order += [name for name in tree["spark_schema"] if name not in order]
        tree = tree | {"spark_order": order}
    return tree, conflict


def _order_change(
    destination: Any, after: Any, carried: list[ItemChange], conflicts: list[ItemConflict]
) -> tuple[ItemChange, ...]:
    if conflicts or destination is ABSENT or after is ABSENT:
        return ()
    before, now = column_names(destination), column_names(after)
    kept = [name for name in before if name in now]
    if now[: len(kept)] == kept:
        return ()
    return (ItemChange(("column_order",), before, now),)


def _refused_by_metastore(destination: Any, after: Any) -> list[ItemConflict]:
    """Columns that HMS would refuse, found before anything is written."""
    if destination is ABSENT or after is ABSENT or destination == after:
        return []
    old, new = header_from_tree(destination).sd.cols, header_from_tree(after).sd.cols
    if old == new:
        return []
    return [
        ItemConflict(("columns", now.name), None, was.type, now.type, "metastore-refuses")
        for was, now in refused_positions(old, new)
    ]


def _partial(tree: Any) -> Definition:
    if tree is ABSENT:
        return None
    partitions = {key: partition_from_tree(key, value) for key, value in tree.get("partitions", {}).items()}
    return Partial(header_from_tree(tree), partitions)
