"""The plan: data that a dry run prints and an apply executes, the same in both.

Changes are in the order in which they are applied. Conflicts and refusals are rows of the plan, not exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter

from metasync.model.hms import PartitionValues, Table, TableName
from metasync.model.lakefs import Ref
from metasync.planning.definition import PartitionDefinition
from metasync.planning.three_way import ItemChange, ItemConflict


@dataclass(frozen=True)
class CreateMirror:
    """Make the mirror of one table for one ref, and its database where it is missing.

    The definition is version `version` of the graph; `copy_of` is the live table that still is that version, whose
    statistics and constraints can be copied too. `as_of` is `live` where the ref's commit is not known to history.
    """

    ref_id: int
    ref: Ref
    incarnation: int
    logical: TableName
    physical: TableName
    rule: str
    version: int
    definition: str
    copy_of: TableName | None
    partitions: int
    columns: int
    as_of: str = ""
    copy_partitions: bool = True
    resumed: bool = False
    kind: Literal["create-mirror"] = "create-mirror"


@dataclass(frozen=True)
class PartitionChange:
    """One partition before and after; None stands for absent."""

    values: PartitionValues
    before: PartitionDefinition | None
    after: PartitionDefinition | None


@dataclass(frozen=True)
class MergeTable:
    """Bring one table of a merge's destination from `before` to `after`; both None-able headers.

    `merge_commit` names the merge; `heads` are the destination's commits at which the new version holds, newest last.

    Without conflicts, `items` are carried and `withheld` ones wait for `metasync apply`. `remainder` is the source
    with the withheld items put back, for the graph; `renames` are columns that probably only got a new name. `stamp` is
    the table's `transient_lastDdlTime` when it was planned: a `resumed` change finds by it whether somebody undid what
    was written before a crash. `undoes`: takes an earlier merge back. `waiting` is the change that makes what was
    withheld, once somebody applies it. `books_only`: nothing is written, as the table will be created from the store,
    or its ref has ended.
    """

    merge_id: int
    merge_commit: str
    source: str
    source_ref_id: int | None
    destination: Ref
    destination_ref_id: int
    logical: TableName
    physical: TableName
    rule: str
    source_version: int | None
    destination_version: int | None
    base_versions: tuple[int, ...]
    before: Table | None
    after: Table | None
    partitions: tuple[PartitionChange, ...] = ()
    items: tuple[ItemChange, ...] = ()
    withheld: tuple[ItemChange, ...] = ()
    conflicts: tuple[ItemConflict, ...] = ()
    remainder: Table | None = None
    remainder_partitions: tuple[PartitionChange, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    heads: tuple[str, ...] = ()
    edge: bool = True
    undoes: bool = False
    stamp: str = ""
    resumed: bool = False
    books_only: bool = False
    waiting: MergeTable | None = None
    kind: Literal["merge-table"] = "merge-table"

    @property
    def writes(self) -> bool:
        """Whether the metastore has to be changed."""
        return not self.books_only and (self.before != self.after or bool(self.partitions))


@dataclass(frozen=True)
class CopyStatistics:
    """Give a merge's destination the source's column statistics, as below the table its data is the source's alone.

    `partitions` are the directories of those whose data the merge changed; none for a table without partitions.
    """

    merge_id: int
    logical: TableName
    rule: str
    source: TableName
    physical: TableName
    partitions: tuple[str, ...] = ()
    kind: Literal["copy-statistics"] = "copy-statistics"


@dataclass(frozen=True)
class DiscoverPartitions:
    """Make partitions of directories that a ref's head filled, end those of directories that it emptied."""

    ref_id: int
    ref: Ref
    commit: str
    logical: TableName
    physical: TableName
    partitions: tuple[PartitionChange, ...]
    rule: str = ""
    kind: Literal["discover-partitions"] = "discover-partitions"


@dataclass(frozen=True)
class PlacePartitions:
    """Point partitions at their places again: somebody's ALTER of the table wrote them back as they were half-made.

    `before` lies at the ref's root, `after` where a merge put it.
    """

    ref_id: int
    ref: Ref
    logical: TableName
    physical: TableName
    partitions: tuple[PartitionChange, ...]
    rule: str = ""
    kind: Literal["place-partitions"] = "place-partitions"


@dataclass(frozen=True)
class DropTable:
    """Drop a table of a ref that is gone, or an orphan; metadata only. `ours`: by its marks, else it belonged.

    `orphan`: no rule wants it, and somebody said that it should go; its ref may live.
    """

    ref_id: int
    ref: Ref
    incarnation: int
    logical: TableName
    physical: TableName
    ours: bool
    rule: str = ""
    orphan: bool = False
    kind: Literal["drop-table"] = "drop-table"


@dataclass(frozen=True)
class DropDatabase:
    """Drop a database that metasync made, if it is empty by then."""

    ref_id: int
    name: str
    kind: Literal["drop-database"] = "drop-database"


@dataclass(frozen=True)
class EndRef:
    """Close a ref that is gone in the store; nothing of it is left to drop, or it is kept by its rule."""

    ref_id: int
    ref: Ref
    kept: bool = False
    kind: Literal["end-ref"] = "end-ref"


@dataclass(frozen=True)
class FinishCreation:
    """Note that a ref has all the mirrors that it is to get; planned only where none of them was refused or failed."""

    ref_id: int
    ref: Ref
    kind: Literal["finish-creation"] = "finish-creation"


