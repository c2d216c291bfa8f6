"""The ledger: finding merges in the log of every watched branch, and what each of them merges."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from metasync.engine.lineage import Lineage, Sight
from metasync.engine.scope import Scope
from metasync.engine.tables import parallel
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.model.lakefs import Commit, EventType, LakeFSEvent, Ref, RefType
from metasync.model.marks import Marks
from metasync.planning.formats import why_off_ref, why_skipped
from metasync.planning.graph import Parents, bases_needed
from metasync.planning.locations import is_relative, path_on_ref
from metasync.planning.manifest import differing
from metasync.planning.merge import MergeInput
from metasync.planning.names import physical_name
from metasync.planning.observed import MergeTableView, MergeView, TableView
from metasync.planning.plan import Notice
from metasync.planning.rules import RuleSet
from metasync.planning.tree import Definition
from metasync.settings.models import Rule
from metasync.store.ledger import Ledger, MergeRow
from metasync.store.refs import RefRow, RefStore
from metasync.store.versions import Version, VersionStore

_MESSAGE = re.compile(r"Merge '([^']+)' into '([^']+)'")
_HIDDEN = "tx-"
_LONGEST_WALK = 10_000
_AT_ONCE = 8


@dataclass(frozen=True)
class _Source:
    """What a merge was made from: as typed, the ref that it means, and whether that is known."""

    typed: str
    row: RefRow | None

    @property
    def name(self) -> str:
        return str(self.row.ref) if self.row else self.typed


class MergeBook:
    """Enters merges into the ledger and gathers what their planning needs."""

    def __init__(
        self,
        lakefs: LakeFS,
        metastore: Metastore,
        refs: RefStore,
        versions: VersionStore,
        ledger: Ledger,
        lineage: Lineage,
        rules: RuleSet,
    ) -> None:
        self._lakefs = lakefs
        self._metastore = metastore
        self._refs = refs
        self._versions = versions
        self._ledger = ledger
        self._lineage = lineage
        self._rules = rules

    # Finding

    def walk(self, sight: Sight, row: RefRow, scope: Scope) -> None:
        """Enters the merges between a branch's head and the last commit that the ledger has seen."""
        head = sight.current[row.ref]
        if row.ledger_head == head:
            return
        found, known = [], False
        for commit in self._lakefs.first_parents(sight.repository.name, head, _LONGEST_WALK):
            if commit.id == row.ledger_head:
                known = True
                break
            found.append(commit)
        if not known and row.ledger_head is not None:
            # A hard reset: only what came after a commit at which we have looked is new.
            seen = self._refs.at_commit(sight.repository_id, [commit.id for commit in found])
            new: list[Commit] = []
            for commit in found:
                if any(ref_id == row.id for ref_id, _ in seen.get(commit.id, ())):
                    break
                new.append(commit)
            found = new if len(new) < len(found) else []
            sight.notices.append(
                Notice(
                    "history-rewritten",
                    str(row.ref),
                    f"was reset: {row.ledger_head[:12]} is not in its history any more; its tables stay as they are",
                )
            )
        for commit in reversed(found):
            self._enter(sight, row, commit, scope.events)
        self._refs.update(row.id, ledger_head=head)

    def _enter(self, sight: Sight, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> None:
        if len(commit.parents) < 2 and commit.merge_strategy is None:
            return
        typed = self._typed_source(sight, row, commit, events)
        squashed = len(commit.parents) < 2
        hidden = typed.startswith(_HIDDEN) and sight.row(Ref(RefType.BRANCH, typed)) is None
        if hidden or (squashed and not typed and self._is_import(sight, commit, events)):
            # From a transaction's hidden branch, or an import: a commit on its destination and no merge.
            return
        source = self._source(sight, typed, commit)
        if source.row is not None and source.row.id != row.id and source.row.ref not in sight.current and not squashed:
            # Nobody can walk the log of a branch that is gone from its head any more; from here it still can be.
            self._walk_from(sight, source.row, commit.parents[1], events)
        known = source.row is not None
        self._ledger.add_merge(
            repository_id=sight.repository_id,
            commit=commit.id,
            destination_ref_id=row.id,
            parents=list(commit.parents),
            generation=commit.generation,
            source=source.name,
            source_ref_id=source.row.id if source.row else None,
            source_commit=commit.parents[1] if not squashed else "",
            strategy=commit.merge_strategy or "",
            committer=commit.committer,
            message=commit.message,
            committed_at=float(commit.creation_date),
            state="pending" if known else "source-unknown",
        )

    def _walk_from(self, sight: Sight, row: RefRow, start: str, events: Iterable[LakeFSEvent]) -> None:
        """Enters the merges into a branch that is gone, from a commit that it had back to the last one ledgered."""
        found: list[Commit] = []
        for commit in self._lakefs.first_parents(sight.repository.name, start, _LONGEST_WALK):
            if commit.id == row.ledger_head:
                for one in reversed(found):
                    self._enter(sight, row, one, events)
                self._refs.update(row.id, ledger_head=start)
                return
            found.append(commit)

    def _is_import(self, sight: Sight, commit: Commit, events: Iterable[LakeFSEvent]) -> bool:
        """Whether a commit with one parent and a merge strategy is an import, which carries that metadata too."""
        if any(e.type is EventType.COMMIT and e.commit_id == commit.id for e in events):
            return True
        if commit.message.startswith("Import"):
            return True
        return self._lakefs.payload_of_run(sight.repository.name, commit.id, EventType.COMMIT) is not None

    def _typed_source(self, sight: Sight, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> str:
        """What the user typed as the source: from the event, else the runs API, else a pull request."""
        for event in events:
            if event.type is EventType.MERGE and event.commit_id == commit.id and event.merge_source:
                return event.merge_source
        repository = sight.repository.name
        payload = self._lakefs.payload_of_run(repository, commit.id, EventType.MERGE)
        if payload is not None and payload.get("merge_source"):
            return str(payload["merge_source"])
        if source := self._lakefs.pull_request_source(repository, commit.id):
            return source
        if (match := _MESSAGE.fullmatch(commit.message)) and match.group(2) == row.ref.name:
            # lakeFS's own words, which nobody has to write: the weakest witness, and still one.
            return match.group(1)
        return ""

    def _source(self, sight: Sight, typed: str, commit: Commit) -> _Source:
        name = re.sub(r"[~^@].*$", "", typed)
        at = commit.parents[1] if len(commit.parents) > 1 else ""
        holders = self._refs.at_commit(sight.repository_id, [at]).get(at, []) if at else []
        rows = [self._refs.get(ref_id) for ref_id, _ in holders]
        if name:
            lives = [r for r in rows if r.ref.name == name]
            if lives:
                return _Source(typed, lives[-1])
            for kind in (RefType.BRANCH, RefType.TAG):
                newest = self._refs.newest(sight.repository_id, Ref(kind, name))
                if newest is not None:
                    return _Source(typed, newest)
        destination_first = [r for r in rows if r.ref.type is RefType.BRANCH] or rows
        return _Source(typed or at, destination_first[-1] if destination_first else None)

    # Gathering

    def pending(self, sight: Sight) -> tuple[list[MergeView], list[MergeRow]]:
        """The oldest open merge of each destination, and those that wait for them."""
        views: list[MergeView] = []
        behind: list[MergeRow] = []
        taken: set[int | None] = set()
        for entered in self._ledger.open_merges(sight.repository_id):
            destination = self._refs.get(entered.destination_ref_id)
            merge = self._found_meanwhile(sight, entered) if entered.state == "source-unknown" else entered
            if merge.state == "source-unknown":
                sight.notices.append(
                    Notice(
                        "source-unknown",
                        f"{destination.ref} {merge.commit[:12]}",
                        f"the merge {merge.message!r} waits: nobody can tell what it was made from",
                        f"metasync merge --commit {merge.commit} --source REF",
                    )
                )
                continue
            unborn = destination.life in ("new", "making") and not destination.replaced
            unborn = unborn and bool(self._rules.of_ref(sight.repository.name, destination.ref))
            if unborn or {merge.destination_ref_id, merge.source_ref_id} & taken:
                # Its sides are not settled yet: a birth or an earlier merge comes first.
                behind.append(merge)
                taken.add(merge.destination_ref_id)
                continue
            taken.add(merge.destination_ref_id)
            views.append(self._view(sight, merge, destination))
        return views, behind

    def _found_meanwhile(self, sight: Sight, merge: MergeRow) -> MergeRow:
        """The merge with its source, where a ref has been seen at the merged commit since."""
        if not merge.source_commit:
            return merge
        holders = self._refs.at_commit(sight.repository_id, [merge.source_commit]).get(merge.source_commit, [])
        if not holders:
            return merge
        row = self._refs.get(holders[-1][0])
        self._ledger.update_merge(merge.id, source=str(row.ref), source_ref_id=row.id, state="pending")
        return self._ledger.merge(merge.id)

    def _view(self, sight: Sight, merge: MergeRow, destination: RefRow) -> MergeView:
        view = MergeView(
            id=merge.id,
            commit=merge.commit,
            source=merge.source,
            source_ref_id=merge.source_ref_id,
            destination=destination.ref,
            destination_ref_id=destination.id,
            strategy=merge.strategy,
            head=merge.parents[0] if merge.is_metadata else "",
        )
        if merge.state == "started":
            return replace(view, started=True, unfinished=self._ledger.unfinished(merge.id))
        if destination.life == "gone":
            return view
        assert merge.source_ref_id is not None
        source = self._refs.get(merge.source_ref_id)
        theirs, note = self.source_versions(sight, merge, source)
        reading = self._lineage.read(sight, destination, partitions=True)
        ours = self._versions.in_force(destination)
        tables = [
            table
            for logical in sorted({*theirs, *ours})
            if (rule := self.rule_for(sight, source, destination, logical)) is not None
            and (
                table := self.table_view(
                    sight, merge, destination, logical, rule, theirs.get(logical), ours.get(logical), reading.tables
                )
            )
            is not None
        ]
        return replace(view, tables=tuple(tables), note=note)

    def source_versions(self, sight: Sight, merge: MergeRow, source: RefRow) -> tuple[dict[TableName, Version], str]:
        """The source's tables as they were at the merge; a note where that had to be guessed."""
        alive = source.ref in sight.current and not source.replaced and source.life != "gone"
        at = merge.source_commit
        if alive and (not at or sight.current[source.ref] == at):
            self._lineage.read(sight, source, partitions=True)
            if not at or sight.current[source.ref] == at:
                return self._versions.in_force(source), ""
        for ref_id, watermark in self._refs.at_commit(sight.repository_id, [at]).get(at, []) if at else []:
            if ref_id == source.id:
                return self._versions.in_force(source, watermark), ""
        if alive:
            self._lineage.read(sight, source, partitions=True)
            return (
                self._versions.in_force(source),
                f"{source.ref} was never seen at the merged commit {at[:12]}; its tables are taken as they are now",
            )
        return self._versions.in_force(source), f"{source.ref} is gone; its tables are taken as they were last seen"

    def rule_for(self, sight: Sight, source: RefRow, destination: RefRow, logical: TableName) -> Rule | None:
        """The rule of the mirrored side: the destination's, else the source's, else that of the source's forebears."""
        name = sight.repository.name
        rule = self._rules.of_table(name, destination.ref, logical)
        row: RefRow | None = source
        while rule is None and row is not None:
            rule = self._rules.of_table(name, row.ref, logical)
            row = self._refs.get(row.parent_id) if row.parent_id is not None else None
        return rule

    def table_view(
        self,
        sight: Sight,
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
        parents = self._versions.graph(sight.repository_id, logical)
        fallback = self._fallback_base(sight, merge, destination, logical, ours) if ours else None
        bases = bases_needed(parents, theirs.id, ours.id) if ours is not None else frozenset()
        if bases == {theirs.id}:
            return None
        if not bases and fallback is not None and self._has_known_origin(parents, theirs):
            bases = frozenset({fallback})
        else:
            fallback = None
        versions = self._partials(theirs.id, bases, ours.id if ours else None)
        live = next((view for view in tables if view.logical == logical), None)
        physical = live.physical if live else self._destination_name(sight, destination, logical, rule)
        data_changed = bool(
            merge.strategy in ("source-wins", "dest-wins") and self._data_changed(sight, merge, versions)
        )
        return MergeTableView(
            logical=logical,
            rule=rule.name,
            physical=physical,
            input=MergeInput(parents, versions, theirs.id, ours.id if ours else None, fallback),
            live=live,
            problem=self._problem(sight, destination, physical, live),
            data_changed=data_changed,
            strict_columns=self._metastore.refuses_incompatible_columns(),
            emptied=self._emptied(sight, merge, versions.get(theirs.id), versions.get(ours.id) if ours else None),
        )

    def _emptied(self, sight: Sight, merge: MergeRow, source: Definition, destination: Definition) -> frozenset[str]:
        """The partitions that the source has no more and below which the merged data holds no object."""
        if source is None or destination is None:
            return frozenset()
        gone = {k: p for k, p in destination.partitions.items() if k not in source.partitions and p.location}
        at = merge.commit if merge.commit and not merge.is_metadata else merge.parents[0]

        def is_empty(key: str) -> bool:
            path = path_on_ref(gone[key].location or "")
            return bool(path) and not self._lakefs.has_objects(sight.repository.name, at, path or "")

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

    def _problem(self, sight: Sight, destination: RefRow, physical: TableName, live: TableView | None) -> str | None:
        """Why the destination's name cannot be written, though the destination has no such table."""
        if live is not None:
            return None
        there = self._metastore.get_table(physical)
        if there is None:
            return None
        if why_skipped(there):
            return "format-not-merged"
        if why_off_ref(there, sight.repository.name, destination.ref.name):
            return "destination-off-ref"
        marks = Marks.from_parameters(there.parameters, str(physical))
        return "foreign-table" if marks is None or not marks.making else None

    def _destination_name(self, sight: Sight, destination: RefRow, logical: TableName, rule: Rule) -> TableName:
        if destination.ref.name in self._rules.canonical_branches(sight.repository):
            return logical
        for pin in self._refs.pinned(destination.id):
            if pin.logical == logical:
                return pin.physical
        return physical_name(rule.target, sight.repository.name, destination.ref, logical)

    def _fallback_base(
        self, sight: Sight, merge: MergeRow, destination: RefRow, logical: TableName, ours: Version
    ) -> int | None:
        """The version in force at the commit that lakeFS takes for the base, for histories that share none."""
        if len(merge.parents) < 2:
            return None
        commit = self._lakefs.merge_base(sight.repository.name, merge.parents[1], merge.parents[0])
        for ref_id, watermark in self._refs.at_commit(sight.repository_id, [commit]).get(commit, []) if commit else []:
            version = self._versions.in_force(self._refs.get(ref_id), watermark).get(logical)
            if version is not None:
                return version.id
        return None

    def _data_changed(self, sight: Sight, merge: MergeRow, versions: dict[int, Definition]) -> bool:
        paths = {path_on_ref(d.header.sd.location) for d in versions.values() if d and d.header.sd.location}
        return any(
            self._lakefs.changed_below(sight.repository.name, merge.parents[0], merge.commit, path)
            for path in paths
            if path
        )

    def _partials(self, source: int, bases: frozenset[int], destination: int | None) -> dict[int, Definition]:
        """The definitions of both sides and the bases, with the partitions that the source may have changed."""
        stored = {}
        for version_id in {source, *bases, *([destination] if destination is not None else ())}:
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
