"""What one sync pass knows of its repository: the refs, as lakeFS and the store have them, and what was read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from threading import Lock

from metasync.engine.track.changed_paths import ChangedPaths
from metasync.engine.track.table_reader import Moment, Reading
from metasync.lakefs import LakeFS
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, Repository
from metasync.planning.plan import Notice
from metasync.planning.types import ColumnCheck
from metasync.store.refs import RefRow


class LakeFSCache:
    """What was asked of lakeFS about commits, which never change: each question is asked once in a pass."""

    def __init__(self, lakefs: LakeFS, repository: str) -> None:
        self._lakefs = lakefs
        self._repository = repository
        self._generations: dict[str, int] = {}
        self._changed: dict[tuple[str, str], ChangedPaths] = {}
        self._merge_bases: dict[tuple[str, str], str | None] = {}
        self._pull_requests: dict[str, str] | None = None

    def generation(self, commit: str) -> int:
        """How many commits lie before one; 0 where lakeFS does not know it."""
        if commit not in self._generations:
            self._generations[commit] = self._lakefs.generation(self._repository, commit)
        return self._generations[commit]

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit that lakeFS takes for the base of two; None where they share none."""
        key = (one, other)
        if key not in self._merge_bases:
            self._merge_bases[key] = self._lakefs.merge_base(self._repository, one, other)
        return self._merge_bases[key]

    def changed(self, before: str, after: str) -> ChangedPaths:
        """The differences between two commits."""
        key = (before, after)
        if key not in self._changed:
            self._changed[key] = ChangedPaths(self._lakefs, self._repository, before, after)
        return self._changed[key]

    def pull_request(self, commit: str) -> str | None:
        """The source branch of the pull request that was merged as a commit."""
        if self._pull_requests is None:
            self._pull_requests = self._lakefs.merged_pull_requests(self._repository)
        return self._pull_requests.get(commit)


@dataclass
class SyncPass:
    """One pass over a repository. `current`: ref -> head, as lakeFS lists them; `rows`: the refs alive in the store.

    `lakefs`: what was asked of it in this pass; `column_check` is the metastore's, asked once. `moment` holds until a
    head moves, and is asked for by one thread at a time. `new` are the refs that this pass saw first, `unseen` counts
    those that a later one will; `walking` are the branches whose logs are not read to their ends. `listed_at` is when
    the refs were listed, by lakeFS's clock. `again_in`: seconds after which lakeFS should be asked again for what it
    records late. `failed`: by ref, the tables that failed beyond their reading.
    """

    repository: Repository
    repository_id: int
    current: dict[Ref, str]
    lakefs: LakeFSCache
    confirmed_gone: set[int] = field(default_factory=set)
    readings: dict[int, Reading] = field(default_factory=dict)
    partitions_read: set[int] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    new: set[int] = field(default_factory=set)
    unseen: int = 0
    walking: set[int] = field(default_factory=set)
    listed_at: float = 0.0
    again_in: float | None = None
    moment: Moment | None = None
    column_check: ColumnCheck | None = None
    asking: Lock = field(default_factory=Lock)
    failed: dict[int, dict[TableName, str]] = field(default_factory=dict)
    _rows: dict[int, RefRow] = field(default_factory=dict)
    _of_ref: dict[Ref, dict[int, RefRow]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def rows(self) -> tuple[RefRow, ...]:
        """The refs that the store has alive, those that end among them."""
        return tuple(self._rows.values())

    def put(self, row: RefRow) -> None:
        """Adds a ref, or replaces what was known of it."""
        self._rows[row.id] = self._of_ref[row.ref][row.id] = row

    def row(self, ref: Ref) -> RefRow | None:
        """The ref's present incarnation."""
        return next((row for row in self._of_ref.get(ref, {}).values() if not row.replaced), None)

    def by_id(self, ref_id: int) -> RefRow | None:
        return self._rows.get(ref_id)

    def has_ended(self, row: RefRow) -> bool:
        """Whether this incarnation of the ref is over, for certain."""
        return row.replaced or row.life == "gone" or row.id in self.confirmed_gone

    def is_alive(self, row: RefRow) -> bool:
        """Whether lakeFS shows this incarnation of the ref."""
        return row.ref in self.current and not row.replaced and row.life != "gone"

    def has_former(self, row: RefRow) -> bool:
        """Whether an earlier incarnation of the ref is replaced, and its tables are not dropped yet."""
        of_ref = self._of_ref.get(row.ref, {}).values()
        return any(one.incarnation < row.incarnation and one.replaced for one in of_ref)

    def ask_again_in(self, seconds: float) -> None:
        """Notes that lakeFS should be asked again, for what it records late."""
        self.again_in = min(seconds, self.again_in if self.again_in is not None else seconds)