@dataclass(frozen=True)
class FinishDiscovery:
    """Note that every partition directory of a ref up to `commit` has been read, and what they made is done."""

    ref_id: int
    ref: Ref
    commit: str
    kind: Literal["finish-discovery"] = "finish-discovery"


@dataclass(frozen=True)
class TableFailure:
    """One table that could not be read, planned or applied; everything else went on.

    `where` is the ref, or the two refs of the merge, that it failed on; `ref_id` is the ref's, `merge_id` the merge's.
    """

    logical: TableName
    where: str
    message: str
    ref_id: int = 0
    merge_id: int = 0

    @property
    def subject(self) -> str:
        return f"{self.where} {self.logical}"


@dataclass(frozen=True)
class FinishMerge:
    """Close a merge in the ledger once every table of it is done or waits as a conflict.

    It stays open for the tables that `failed`, and holds up nothing else.
    """

    merge_id: int
    merge_commit: str
    source: str
    destination: Ref
    destination_ref_id: int
    failed: tuple[TableFailure, ...] = ()
    kind: Literal["finish-merge"] = "finish-merge"


Change = Annotated[
    CreateMirror
    | MergeTable
    | CopyStatistics
    | DiscoverPartitions
    | PlacePartitions
    | DropTable
    | DropDatabase
    | EndRef
    | FinishMerge
    | FinishCreation
    | FinishDiscovery,
    Field(discriminator="kind"),
]
Bookkeeping = EndRef | FinishMerge | FinishCreation | FinishDiscovery
"""Changes of the store alone; they come last, once those that they close are done."""
BOOKKEEPING = frozenset(change.kind for change in get_args(Bookkeeping))


def owner_of(change: Change) -> tuple[str, int]:
    """The merge or the ref that a change keeps open."""
    if isinstance(change, MergeTable | CopyStatistics | FinishMerge):
        return ("merge", change.merge_id)
    return ("ref", change.ref_id)


def subject_of(change: Change) -> str:
    """What a change is about, in a word: the table, the database, the ref or the two refs of a merge."""
    match change:
        case DropDatabase():
            return change.name
        case EndRef() | FinishCreation() | FinishDiscovery():
            return str(change.ref)
        case FinishMerge():
            return f"{change.source} -> {change.destination}"
    return str(change.physical)


@dataclass(frozen=True)
class Notice:
    """Something that a person should know. `kind` is a stable word; `help` says what to do; `ref_id` whose it is."""

    kind: str
    subject: str
    message: str
    help: str = ""
    ref_id: int = 0


@dataclass(frozen=True)
class Plan:
    """What a pass over one repository would do, and what it would not.

    `refusal` is why the safety limits hold back the changes in `held`, or why nothing at all is written. `failures` are
    the tables that are left out because something is wrong with them. `more` says that another pass will follow,
    because something waits for this one (a creation for a merge, a deletion for the ledger).
    """

    repository: str
    changes: tuple[Change, ...] = ()
    refusals: tuple[Notice, ...] = ()
    notices: tuple[Notice, ...] = ()
    refusal: str = ""
    more: bool = False
    held: tuple[Change, ...] = ()
    failures: tuple[TableFailure, ...] = ()

    @property
    def merges(self) -> tuple[MergeTable, ...]:
        return tuple(change for change in self.changes if isinstance(change, MergeTable))

    @property
    def conflicts(self) -> tuple[tuple[MergeTable, ItemConflict], ...]:
        return tuple((merge, conflict) for merge in self.merges for conflict in merge.conflicts)

    @property
    def pending(self) -> bool:
        """Whether an apply would change a definition in the metastore; statistics are no change that waits."""
        silent = MergeTable | CopyStatistics | Bookkeeping
        return any(not isinstance(c, silent) for c in self.changes) or any(merge.writes for merge in self.merges)

    def counts(self) -> Mapping[str, int]:
        """How many of each, for the last line of a plan and for metrics."""
        merges = self.merges
        return {
            "create": sum(isinstance(c, CreateMirror) for c in self.changes)
            + sum(m.writes and m.before is None for m in merges),
            "alter": sum(m.writes and m.before is not None and m.after is not None for m in merges)
            + sum(isinstance(c, DiscoverPartitions | PlacePartitions) for c in self.changes),
            "drop": sum(isinstance(c, DropTable) for c in self.changes)
            + sum(m.writes and m.after is None for m in merges),
            "withheld": sum(bool(m.withheld) for m in merges),
            "conflict": sum(bool(m.conflicts) for m in merges),
            "refused": len(self.refusals),
            "held": sum(isinstance(c, DropTable) for c in self.held),
            "failed": len(self.failures),
        }


_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, `kind` and version first."""
    return {"kind": "metasync.plan/v1", **_PLAN.dump_python(plan, mode="json")}


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """The inverse of `plan_to_json`. Raises ValueError for another kind or version."""
    if value.get("kind") != "metasync.plan/v1":
        raise ValueError(f"not a plan that this version reads: {value.get('kind')!r}")
    return _PLAN.validate_python({key: item for key, item in value.items() if key != "kind"})


@dataclass(frozen=True)
class Applied:
    """What became of one change. `state`: done, waiting (to be tried again), conflict or failed."""

    change: Change
    state: Literal["done", "waiting", "conflict", "failed"]
    message: str = ""
    conflicts: tuple[ItemConflict, ...] = field(default_factory=tuple)
