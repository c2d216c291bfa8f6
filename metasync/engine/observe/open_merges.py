"""Gathering what the planning of the open merges needs: both sides of every table, their bases, their data."""

from __future__ import annotations

from dataclasses import replace

from metasync.engine.isolation import one_table
from metasync.engine.observe.merge_sides import MergeSides
from metasync.engine.threads import parallel
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_sources import SourceFinder
from metasync.engine.track.sync_pass import SyncPass
from metasync.engine.track.table_reader import Reading
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.planning.formats import real_location
from metasync.planning.locations import path_on_ref
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.plan import CopyStatistics, Notice
from metasync.planning.rules import RuleSet
from metasync.settings.models import Rule
from metasync.store.ledger import Ledger, MergeRow
from metasync.store.refs import RefRow, RefStore
from metasync.store.versions import Version, VersionStore

_CONFIRMED_IN = 30.0
"""Seconds that a merge which may drop something waits for lakeFS to record what, so far, only an event says."""


class OpenMerges:
    """The open merges of a repository, as planning wants to see them."""

    def __init__(  # noqa: PLR0913  built once, in wiring.py
        self,
        lakefs: LakeFS,
        metastore: Metastore,
        refs: RefStore,
        versions: VersionStore,
        ledger: Ledger,
        lineage: Lineage,
        sources: SourceFinder,
        rules: RuleSet,
    ) -> None:
        self._refs = refs
        self._versions = versions
        self._ledger = ledger
        self._lineage = lineage
        self._sources = sources
        self._rules = rules
        self.sides = MergeSides(lakefs, metastore, refs, versions, rules)

    def pending(self, sync_pass: SyncPass, now: float, *, again: bool) -> tuple[list[MergeView], list[MergeRow]]:
        """The oldest open merge of each destination, and those that wait for them.

        One that is open for tables that failed is tried again where that may have changed something: with `again`, and
        where a side was read.
        """
        views: list[MergeView] = []
        name = sync_pass.repository.name
        behind: list[MergeRow] = []
        # Before a log is read to its end, there may be merges in it that come first.
        taken = set(sync_pass.walking)
        for entered in self._ledger.open_merges(sync_pass.repository_id):
            destination = self._refs.get(entered.destination_ref_id)
            merge: MergeRow | None = entered
            if entered.state == "source-unknown":
                merge = self._sources.found_meanwhile(sync_pass, entered, now)
            elif entered.state == "pending":
                merge = self._sources.confirmed_meanwhile(sync_pass, entered)
            if merge is None:
                continue
            if merge.state == "partial":
                views.extend(self._retried(sync_pass, merge, destination, again))
                continue
            if merge.state == "source-unknown":
                sync_pass.notices.append(
                    Notice(
                        "source-unknown",
                        f"{destination.ref} {merge.commit[:12]}",
                        f"the merge {merge.message!r} waits: nobody can tell what it was made from",
                        f"metasync merge {name} --commit {merge.commit} --source REF, or --no-source",
                    )
                )
                continue
            assert merge.source_ref_id is not None
            first = self._first(sync_pass, destination) | self._first(sync_pass, self._refs.get(merge.source_ref_id))
            # Entered in this very pass, it is younger than `now`; much younger, the clock was set back.
            fresh = abs(now - merge.seen_at) < _CONFIRMED_IN
            if not merge.confirmed and fresh and self._may_drop(sync_pass):
                sync_pass.ask_again_in(1.0)
                taken |= first
            if first & taken:
                # Its sides are not settled yet: an earlier merge comes first; or lakeFS has not recorded it yet.
                behind.append(merge)
                taken.add(merge.destination_ref_id)
                continue
            taken.add(merge.destination_ref_id)
            views.append(self.view(sync_pass, merge, self._lineage.forked(sync_pass, destination)))
        return views, behind

    def _retried(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow, again: bool) -> list[MergeView]:
        """A merge that is open for the tables that failed, to be tried again; nothing where its turn has not come."""
        if sync_pass.has_ended(destination):
            self._ledger.close_as(merge.id, "its destination is gone")
            return []
        if not again and not {merge.destination_ref_id, merge.source_ref_id} & set(sync_pass.readings):
            return []
        return [self.view(sync_pass, merge, destination)]

    def _may_drop(self, sync_pass: SyncPass) -> bool:
        """Whether any rule lets a merge drop something without being asked."""
        return any(rule.merge == "full" for rule in self._rules.of_repository(sync_pass.repository.name))

    def _first(self, sync_pass: SyncPass, row: RefRow) -> set[int]:
        """A ref, and those from which it may yet take over what merges before its commit make of them."""
        found = {row.id}
        while row.parent_id is not None and (row.waited or row.is_being_created or row.id in sync_pass.new):
            found.add(row.parent_id)
            row = self._refs.get(row.parent_id)
        return found

    def outline(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow) -> MergeView:
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
            head=sync_pass.current.get(destination.ref, destination.head),
            ended=sync_pass.has_ended(destination),
            confirmed=merge.confirmed,
        )

    def view(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow) -> MergeView:
        """A merge with all that planning it needs."""
        view = self.outline(sync_pass, merge, destination)
        if merge.state == "started":
            return replace(view, started=True, unfinished=self._ledger.unfinished(merge.id))
        assert merge.source_ref_id is not None
        source = self._refs.get(merge.source_ref_id)
        # A branch can be merged into itself, as it was before a reset.
        sides = {row.id: row for row in (source, destination) if sync_pass.is_alive(row)}
        parallel(2, lambda row: self._lineage.read(sync_pass, row, partitions=True), list(sides.values()))
        theirs, note = self.source_versions(sync_pass, merge, source)
        reading = Reading((), {}, ()) if view.ended else self._lineage.read(sync_pass, destination, partitions=True)
        ours = self._versions.in_force(destination)
        wanted, failed = self._failed(sync_pass, merge, source, destination)
        tables: list[MergeTableView] = []
        for logical in sorted({*theirs, *ours, *failed}):
            with one_table(logical, failed, f"reading {logical}"):
                rule = self.rule_for(sync_pass, source, destination, logical)
                if rule is None or (wanted is not None and logical not in wanted):
                    failed.pop(logical, None)
                    continue
                if logical in failed:
                    continue
                table = self.sides.view(
                    sync_pass, merge, destination, logical, rule, theirs.get(logical), ours.get(logical), reading.tables
                )
                if table is not None:
                    tables.append(table)
        statistics = () if view.ended else self._statistics(sync_pass, merge, source, destination, reading, failed)
        return replace(view, tables=tuple(tables), note=note, statistics=tuple(statistics), failed=failed)

    def _failed(
        self, sync_pass: SyncPass, merge: MergeRow, source: RefRow, destination: RefRow
    ) -> tuple[set[TableName] | None, dict[TableName, str]]:
        """The tables that alone are merged, None for all; and those that cannot be, with the reason.

        A table that a side could not be read for, and one for which an earlier merge into a side is open.
        """
        failed: dict[TableName, str] = {}
        for row in (source, destination):
            if row.id in sync_pass.readings:
                for logical, why in sync_pass.readings[row.id].failed.items():
                    failed.setdefault(logical, f"{row.ref}: {why}")
        wanted: set[TableName] = set()
        for logical, open_for_it in self._ledger.failed_tables(destination.id).items():
            if merge.id in open_for_it:
                wanted.add(logical)
            if open_for_it[0] != merge.id:
                failed.setdefault(logical, "an earlier merge of this table failed, and comes first")
        for logical, into_source in self._ledger.failed_tables(source.id).items():
            if any(_comes_first(sync_pass, self._ledger.merge(one), merge) for one in into_source):
                why = f"a merge of this table into {source.ref} failed, and comes first"
                failed.setdefault(logical, why)
        return wanted if merge.state == "partial" else None, failed

    def source_versions(
        self, sync_pass: SyncPass, merge: MergeRow, source: RefRow
    ) -> tuple[dict[TableName, Version], str]:
        """The source's tables as they were at the merge; a note where that had to be guessed."""
        alive = sync_pass.is_alive(source)
        at = merge.source_commit
        if alive:
            self._lineage.read(sync_pass, source, partitions=True)
            if not at or sync_pass.current[source.ref] == at:
                return self._versions.in_force(source), ""
        now = self._versions.in_force(source)
        for ref_id, watermark in self._refs.at_commit(sync_pass.repository_id, [at]).get(at, []) if at else []:
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

    def rule_for(self, sync_pass: SyncPass, source: RefRow, destination: RefRow, logical: TableName) -> Rule | None:
        """The rule of the mirrored side: the destination's, else the source's, else that of the source's forebears."""
        name = sync_pass.repository.name
        rule = self._rules.of_table(name, destination.ref, logical)
        row: RefRow | None = source
        while rule is None and row is not None:
            rule = self._rules.of_table(name, row.ref, logical)
            row = self._refs.get(row.parent_id) if row.parent_id is not None else None
        return rule

    def _statistics(
        self,
        sync_pass: SyncPass,
        merge: MergeRow,
        source: RefRow,
        destination: RefRow,
        reading: Reading,
        failed: dict[TableName, str],
    ) -> list[CopyStatistics]:
        """Tables whose data the merge changed to the source's very data, with the source still as it was merged."""
        if merge.is_metadata or not merge.source_commit or sync_pass.current.get(source.ref) != merge.source_commit:
            return []
        changed = sync_pass.lakefs.changed(merge.parents[0], merge.commit)
        mixed = sync_pass.lakefs.changed(merge.source_commit, merge.commit)
        theirs = {view.logical: view for view in self._lineage.read(sync_pass, source, partitions=True).tables}
        found = []
        for view in reading.tables:
            with one_table(view.logical, failed, f"comparing the data of {view.physical}"):
                path = path_on_ref(real_location(view.table) or "")
                other = theirs.get(view.logical)
                rule = self.rule_for(sync_pass, source, destination, view.logical)
                if other is None or rule is None or not path or not changed.below(path) or mixed.below(path):
                    continue
                depth = len(view.table.partition_keys)
                directories = tuple(changed.partitions(path, depth)) if depth else ()
                if directories or not depth:
                    found.append(
                        CopyStatistics(merge.id, view.logical, rule.name, other.physical, view.physical, directories)
                    )
        return found


def _comes_first(sync_pass: SyncPass, first: MergeRow, merge: MergeRow) -> bool:
    """Whether a merge into the source of another is a part of what the other merges.

    A merge of metadata takes its source as it is, so whatever was entered before it is a part of it.
    """
    if first.is_metadata or merge.is_metadata:
        return merge.id == 0 or first.id < merge.id
    if (first.generation, first.id) >= (merge.generation, merge.id):
        return False
    at = merge.source_commit
    return not at or sync_pass.lakefs.merge_base(first.commit, at) == first.commit
