"""Gathering what the planning of the open merges needs: both sides of every table, their bases, their data."""

from __future__ import annotations

from dataclasses import replace

from metasync.engine.isolation import one_table
from metasync.engine.observe.merge_sides import MergeSides
from metasync.engine.track.snapshot import Snapshot
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.planning.changes import CopyStatistics
from metasync.planning.formats import real_location
from metasync.planning.locations import path_on_ref
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.rules import RuleSet
from metasync.settings.models import Rule
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores
from metasync.store.versions import Version


class OpenMerges:
    """The open merges of a repository, as planning wants to see them."""

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        metastore: Metastore,
        rules: RuleSet,
    ) -> None:
        self._stores = stores
        self._lakefs = lakefs
        self._metastore = metastore
        self._refs = stores.refs
        self._versions = stores.versions
        self._ledger = stores.ledger
        self._rules = rules

    def sides(self, snapshot: Snapshot, merge: MergeRow, destination: RefRow) -> MergeSides:
        """What gathers the sides of each table of a merge."""
        return MergeSides(self._stores, self._lakefs, self._metastore, self._rules, snapshot, merge, destination)

    def outline(self, snapshot: Snapshot, merge: MergeRow, destination: RefRow) -> MergeView:
        """A merge without its tables."""
        return MergeView(
            partial=merge.state == "partial",
            id=merge.id,
            commit=merge.commit,
            source=merge.source,
            source_ref_id=merge.source_ref_id,
            destination=destination.ref,
            destination_ref_id=destination.id,
            strategy=merge.strategy,
            own_commit="" if merge.is_metadata else merge.commit,
            generation=merge.generation,
            head=snapshot.refs.heads.get(destination.ref, destination.head),
            ended=snapshot.refs.has_ended(destination),
            confirmed=merge.confirmed,
        )

    def view(self, snapshot: Snapshot, merge: MergeRow, destination: RefRow) -> MergeView:
        """A merge with all that planning it needs."""
        view = self.outline(snapshot, merge, destination)
        assert merge.source_ref_id is not None
        source = self._refs.get(merge.source_ref_id)
        if merge.state == "started":
            failed: dict[TableName, str] = {}
            told = () if view.ended else self._statistics(snapshot, merge, source, destination, failed)
            unfinished = self._ledger.unfinished(merge.id)
            return replace(view, started=True, unfinished=unfinished, statistics=tuple(told))
        sides = self.sides(snapshot, merge, destination)
        theirs, note = self.source_versions(snapshot, merge, source)
        ours = self._versions.in_force(destination)
        tables_there = () if view.ended else snapshot.reading(destination).tables
        wanted, failed = self._failed(snapshot, merge, source, destination)
        tables: list[MergeTableView] = []
        for logical in sorted({*theirs, *ours, *failed}):
            with one_table(logical, failed, f"reading {logical}"):
                rule = self.rule_for(snapshot, source, destination, logical)
                if rule is None or (wanted is not None and logical not in wanted):
                    failed.pop(logical, None)
                    continue
                if logical in failed:
                    continue
                table = sides.view(logical, rule, theirs.get(logical), ours.get(logical), tables_there)
                if table is not None:
                    tables.append(table)
        statistics = () if view.ended else self._statistics(snapshot, merge, source, destination, failed)
        return replace(view, tables=tuple(tables), note=note, statistics=tuple(statistics), failed=failed)

    def _failed(
        self, snapshot: Snapshot, merge: MergeRow, source: RefRow, destination: RefRow
    ) -> tuple[set[TableName] | None, dict[TableName, str]]:
        """The tables that alone are merged, None for all; and those that cannot be, with the reason.

        A table that a side could not be read for, and one for which an earlier merge into a side is open.
        """
        failed: dict[TableName, str] = {}
        for row in (source, destination):
            if row.id in snapshot.readings:
                for logical, why in snapshot.readings[row.id].failed.items():
                    failed.setdefault(logical, f"{row.ref}: {why}")
        wanted: set[TableName] = set()
        for logical, open_for_it in self._ledger.failed_tables(destination.id).items():
            if merge.id in open_for_it:
                wanted.add(logical)
            if open_for_it[0] != merge.id:
                failed.setdefault(logical, "an earlier merge of this table failed, and comes first")
        for logical, into_source in self._ledger.failed_tables(source.id).items():
            if any(_comes_first(snapshot, self._ledger.merge(one), merge) for one in into_source):
                why = f"a merge of this table into {source.ref} failed, and comes first"
                failed.setdefault(logical, why)
        return wanted if merge.state == "partial" else None, failed

    def source_versions(
        self, snapshot: Snapshot, merge: MergeRow, source: RefRow
    ) -> tuple[dict[TableName, Version], str]:
        """The source's tables as they were at the merge; a note where that had to be guessed."""
        alive = snapshot.refs.is_alive(source)
        at = merge.source_commit
        now = self._versions.in_force(source)
        if alive and (not at or snapshot.refs.heads[source.ref] == at):
            return now, ""
        for ref_id, watermark in self._refs.at_commit(snapshot.repository_id, [at]).get(at, []) if at else []:
            if ref_id == source.id:
                return self._as_of(source, at, self._versions.in_force(source, watermark), now)
        if alive:
            why = f"{source.ref} was never seen at the merged commit {at[:12]}; its tables are taken as they are now"
            return now, why
        return now, f"{source.ref} is gone; its tables are taken as they were last seen"

    def _as_of(
        self, source: RefRow, at: str, then: dict[TableName, Version], now: dict[TableName, Version]
    ) -> tuple[dict[TableName, Version], str]:
        """The tables at a commit; those whose partitions were not read at it as they are now, unless dropped since."""
        if self._refs.is_whole(source.id, at):
            return then, ""
        later = {
            logical: version
            for logical, version in now.items()
            if version.definition is not None
            and (before := then.get(logical)) is not None
            and before.id != version.id
            and self._versions.definition(version.definition).header.partition_keys
        }
        names = ", ".join(str(logical) for logical in sorted(later))
        why = f"partitions of {source.ref} were not read at the merged commit {at[:12]}; taken as they are now: {names}"
        return then | later, why if later else ""

    def rule_for(self, snapshot: Snapshot, source: RefRow, destination: RefRow, logical: TableName) -> Rule | None:
        """The rule of the mirrored side: the destination's, else the source's, else that of the source's forebears."""
        name = snapshot.repository.name
        rule = self._rules.of_table(name, destination.ref, logical)
        row: RefRow | None = source
        while rule is None and row is not None:
            rule = self._rules.of_table(name, row.ref, logical)
            row = self._refs.get(row.parent_id) if row.parent_id is not None else None
        return rule

    def _statistics(
        self,
        snapshot: Snapshot,
        merge: MergeRow,
        source: RefRow,
        destination: RefRow,
        failed: dict[TableName, str],
    ) -> list[CopyStatistics]:
        """Tables whose data the merge changed: with the source's statistics, if it still is as it was merged."""
        if merge.is_metadata:
            return []
        unmoved = bool(merge.source_commit) and snapshot.refs.heads.get(source.ref) == merge.source_commit
        changed = snapshot.lakefs.changed(merge.parents[0], merge.commit)
        other = snapshot.lakefs.changed(merge.source_commit, merge.commit) if unmoved else changed
        theirs = {view.logical: view for view in snapshot.reading(source).tables} if unmoved else {}
        found = []
        for view in snapshot.reading(destination).tables:
            with one_table(view.logical, failed, f"comparing the data of {view.physical}"):
                path = path_on_ref(real_location(view.table) or "")
                rule = self.rule_for(snapshot, source, destination, view.logical)
                if rule is None or not path or not changed.below(path):
                    continue
                there = theirs.get(view.logical)
                depth = len(view.table.partition_keys)
                replaced = tuple(changed.partitions(path, depth)) if depth else ()
                mixed = set(other.partitions(path, depth)) if depth and there is not None else set(replaced)
                found.append(
                    CopyStatistics(
                        merge.id,
                        view.logical,
                        rule.name,
                        there.physical if there is not None else view.physical,
                        view.physical,
                        tuple(one for one in replaced if one not in mixed),
                        tuple(one for one in replaced if one in mixed),
                        there is None or other.below(path),
                    )
                )
        return found


def _comes_first(snapshot: Snapshot, first: MergeRow, merge: MergeRow) -> bool:
    """Whether a merge into the source of another is a part of what the other merges.

    A merge of metadata takes its source as it is, so whatever was entered before it is a part of it.
    """
    if first.is_metadata or merge.is_metadata:
        return merge.id == 0 or first.id < merge.id
    if (first.generation, first.id) >= (merge.generation, merge.id):
        return False
    at = merge.source_commit
    return not at or snapshot.lakefs.merge_base(first.commit, at) == first.commit
