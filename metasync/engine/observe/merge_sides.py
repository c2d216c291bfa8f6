"""The sides of a merge, table by table: versions, bases, and what stands at the destination."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from metasync.engine.threads import parallel
from metasync.engine.track.snapshot import Snapshot
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.model.marks import Marks
from metasync.planning.accepted_types import ColumnCheck
from metasync.planning.formats import why_off_ref, why_skipped
from metasync.planning.item_tree import Definition
from metasync.planning.locations import is_relative, path_on_ref
from metasync.planning.manifest import differing
from metasync.planning.merge import MergeInput
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeTableView, TableView
from metasync.planning.rules import RuleSet
from metasync.planning.version_graph import Parents, bases_needed, entry, merge_bases
from metasync.settings.models import Rule
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores
from metasync.store.versions import Version

_AT_ONCE = 8


@dataclass(frozen=True)
class MergeSides:
    """Gathers what one merge needs of each of its tables."""

    stores: Stores
    lakefs: LakeFS
    metastore: Metastore
    rules: RuleSet
    snapshot: Snapshot
    merge: MergeRow
    destination: RefRow

    def view(
        self,
        logical: TableName,
        rule: Rule,
        theirs: Version | None,
        ours: Version | None,
        tables: Iterable[TableView],
    ) -> MergeTableView | None:
        """What the merge of one table needs; None where both sides are at one version."""
        if theirs is None or (ours is not None and ours.id == theirs.id):
            return None
        parents = self.stores.versions.graph(self.snapshot.repository_id, logical)
        fallback = self._fallback_base(logical, ours) if ours else None
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
        physical = live.physical if live else self._destination_name(logical, rule)
        # A mirror that is not created yet is merged in the store alone; so is what is to be dropped.
        store_only = self.snapshot.refs.has_ended(self.destination) or (
            live is None and self.destination.is_being_created
        )
        decides = self.merge.strategy in ("source-wins", "dest-wins")
        return MergeTableView(
            logical=logical,
            rule=rule.name,
            physical=physical,
            input=MergeInput(parents, versions, theirs.id, ours.id if ours else None, fallback),
            live=live,
            problem=None if store_only else self._problem(physical, live),
            store_only=store_only,
            data_changed=decides and self._data_changed(versions),
            column_check=self._column_check,
            emptied=self._emptied(versions.get(theirs.id), versions.get(ours.id) if ours else None),
        )

    @cached_property
    def _column_check(self) -> ColumnCheck:
        return self.metastore.column_check()

    def _emptied(self, source: Definition, destination: Definition) -> frozenset[str]:
        """The partitions that the source has no more and below which the merged data holds no object."""
        if source is None or destination is None:
            return frozenset()
        gone = {k: p for k, p in destination.partitions.items() if k not in source.partitions and p.location}
        at = self.merge.commit if self.merge.commit and not self.merge.is_metadata else self.merge.parents[0]

        def is_empty(key: str) -> bool:
            path = path_on_ref(gone[key].location or "")
            return bool(path) and not self.lakefs.has_objects(self.snapshot.repository.name, at, path or "")

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
        for root in (self.stores.versions.get(one) for one in found if not parents.get(one)):
            row = self.stores.refs.get(root.ref_id)
            if row.parent_id is not None:
                above = self.stores.versions.in_force(self.stores.refs.get(row.parent_id), row.watermark)
                if above.get(version.logical) is not None:
                    return False
        return True

    def _problem(self, physical: TableName, live: TableView | None) -> str | None:
        """Why the destination's name cannot be written, though the destination has no such table."""
        if live is not None:
            return None
        there = self.metastore.get_table(physical)
        if there is None:
            return None
        if why_skipped(there):
            return "format-not-merged"
        if why_off_ref(there, self.snapshot.repository.name, self.destination.ref.name):
            return "destination-off-ref"
        marks = Marks.from_parameters(there.parameters, str(physical))
        return "foreign-table" if marks is None or not marks.making else None

    def _destination_name(self, logical: TableName, rule: Rule) -> TableName:
        if self.destination.ref.name in self.rules.canonical_branches(self.snapshot.repository):
            return logical
        for pin in self.stores.mirrors.pinned(self.destination.id):
            if pin.logical == logical:
                return pin.physical
        return physical_name(rule.target, self.snapshot.repository.name, self.destination.ref, logical)

    def _fallback_base(self, logical: TableName, ours: Version) -> int | None:
        """The version in force at the commit that lakeFS takes for the base, for histories that share none."""
        if len(self.merge.parents) < 2:
            return None
        commit = self.snapshot.lakefs.merge_base(self.merge.parents[1], self.merge.parents[0])
        for ref_id, watermark in (
            self.stores.refs.at_commit(self.snapshot.repository_id, [commit]).get(commit, []) if commit else []
        ):
            version = self.stores.versions.in_force(self.stores.refs.get(ref_id), watermark).get(logical)
            if version is not None and version.id > self.stores.repositories.severed_at(self.snapshot.repository_id):
                return version.id
        return None

    def _data_changed(self, versions: dict[int, Definition]) -> bool:
        changed = self.snapshot.lakefs.changed(self.merge.parents[0], self.merge.commit)
        paths = {path_on_ref(d.header.sd.location) for d in versions.values() if d and d.header.sd.location}
        return any(changed.below(path) for path in paths if path)

    def _partials(
        self, source: int, bases: frozenset[int], destination: int | None, began: Collection[int]
    ) -> dict[int, Definition]:
        """The definitions of both sides and the bases, with the partitions that the source may have changed."""
        stored = {}
        for version_id in {source, *bases, *began, *([destination] if destination is not None else ())}:
            definition = self.stores.versions.get(version_id).definition
            stored[version_id] = self.stores.versions.definition(definition) if definition else None
        there = {v: s for v, s in stored.items() if s is not None}
        others = [there[v].manifest if v in there else () for v in (source, *bases)]
        if not bases or destination is None or destination not in there:
            # Created or dropped as a whole, or without a base: every partition takes part.
            others.append(())
        chunks = {chunk.hash for chunk in differing(others)}
        load = self.stores.versions.load_chunk
        wanted = {p.values for s in there.values() for c in s.manifest if c.hash in chunks for p in load(c)}
        if source not in there and destination in there:
            # The table was dropped as a whole: any partition that came on the destination since is a change of it.
            wanted |= {p.values for c in there[destination].manifest for p in load(c)}
        if destination in there and source in there:
            # What the source brings may come to lie where the destination has a partition of other values.
            brought, known = (
                {
                    (p.values, p.location)
                    for one in some
                    if one in there
                    for c in there[one].manifest
                    if c.hash in chunks
                    for p in load(c)
                }
                for some in ((source,), bases)
            )
            paths = {path for _, where in brought - known if (path := path_on_ref(where or ""))}
            at = self.stores.versions.lying_at(there[destination].manifest, paths)
            wanted |= {p.values for partitions in at.values() for p in partitions}
        return {v: self.stores.versions.partial(s.hash if s is not None else None, wanted) for v, s in stored.items()}
