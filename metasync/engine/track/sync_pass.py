"""The working state of one sync pass, which only `track` sees; what comes of it is a `Snapshot`."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from metasync.engine.track.lakefs_cache import LakeFSCache
from metasync.engine.track.ref_index import RefIndex
from metasync.engine.track.snapshot import DueMerge, Snapshot
from metasync.engine.track.table_reader import Moment, Reading
from metasync.model.hms import TableName
from metasync.model.lakefs import Repository
from metasync.planning.observed import DiscoveredTable
from metasync.planning.plan import Notice
from metasync.store.ledger import MergeRow


@dataclass
class SyncPass:
    """What is known so far. `moment` holds until a head moves, and is asked for by one thread at a time (`asking`).

    `new` are the refs that this pass saw first, `unseen` counts those that a later one will; `walking` are the branches
    whose logs are not read to their ends. `listed_at` is when the refs were listed, by lakeFS's clock. The other fields
    are those of `Snapshot`.
    """

    repository: Repository
    repository_id: int
    refs: RefIndex
    lakefs: LakeFSCache
    now: float
    blocked: str = ""
    readings: dict[int, Reading] = field(default_factory=dict)
    partitions_read: set[int] = field(default_factory=set)
    moment: Moment | None = None
    asking: Lock = field(default_factory=Lock)
    new: set[int] = field(default_factory=set)
    unseen: int = 0
    listed_at: float = 0.0
    walking: set[int] = field(default_factory=set)
    due: list[DueMerge] = field(default_factory=list)
    behind: list[MergeRow] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)
    discovered: dict[int, tuple[DiscoveredTable, ...]] = field(default_factory=dict)
    failed: dict[int, dict[TableName, str]] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    again_in: float | None = None
    full: bool = False

    def ask_again_in(self, seconds: float) -> None:
        """Notes that lakeFS should be asked again, for what it records late."""
        self.again_in = min(seconds, self.again_in if self.again_in is not None else seconds)

    def snapshot(self) -> Snapshot:
        """What this pass saw, for others to read."""
        return Snapshot(
            repository=self.repository,
            repository_id=self.repository_id,
            refs=self.refs.copy(),
            lakefs=self.lakefs,
            now=self.now,
            complete=not self.unseen,
            blocked=self.blocked,
            readings=dict(self.readings),
            whole=frozenset(self.partitions_read),
            databases=self.moment.databases if self.moment is not None else None,
            due=tuple(self.due),
            behind=tuple(self.behind),
            waiting=frozenset(self.waiting),
            logs_unread=bool(self.walking),
            discovered=dict(self.discovered),
            failed={ref_id: dict(tables) for ref_id, tables in self.failed.items()},
            notices=tuple(self.notices),
            left=self.unseen + len(self.walking) + len(self.behind),
            again_in=self.again_in,
            full=self.full,
        )
