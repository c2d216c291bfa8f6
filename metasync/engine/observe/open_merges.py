"""Gathering what the planning of the open merges needs: both sides of every table, their bases, their data."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from metasync.engine.isolation import one_table
from metasync.engine.threads import parallel
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_sources import SourceFinder
from metasync.engine.track.sync_pass import SyncPass
from metasync.engine.track.table_reader import Reading
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.model.marks import Marks
from metasync.planning.formats import real_location, why_off_ref, why_skipped
from metasync.planning.graph import Parents, bases_needed, entry, merge_bases
from metasync.planning.locations import is_relative, path_on_ref
from metasync.planning.manifest import differing
from metasync.planning.merge import MergeInput
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeTableView, MergeView, TableView
from metasync.planning.plan import CopyStatistics, Notice
from metasync.planning.rules import RuleSet
from metasync.planning.tree import Definition
from metasync.planning.types import ColumnCheck
from metasync.settings.models import Rule
from metasync.store.ledger import Ledger, MergeRow
from metasync.store.refs import RefRow, RefStore
from metasync.store.versions import Version, VersionStore

_AT_ONCE = 8
_CONFIRMED_IN = 30.0
"""Seconds that a merge which may drop something waits for lakeFS to record what, so far, only an event says."""


class MergeBook:
    """The open merges of a repository, as planning wants to see them."""

    def __init__(
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
        self._lakefs = lakefs
        self._metastore = metastore
        self._refs = refs
        self._versions = versions
        self._ledger = ledger
        self._lineage = lineage
        self._sources = sources
        self._rules = rules

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
                table = self.table_view(
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
        for logical, (first, *_) in self._ledger.failed_tables(source.id).items():
            if self._ledger.merge(first).generation < merge.generation:
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

    def table_view(
        self,
        sync_pass: SyncPass,
        merge: MergeRow,
        destination: RefRow,
        logical: TableName,
        rule: Rule,
        theirs: Version | None,
        ours: Version | None,
        tables: Iterable[TableView],
    ) -> MergeTableView | None:
        """What the merge of one table needs; None where both sides are at one version."""
        if theirs is None or (ours is not None and ours.id == theirs.id):
            return None
        parents = self._versions.graph(sync_pass.repository_id, logical)
        fallback = self._fallback_base(sync_pass, merge, destination, logical, ours) if ours else None
        bases = bases_needed(parents, theirs.id, ours.id) if ours is not None else frozenset()
        if bases == {theirs.id}:
            return None
        if not bases and fallback is not None and self._has_known_origin(parents, theirs):
            bases = frozenset({fallback})
        else:
            fallback = None
        found = merge_bases(parents, theirs.id, ours.id) if ours is not None else ()
        began = {entry(parents, found[0], tip.id) for tip in (theirs, ours) if tip is not None and found}
        versions = self._partials(theirs.id, bases, ours.id if ours else None, began)
        # A half-built mirror is none yet: its creation goes on.
        live = next((view for view in tables if view.logical == logical and view.kind != "making"), None)
        physical = live.physical if live else self._destination_name(sync_pass, destination, logical, rule)
        # A mirror that is not created yet is merged in the store alone; so is what is to be dropped.
        books_only = sync_pass.has_ended(destination) or (live is None and destination.is_being_created)
        decides = merge.strategy in ("source-wins", "dest-wins")
        return MergeTableView(
            logical=logical,
            rule=rule.name,
            physical=physical,
            input=MergeInput(parents, versions, theirs.id, ours.id if ours else None, fallback),
            live=live,
            problem=None if books_only else self._problem(sync_pass, destination, physical, live),
            books_only=books_only,
            data_changed=decides and self._data_changed(sync_pass, merge, versions),
            column_check=self._column_check(sync_pass),
            emptied=self._emptied(sync_pass, merge, versions.get(theirs.id), versions.get(ours.id) if ours else None),
        )

    def _column_check(self, sync_pass: SyncPass) -> ColumnCheck:
        if sync_pass.column_check is None:
            sync_pass.column_check = self._metastore.column_check()
        return sync_pass.column_check

    def _emptied(
        self, sync_pass: SyncPass, merge: MergeRow, source: Definition, destination: Definition
    ) -> frozenset[str]:
        """The partitions that the source has no more and below which the merged data holds no object."""
        if source is None or destination is None:
            return frozenset()
        gone = {k: p for k, p in destination.partitions.items() if k not in source.partitions and p.location}
        at = merge.commit if merge.commit and not merge.is_metadata else merge.parents[0]

        def is_empty(key: str) -> bool:
            path = path_on_ref(gone[key].location or "")
            return bool(path) and not self._lakefs.has_objects(sync_pass.repository.name, at, path or "")

        keys = [key for key, p in gone.items() if is_relative(p.location)]
        return frozenset(k for k, empty in zip(keys, parallel(_AT_ONCE, is_empty, keys), strict=True) if empty)

    def _has_known_origin(self, parents: Parents, version: Version) -> bool:
        """False for a table whose first version on its ref stands beside its parent's, as how it came is not known.

        A table that was there before metasync, or a mirror of a lost store: a base guessed for it could turn changes
        round.
        """
        found, pending = set(), [version.id]
        while pending:
            one = pending.pop()
            if one not in found:
                found.add(one)
                pending += parents.get(one, ())
        for root in (self._versions.get(one) for one in found if not parents.get(one)):
            row = self._refs.get(root.ref_id)
            if row.parent_id is not None:
                above = self._versions.in_force(self._refs.get(row.parent_id), row.watermark)
                if above.get(version.logical) is not None:
                    return False
        return True

    def _problem(
        self, sync_pass: SyncPass, destination: RefRow, physical: TableName, live: TableView | None
    ) -> str | None:
        """Why the destination's name cannot be written, though the destination has no such table."""
        if live is not None:
            return None
        there = self._metastore.get_table(physical)
        if there is None:
            return None
        if why_skipped(there):
            return "format-not-merged"
        if why_off_ref(there, sync_pass.repository.name, destination.ref.name):
            return "destination-off-ref"
        marks = Marks.from_parameters(there.parameters, str(physical))
        return "foreign-table" if marks is None or not marks.making else None

    def _destination_name(self, sync_pass: SyncPass, destination: RefRow, logical: TableName, rule: Rule) -> TableName:
        if destination.ref.name in self._rules.canonical_branches(sync_pass.repository):
            return logical
        for pin in self._refs.pinned(destination.id):
            if pin.logical == logical:
                return pin.physical
        return physical_name(rule.target, sync_pass.repository.name, destination.ref, logical)

    def _fallback_base(
        self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow, logical: TableName, ours: Version
    ) -> int | None:
        """The version in force at the commit that lakeFS takes for the base, for histories that share none."""
        if len(merge.parents) < 2:
            return None
        commit = sync_pass.lakefs.merge_base(merge.parents[1], merge.parents[0])
        for ref_id, watermark in (
            self._refs.at_commit(sync_pass.repository_id, [commit]).get(commit, []) if commit else []
        ):
            version = self._versions.in_force(self._refs.get(ref_id), watermark).get(logical)
            if version is not None and version.id > self._refs.severed_at(sync_pass.repository_id):
                return version.id
        return None

    def _data_changed(self, sync_pass: SyncPass, merge: MergeRow, versions: dict[int, Definition]) -> bool:
        changed = sync_pass.lakefs.changed(merge.parents[0], merge.commit)
        paths = {path_on_ref(d.header.sd.location) for d in versions.values() if d and d.header.sd.location}
        return any(changed.below(path) for path in paths if path)

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

    def _partials(
        self, source: int, bases: frozenset[int], destination: int | None, began: Collection[int]
    ) -> dict[int, Definition]:
        """The definitions of both sides and the bases, with the partitions that the source may have changed."""
        stored = {}
        for version_id in {source, *bases, *began, *([destination] if destination is not None else ())}:
            definition = self._versions.get(version_id).definition
            stored[version_id] = self._versions.definition(definition) if definition else None
        there = {v: s for v, s in stored.items() if s is not None}
        others = [there[v].manifest if v in there else () for v in (source, *bases)]
        if not bases or destination is None or destination not in there:
            # Created or dropped as a whole, or without a base: every partition takes part.
            others.append(())
        chunks = {chunk.hash for chunk in differing(others)}
        load = self._versions.load_chunk
        wanted = {p.values for s in there.values() for c in s.manifest if c.hash in chunks for p in load(c)}
        if source not in there and destination in there:
            # The table was dropped as a whole: any partition that came on the destination since is a change of it.
            wanted |= {p.values for c in there[destination].manifest for p in load(c)}

        return {v: self._versions.partial(s.hash if s is not None else None, wanted) for v, s in stored.items()}
