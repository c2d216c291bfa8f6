"""The changes that a plan is made of: one class for each, as data.

What is done with a change is a `match` over its class, which mypy wants to be complete (`assert_never`), so that a new
class is refused until each of these places knows it: `counted_as`, `owner_of` and `subject_of` below,
`engine/apply/applier.py` (how it is made), `engine/record/recorder.py` (what the store keeps of it) and
`application/plan_text.py` (how people read it). Each is planned in the module of its name:
`planning/plan_creation.py`, `plan_merge.py`, `plan_partitions.py`, `plan_types.py`, `plan_deletion.py`,
`plan_repair.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, assert_never, get_args

from pydantic import AliasChoices, Field

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
    withheld, once somebody applies it. `store_only`: nothing is written to the metastore, as the table will be created
    from the store, or its ref is gone (plans of version 1 call it `books_only`).
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
    store_only: Annotated[bool, Field(validation_alias=AliasChoices("store_only", "books_only"))] = False
    waiting: MergeTable | None = None
    kind: Literal["merge-table"] = "merge-table"

    @property
    def writes(self) -> bool:
        """Whether the metastore has to be changed."""
        return not self.store_only and (self.before != self.after or bool(self.partitions))


@dataclass(frozen=True)
class CopyStatistics:
    """Give a merge's destination the source's statistics where its data is the source's alone; else take its own away.

    They are those of columns, of tables and of partitions, as far as the merge changed the data that they tell of.
    `partitions` are the directories whose data is the source's, `mixed_partitions` those that hold other data too.
    `mixed`: the table as a whole does.
    """

    merge_id: int
    logical: TableName
    rule: str
    source: TableName
    physical: TableName
    partitions: tuple[str, ...] = ()
    mixed_partitions: tuple[str, ...] = ()
    mixed: bool = False
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
class MakeExternal:
    """Take from a living mirror the right to delete data, as `where`, one of its locations, is not on its ref."""

    ref_id: int
    ref: Ref
    logical: TableName
    physical: TableName
    where: str
    rule: str = ""
    kind: Literal["make-external"] = "make-external"


@dataclass(frozen=True)
class RepairMirror:
    """Give a mirror the marks that it lacks, and its table's type where `table_type` names one.

    A person ordered it; all else that the metastore holds of it stays as it is.
    """

    ref_id: int
    ref: Ref
    logical: TableName
    physical: TableName
    marks: dict[str, str]
    table_type: str = ""
    type_parameters: dict[str, str] = field(default_factory=dict)
    rule: str = ""
    kind: Literal["repair-mirror"] = "repair-mirror"


@dataclass(frozen=True)
class MoveDatabase:
    """Point a database of ours from `was`, the root of its ref, to where it belongs. A person ordered it."""

    ref_id: int
    ref: Ref
    name: str
    was: str
    location: str
    kind: Literal["move-database"] = "move-database"


@dataclass(frozen=True)
class DropTable:
    """Drop a table of a ref that is gone, or an orphan; metadata only. `ours`: by its marks, else it belonged.

    `orphan`: no rule wants it, and somebody asked for it to go; its ref may live.
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
class FinishDeletion:
    """Note that a ref is gone, as nothing of it is left to drop, or is kept by its rule."""

    ref_id: int
    ref: Ref
    kept: bool = False
    kind: Literal["finish-deletion"] = "finish-deletion"


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
    | MakeExternal
    | RepairMirror
    | MoveDatabase
    | DropTable
    | DropDatabase
    | FinishDeletion
    | FinishMerge
    | FinishCreation
    | FinishDiscovery,
    Field(discriminator="kind"),
]
Bookkeeping = FinishDeletion | FinishMerge | FinishCreation | FinishDiscovery
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
        case DropDatabase() | MoveDatabase():
            return change.name
        case FinishDeletion() | FinishCreation() | FinishDiscovery():
            return str(change.ref)
        case FinishMerge():
            return f"{change.source} -> {change.destination}"
        case CreateMirror() | MergeTable() | CopyStatistics() | DropTable() | MakeExternal():
            return str(change.physical)
        case DiscoverPartitions() | PlacePartitions() | RepairMirror():
            return str(change.physical)
    assert_never(change)


Count = Literal["create", "alter", "drop", "withheld", "conflict"]


def counted_as(change: Change) -> tuple[Count, ...]:
    """What a change counts as in the last line of a plan and in metrics; nothing where no definition changes."""
    match change:
        case CreateMirror():
            return ("create",)
        case DropTable():
            return ("drop",)
        case DiscoverPartitions() | PlacePartitions() | MakeExternal() | RepairMirror() | MoveDatabase():
            return ("alter",)
        case MergeTable():
            written: tuple[Count, ...] = ("alter",)
            if change.before is None:
                written = ("create",)
            elif change.after is None:
                written = ("drop",)
            found = written if change.writes else ()
            found += ("withheld",) if change.withheld else ()
            return found + (("conflict",) if change.conflicts else ())
        case (
            CopyStatistics() | DropDatabase() | FinishDeletion() | FinishMerge() | FinishCreation() | FinishDiscovery()
        ):
            return ()
    assert_never(change)
