"""What comes before what: the merges whose turn it is, and the new refs that wait for merges into their parents."""

from __future__ import annotations

from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_sources import SourceFinder
from metasync.engine.track.snapshot import DueMerge
from metasync.engine.track.sync_pass import SyncPass
from metasync.planning.plan import Notice
from metasync.planning.rules import RuleSet
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_CONFIRMED_IN = 30.0
"""Seconds that a merge which may drop something waits for lakeFS to record what, so far, only an event says."""


class MergeOrder:
    """Decides which open merges are due, in lakeFS's order, and reads the tables of both of their sides."""

    def __init__(
        self,
        stores: Stores,
        lineage: Lineage,
        sources: SourceFinder,
        rules: RuleSet,
    ) -> None:
        self._refs = stores.refs
        self._ledger = stores.ledger
        self._lineage = lineage
        self._sources = sources
        self._rules = rules

    def find_due(self, sync_pass: SyncPass, *, again: bool) -> None:
        """Notes the oldest open merge of each destination as due, and those that wait for them as behind.

        One that is open for tables that failed is tried again where that may have changed something: with `again`, and
        where a side was read.
        """
        # Before a log is read to its end, there may be merges in it that come first.
        taken = set(sync_pass.walking)
        for entered in self._ledger.open_merges(sync_pass.repository_id):
            destination = self._refs.get(entered.destination_ref_id)
            merge = self._with_source(sync_pass, entered)
            if merge is None:
                continue
            if merge.state == "partial":
                self._retry(sync_pass, merge, destination, again)
                continue
            if merge.state == "source-unknown":
                self._report_unknown(sync_pass, merge, destination)
                continue
            assert merge.source_ref_id is not None
            first = self._first(sync_pass, destination) | self._first(sync_pass, self._refs.get(merge.source_ref_id))
            # Entered in this very pass, it is younger than the pass; much younger, the clock was set back.
            fresh = abs(sync_pass.now - merge.seen_at) < _CONFIRMED_IN
            if not merge.confirmed and fresh and self._may_drop(sync_pass):
                sync_pass.ask_again_in(1.0)
                taken |= first
            if first & taken:
                # Its sides are not settled yet: an earlier merge comes first; or lakeFS has not recorded it yet.
                sync_pass.behind.append(merge)
                taken.add(merge.destination_ref_id)
                continue
            taken.add(merge.destination_ref_id)
            self._add(sync_pass, merge, self._lineage.forked(sync_pass, destination))

    def find_waiting(self, sync_pass: SyncPass) -> None:
        """Notes the refs whose creation waits: for merges into them or, earlier ones, into their parent; or for it.

        Once nothing comes before it any more, a ref takes over what those merges have made of its parent.
        """
        oldest = self._oldest(sync_pass)
        unsettled: set[int] = set()
        for row in sync_pass.refs.rows:
            creating = sync_pass.refs.is_being_created(row)
            if creating and row.id in oldest:
                sync_pass.waiting.add(row.id)
                unsettled.add(row.id)
            if row.parent_id is None or not (creating or row.waited or row.id in sync_pass.new):
                continue
            first = row.parent_id in oldest and oldest[row.parent_id] <= sync_pass.lakefs.generation(row.born_commit)
            if first or row.parent_id in unsettled:
                # A ref without mirrors waits for nothing itself, but those that were made from it do.
                unsettled.add(row.id)
                sync_pass.waiting |= {row.id} if creating else set()
                self._refs.update(row.id, waited=1)
            elif row.waited:
                self._lineage.forked(sync_pass, row)

    def unsettled(self, sync_pass: SyncPass) -> set[int]:
        """The refs that are not whole yet, or into which a merge is still to be done."""
        return {row.id for row in sync_pass.refs.rows if row.state != "live" or row.replaced} | set(
            self._oldest(sync_pass)
        )

    def _with_source(self, sync_pass: SyncPass, merge: MergeRow) -> MergeRow | None:
        """The merge with what lakeFS shows of its source by now; None where it turns out to be no merge."""
        if merge.state == "source-unknown":
            return self._sources.found_meanwhile(sync_pass, merge)
        if merge.state == "pending":
            return self._sources.confirmed_meanwhile(sync_pass, merge)
        return merge

    def _report_unknown(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow) -> None:
        sync_pass.notices.append(
            Notice(
                "source-unknown",
                f"{destination.ref} {merge.commit[:12]}",
                f"the merge {merge.message!r} waits, as its source is unknown",
                f"metasync merge {sync_pass.repository.name} --commit {merge.commit} --source REF, or --no-source",
            )
        )

    def _retry(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow, again: bool) -> None:
        """Adds a merge that is open for the tables that failed, where trying it again may change something."""
        if sync_pass.refs.has_ended(destination):
            self._ledger.close_as(merge.id, "its destination is gone")
        elif again or {merge.destination_ref_id, merge.source_ref_id} & set(sync_pass.readings):
            self._add(sync_pass, merge, destination)

    def _add(self, sync_pass: SyncPass, merge: MergeRow, destination: RefRow) -> None:
        """Adds a merge that is due, with the tables of both sides read; one that was cut short has its plan already."""
        sync_pass.due.append(DueMerge(merge, destination))
        if merge.state == "started":
            return
        assert merge.source_ref_id is not None
        # A branch can be merged into itself, as it was before a reset.
        source = self._refs.get(merge.source_ref_id)
        sides = {source.id: source} if sync_pass.refs.is_alive(source) else {}
        if not sync_pass.refs.has_ended(destination):
            sides[destination.id] = destination
        self._lineage.read_all(sync_pass, list(sides.values()))

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

    def _oldest(self, sync_pass: SyncPass) -> dict[int, int]:
        """Branch -> the generation of the oldest merge into it that is not done; 0 where its log is not read yet."""
        oldest = dict.fromkeys(sync_pass.walking, 0)
        for merge in (*(due.merge for due in sync_pass.due), *sync_pass.behind):
            if merge.state != "partial":
                into = merge.destination_ref_id
                oldest[into] = min(merge.generation, oldest.get(into, merge.generation))
        return oldest
