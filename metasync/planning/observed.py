"""What one pass over a repository saw, as values: everything that `decide.make_plan` is a function of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from metasync.model.hms import Table, TableName
from metasync.model.lakefs import Ref, Repository
from metasync.model.marks import Marks
from metasync.planning.accepted_types import ColumnCheck
from metasync.planning.changes import CopyStatistics, MergeTable, PartitionChange
from metasync.planning.discovery import Directory
from metasync.planning.merge import MergeInput
from metasync.planning.pauses import Pause
from metasync.planning.plan import Notice

RefState = Literal["new", "making", "live", "gone"]


@dataclass(frozen=True)
class TableView:
    """A table of a ref as the metastore holds it.

    canonical: people registered it. mirror: ours, whole. making: ours, half-built. belonging: a user's table on the
    branch, without marks of its own.
    """

    physical: TableName
    logical: TableName
    table: Table
    kind: Literal["canonical", "mirror", "making", "belonging"]
    marks: Marks | None = None


@dataclass(frozen=True)
class Pinned:
    """A mirror of a new ref as it was first planned; retries finish that plan."""

    logical: TableName
    physical: TableName
    rule: str
    version: int
    definition: str
    copy_of: TableName | None
    as_of: str
    made: bool
    partitions: int = 0
    columns: int = 0


@dataclass(frozen=True)
class SourceTable:
    """A table of the ref that a new ref was created from; `as_of` is `live` where it is not known as it was then."""

    logical: TableName
    version: int
    definition: str
    header: Table
    partitions: int
    copy_of: TableName | None
    skipped: str | None = None
    as_of: str = ""


@dataclass(frozen=True)
class DiscoveredTable:
    """What filled and emptied directories make of the partitions of a table; `rule` is the one that discovers."""

    logical: TableName
    rule: str
    partitions: tuple[PartitionChange, ...]
    directories: tuple[Directory, ...] = ()


@dataclass(frozen=True)
class StrandedPartitions:
    """Partitions of a live table that lie at the ref's root, and where they belong."""

    logical: TableName
    physical: TableName
    partitions: tuple[PartitionChange, ...]


@dataclass(frozen=True)
class RefView:
    """A ref that metasync knows, with its tables where they were read.

    `present`: lakeFS lists it. `confirmed_gone`: lakeFS answered 404 for it while its repository was the recorded one
    and its default branch existed. `missing_for`: seconds since it was first missed. `waits`: for something that comes
    before its creation or its deletion. `failed`: tables with which something went wrong, and what. `off_ref`: tables
    with a location that is not on the ref, and where that is. `left`: of a ref that is gone, its tables of a kind that
    no merge carries, and what else lies in the databases that metasync created for it; `foreign` what lies there
    without being the ref's, with the reason.
    """

    id: int
    ref: Ref
    incarnation: int
    state: RefState
    present: bool
    head: str
    confirmed_gone: bool = False
    missing_for: float = 0.0
    replaced: bool = False
    tables: tuple[TableView, ...] = ()
    databases: tuple[str, ...] = ()
    pinned: tuple[Pinned, ...] = ()
    source: str = ""
    as_of: str = ""
    to_create: tuple[SourceTable, ...] = ()
    waits: bool = False
    discovered: tuple[DiscoveredTable, ...] = ()
    stranded: tuple[StrandedPartitions, ...] = ()
    failed: Mapping[TableName, str] = field(default_factory=dict)
    off_ref: Mapping[TableName, str] = field(default_factory=dict)
    left: tuple[TableView, ...] = ()
    foreign: Mapping[TableName, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether this incarnation of the ref is over, for certain."""
        return self.replaced or (not self.present and self.confirmed_gone)


@dataclass(frozen=True)
class MergeTableView:
    """One logical table of a merge: both sides' versions, and the destination's table as it is now.

    `problem` is a conflict that stops the table before any item is compared; `data_changed` says whether the merge
    commit changed objects below it; `column_check`, which changes of type the metastore refuses;
    `emptied`, the partitions that the source dropped and below which the merge commit holds no object; `store_only`:
    the destination's table is not created yet, or its ref has ended; nothing is written.
    """

    logical: TableName
    rule: str
    physical: TableName
    input: MergeInput
    live: TableView | None = None
    problem: str | None = None
    skipped: str | None = None
    data_changed: bool = False
    column_check: ColumnCheck = "4.0"
    emptied: frozenset[str] = frozenset()
    store_only: bool = False


@dataclass(frozen=True)
class MergeView:
    """A merge of a watched branch that the ledger has not closed.

    `commit` names it: a merge commit of lakeFS, or `metadata-N` for a merge of metadata alone. `head` is the
    destination's by now, `own_commit` the merge commit itself where what is written holds from there on. `statistics`
    are to be copied: of tables whose data is the source's alone. `ended`: the destination is gone by now. `confirmed`:
    what it was made from does not rest on an event alone. `partial`: all of it is done but the tables that failed
    before, which alone are here. `failed`: those with which something went wrong, and what.
    """

    id: int
    commit: str
    source: str
    source_ref_id: int | None
    destination: Ref
    destination_ref_id: int
    strategy: str = ""
    own_commit: str = ""
    generation: int = 0
    head: str = ""
    note: str = ""
    tables: tuple[MergeTableView, ...] = ()
    statistics: tuple[CopyStatistics, ...] = ()
    unfinished: tuple[MergeTable, ...] = ()
    started: bool = False
    ended: bool = False
    confirmed: bool = True
    partial: bool = False
    failed: Mapping[TableName, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Occupant:
    """What stands at a name that a mirror would take."""

    table: Table
    marks: Marks | None


@dataclass(frozen=True)
class Observed:
    """One pass over a repository. `refs` are those for which there may be something to do; `others` counts the rest of
    those with mirrors, where that matters. `claims` are the names wanted that live refs of any repository hold, by ref
    id; `elsewhere` the holders of this repository that are not among `refs`. `full`: every ref's tables were read.

    `behind` counts what was left to a later pass: merges behind others, logs not read to their ends, creations.
    `blocked`: why this store must write nothing for the repository; then nothing else was read. `again_in`:
    seconds after which lakeFS should be asked again, as it records some things late. `unreadable`: physical names at
    which something stands that could not be read. `read`: the refs whose tables were read.
    """

    repository: Repository
    instance: str
    store_id: str
    refs: tuple[RefView, ...] = ()
    merges: tuple[MergeView, ...] = ()
    occupied: Mapping[TableName, Occupant] = field(default_factory=dict)
    claims: Mapping[TableName, int] = field(default_factory=dict)
    canonical: frozenset[TableName] = frozenset()
    notices: tuple[Notice, ...] = ()
    behind: int = 0
    blocked: str = ""
    pauses: tuple[Pause, ...] = ()
    again_in: float | None = None
    unreadable: Mapping[TableName, str] = field(default_factory=dict)
    read: frozenset[int] = frozenset()
    full: bool = True
    elsewhere: Mapping[int, Ref] = field(default_factory=dict)
    others: int = 0
