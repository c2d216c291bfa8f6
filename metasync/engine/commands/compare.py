"""Comparing two refs, table by table: what differs, and what a merge of one into the other would do."""

from __future__ import annotations

from dataclasses import dataclass

from metasync.engine.commands.table_log import TableLog
from metasync.engine.controller import Controller
from metasync.engine.observe.open_merges import OpenMerges
from metasync.engine.scope import Scope
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.tracker import Tracker
from metasync.model.hms import TableName
from metasync.planning.observed import Observed
from metasync.planning.plan import Plan
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.planning.three_way import ItemChange
from metasync.settings import Settings
from metasync.store.ledger import METADATA, MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores
from metasync.store.versions import Version


@dataclass(frozen=True)
class TableDiff:
    """One logical table that two refs hold differently; the items lead from the first ref to the second."""

    logical: TableName
    items: tuple[ItemChange, ...]


class Comparer:
    """Reads both refs anew and compares their newest versions; writes nothing to the metastore."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        merges: OpenMerges,
    ) -> None:
        self._safety = settings.safety
        self._rules = rules
        self._controller = controller
        self._tracker = tracker
        self._merges = merges
        self._versions = stores.versions
        self._log = TableLog(stores)

    def diff(self, repository: str, one: str, other: str) -> tuple[TableDiff, ...]:
        """What leads from the tables of ref `one` to those of ref `other`."""
        with self._controller.alone(repository):
            _, _, before, after = self._sides(repository, one, other)
        found = []
        for logical in sorted({*before, *after}):
            old, new = before.get(logical), after.get(logical)
            if (old and old.definition) == (new and new.definition):
                continue
            items = self._log.items(old, new)
            if items:
                found.append(TableDiff(logical, items))
        return tuple(found)

    def merge(self, repository: str, source: str, destination: str) -> Plan:
        """The plan of merging `source` into `destination`, as it would be made now."""
        with self._controller.alone(repository):
            return self._merge(repository, source, destination)

    def _merge(self, repository: str, source: str, destination: str) -> Plan:
        snapshot, (theirs, ours), _, _ = self._sides(repository, source, destination)
        heads = (snapshot.refs.heads[ours.ref], snapshot.refs.heads[theirs.ref])
        row = MergeRow(
            id=0, repository_id=snapshot.repository_id, commit=METADATA, destination_ref_id=ours.id, parents=heads,
            generation=0, source=str(theirs.ref), source_ref_id=theirs.id, source_commit=heads[1], strategy="",
            committer="", message="", state="pending", note="", seen_at=0.0,
        )  # fmt: skip
        observed = Observed(snapshot.repository, "", "", merges=(self._merges.view(snapshot, row, ours),))
        return make_plan(observed, self._rules, self._safety)

    def _sides(
        self, repository: str, one: str, other: str
    ) -> tuple[Snapshot, tuple[RefRow, RefRow], dict[TableName, Version], dict[TableName, Version]]:
        snapshot = self._tracker.track(Scope(repository, full=True))
        rows = self._tracker.named(snapshot, one), self._tracker.named(snapshot, other)
        snapshot = self._tracker.with_partitions(snapshot, rows)
        return snapshot, rows, self._versions.in_force(rows[0]), self._versions.in_force(rows[1])
