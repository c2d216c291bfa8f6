"""A repository as one sync pass saw it: what `track` hands to `observe` and to the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metasync.engine.track.lakefs_cache import LakeFSCache
from metasync.engine.track.ref_index import RefIndex
from metasync.engine.track.table_reader import NOTHING_READ, Reading
from metasync.model.hms import TableName
from metasync.model.lakefs import Repository
from metasync.planning.observed import DiscoveredTable
from metasync.planning.plan import Notice
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow


@dataclass(frozen=True)
class DueMerge:
    """An open merge whose turn it is, and its destination."""

    merge: MergeRow
    destination: RefRow


@dataclass(frozen=True)
class Snapshot:
    """What one pass saw, once the version graph is up to date with it.

    `exists`: whether lakeFS has the repository; `complete`: whether all of its refs are known, as nothing is planned
    before. `blocked`: why this store must not write, empty where it may. `now`: when the pass began, by the store's
    clock, in Unix seconds.

    `full`: whether every ref's tables were read. `readings`: the tables of the refs, by the ref's id, `whole` the ids
    of those whose partitions were read, too;
    `databases`: the metastore's, None where nothing was read; `failed`: by ref, the tables that failed beyond their
    reading; `discovered`: by ref, the partitions that directories make or end.

    `due`: the merges to be planned; `behind`: those that wait for them; `waiting`: the ids of refs that are not created
    before some merge is done; `logs_unread`: whether some branch has more merges on its log than were entered. `left`:
    how many branches, logs and merges are left to a later pass; `again_in`: seconds after which lakeFS should be asked
    again for what it records late.
    """

    repository: Repository
    repository_id: int
    refs: RefIndex
    lakefs: LakeFSCache
    now: float
    exists: bool = True
    complete: bool = True
    blocked: str = ""
    readings: Mapping[int, Reading] = field(default_factory=dict)
    whole: frozenset[int] = frozenset()
    databases: tuple[str, ...] | None = None
    due: tuple[DueMerge, ...] = ()
    behind: tuple[MergeRow, ...] = ()
    waiting: frozenset[int] = frozenset()
    logs_unread: bool = False
    discovered: Mapping[int, tuple[DiscoveredTable, ...]] = field(default_factory=dict)
    failed: Mapping[int, Mapping[TableName, str]] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    left: int = 0
    again_in: float | None = None
    full: bool = False

    def reading(self, row: RefRow) -> Reading:
        """The ref's tables; none where they were not read."""
        return self.readings.get(row.id, NOTHING_READ)
