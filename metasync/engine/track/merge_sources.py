"""What a merge was made from, by the event, by lakeFS's message and a head, by the runs API, or by a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from metasync.engine.track.sync_pass import SyncPass
from metasync.lakefs import LakeFS
from metasync.model.lakefs import Commit, EventType, LakeFSEvent, Ref, RefType
from metasync.planning.rules import RuleSet
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_MESSAGE = re.compile(r"Merge '([^']+)' into '([^']+)'")
_EXPRESSION = re.compile(r"[~^@].*$", re.S)
_HIDDEN = "tx-"
_IMPORTED = "source-wins"
"""The strategy that every import carries in its metadata."""
IMPORTED = "an import: no merge"
"""The note of a merge that was closed as none; a person can still say what it was made from."""
_ASKED_FOR = 3600.0
"""Seconds for which lakeFS is asked what a squashed commit was."""
_IMPORT_AFTER = 600.0
"""Seconds after which a commit that can be an import, and of which no run was recorded, is taken for one."""


@dataclass(frozen=True)
class Source:
    """What a merge was made from: as typed, and the ref that it means, None where that is not known.

    `confirmed`: lakeFS shows it; an event alone, which anybody with the webhook's token can send, does not.
    """

    typed: str
    row: RefRow | None
    confirmed: bool = True

    @property
    def name(self) -> str:
        return str(self.row.ref) if self.row else self.typed


class SourceFinder:
    """Finds the sources of merge commits."""

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        rules: RuleSet,
    ) -> None:
        self._rules = rules
        self._lakefs = lakefs
        self._refs = stores.refs
        self._ledger = stores.ledger
        self._history = stores.history

    def find(self, sync_pass: SyncPass, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> Source | None:
        """The source of a commit of `row`; None where the commit is no merge of anybody's branch.

        From a transaction's hidden branch, or an import, it is a commit like any other (recorded: transaction.json).
        """
        squashed = len(commit.parents) < 2
        if squashed and commit.merge_strategy is None:
            return None
        events = tuple(events)
        typed, confirmed = self._typed(sync_pass, row, commit, events)
        hidden = typed.startswith(_HIDDEN) and sync_pass.refs.row(Ref(RefType.BRANCH, typed)) is None
        if hidden or (squashed and not typed and self._is_import(sync_pass, commit)):
            return None
        return replace(self._meant(sync_pass, typed, commit.parents, commit.generation), confirmed=confirmed)

    def is_anothers(self, sync_pass: SyncPass, row: RefRow, commit: Commit) -> bool:
        """Whether a commit on a branch's log is a merge into another branch, which enters it from a log of its own.

        A branch that was created anew from the other, or reset to it, has the other's merges before its own. Into what
        a merge was made, lakeFS's record says; else its message, where that branch has the commit on its log. A branch
        that is gone, or that nobody watches, enters nothing any more: then the merge counts where it is found.
        """
        if row.parent_id is None or (len(commit.parents) < 2 and commit.merge_strategy is None):
            return False
        match = _MESSAGE.fullmatch(commit.message)
        if match is None or match.group(2) == row.ref.name:
            return False
        other = self._refs.newest(sync_pass.repository_id, Ref(RefType.BRANCH, match.group(2)))
        if other is None or not sync_pass.refs.is_alive(other):
            return False
        if not self._rules.is_watched(sync_pass.repository, other.ref):
            return False
        name = sync_pass.repository.name
        payload = self._lakefs.payload_of_run(name, commit.id, EventType.MERGE)
        if payload is not None and payload.get("branch_id"):
            return str(payload["branch_id"]) != row.ref.name
        log = self._lakefs.first_parents(name, sync_pass.refs.heads[other.ref])
        return commit.id in (c.id for c in takewhile(lambda c: c.generation >= commit.generation, log))

    def found_meanwhile(self, sync_pass: SyncPass, merge: MergeRow) -> MergeRow | None:
        """A merge whose source was unknown, with its source where that shows by now.

        None where it turns out to be an import, which is no merge: lakeFS gives both one parent and the same metadata,
        and records which of them it was only once the hooks have ended.
        """
        if merge.source_commit:
            holders = self._refs.at_commit(sync_pass.repository_id, [merge.source_commit]).get(merge.source_commit, [])
            return self._known(merge, Source("", self._refs.get(holders[-1][0]))) if holders else merge
        if merge.is_metadata or sync_pass.now - merge.seen_at > _ASKED_FOR:
            return merge
        name, age = sync_pass.repository.name, sync_pass.now - merge.seen_at
        if payload := self._lakefs.payload_of_run(name, merge.commit, EventType.MERGE):
            typed = str(payload.get("merge_source", ""))
            return self._known(merge, self._meant(sync_pass, typed, merge.parents, merge.generation))
        recorded = self._lakefs.payload_of_run(name, merge.commit, EventType.COMMIT) is not None
        if recorded or (age > _IMPORT_AFTER and self._looks_imported(sync_pass, merge)):
            self._ledger.close_as(merge.id, IMPORTED)
            self._history.note_once(
                name,
                str(self._refs.get(merge.destination_ref_id).ref),
                "taken-for-import",
                f"{merge.commit[:12]} is taken for an import, which merges nothing; if it was a squash merge: "
                f"metasync merge {name} --commit {merge.commit[:12]} --source REF",
                f"commit {merge.commit[:12]}",
            )
            return None
        if age > -_IMPORT_AFTER:
            sync_pass.ask_again_in(min(max(1.0, age / 2), _IMPORT_AFTER / 2))
        return merge

    def confirmed_meanwhile(self, sync_pass: SyncPass, merge: MergeRow) -> MergeRow:
        """A merge whose source only an event named, as lakeFS's runs have it by now."""
        if merge.confirmed:
            return merge
        payload = self._lakefs.payload_of_run(sync_pass.repository.name, merge.commit, EventType.MERGE)
        if payload is None or not payload.get("merge_source"):
            return merge
        return self._known(merge, self._meant(sync_pass, str(payload["merge_source"]), merge.parents, merge.generation))

    def _known(self, merge: MergeRow, source: Source) -> MergeRow:
        if source.row is None:
            return merge
        self._ledger.update_merge(
            merge.id, source=source.name, source_ref_id=source.row.id, state="pending", confirmed=1
        )
        return self._ledger.merge(merge.id)

    def _typed(
        self, sync_pass: SyncPass, row: RefRow, commit: Commit, events: tuple[LakeFSEvent, ...]
    ) -> tuple[str, bool]:
        """What the user typed as the source, and whether lakeFS itself shows it; empty where it is unknown."""
        holders = {holder.ref.name for holder in self._holders(sync_pass, commit.parents)}
        named = next(
            (
                e.merge_source
                for e in events
                if e.type is EventType.MERGE and e.commit_id == commit.id and e.merge_source
            ),
            "",
        )
        if named and holders == {_EXPRESSION.sub("", named)}:
            return named, True
        match = _MESSAGE.fullmatch(commit.message)
        by_message = match.group(1) if match and match.group(2) == row.ref.name else ""
        if by_message and (by_message == named or (not named and by_message in holders)):
            # lakeFS's own words, and the event's or a ref whose head was the merged commit: nobody has to be asked.
            return by_message, True
        payload = self._lakefs.payload_of_run(sync_pass.repository.name, commit.id, EventType.MERGE)
        if payload is not None and payload.get("merge_source"):
            return str(payload["merge_source"]), True
        if named:
            return named, False
        if pulled := sync_pass.lakefs.pull_request(commit.id):
            return pulled, True
        # lakeFS's words alone, which anybody can write: the weakest witness, and still one.
        return by_message, True

    def _is_import(self, sync_pass: SyncPass, commit: Commit) -> bool:
        """Whether a commit with one parent and a strategy is surely an import, which carries that metadata too."""
        if commit.merge_strategy != _IMPORTED:
            return False
        if commit.message == "Import objects":
            return True
        return self._lakefs.payload_of_run(sync_pass.repository.name, commit.id, EventType.COMMIT) is not None

    def _looks_imported(self, sync_pass: SyncPass, merge: MergeRow) -> bool:
        """Whether nothing but an import, or a squash merge that nobody recorded, can have made a commit.

        An import's strategy is always source-wins, and its generation one more than its parent's; a squash merge's is
        one more than that of the later of its two sides (seen on 1.84).
        """
        before = sync_pass.lakefs.generation(merge.parents[0]) if merge.parents else 0
        return merge.strategy == _IMPORTED and merge.generation == before + 1

    def _meant(self, sync_pass: SyncPass, typed: str, parents: Sequence[str], generation: int) -> Source:
        """The ref that was typed; a commit or an expression stands for a branch whose head it was."""
        name = _EXPRESSION.sub("", typed)
        rows = self._holders(sync_pass, parents)
        if name:
            incarnations = [row for row in rows if row.ref.name == name]
            if incarnations:
                return Source(typed, incarnations[-1])
            for kind in (RefType.BRANCH, RefType.TAG):
                known = self._refs.incarnations(sync_pass.repository_id, Ref(kind, name))
                if known:
                    return Source(typed, self._alive_then(sync_pass, known, parents, generation))
        branches_first = [row for row in rows if row.ref.type is RefType.BRANCH] or rows
        at = parents[1] if len(parents) > 1 else ""
        return Source(typed or at, branches_first[-1] if branches_first else None)

    def _alive_then(
        self, sync_pass: SyncPass, known: Sequence[RefRow], parents: Sequence[str], generation: int
    ) -> RefRow:
        """The incarnation of a ref that a merge was made from: not one created from a commit as late as the merge
        itself.

        Of several, the newest that has the merged commit in its history, or that is over.
        """
        if len(known) == 1:
            return known[0]
        early = [row for row in known if 0 < sync_pass.lakefs.generation(row.born_commit) < generation] or list(known)
        for row in early if len(parents) > 1 else ():
            alive = sync_pass.refs.is_alive(row)
            if not alive or sync_pass.lakefs.merge_base(parents[1], sync_pass.refs.heads[row.ref]) == parents[1]:
                return row
        return early[0]

    def _holders(self, sync_pass: SyncPass, parents: Sequence[str]) -> list[RefRow]:
        """The refs whose tables were read while the merged commit was their head."""
        if len(parents) < 2:
            return []
        at = parents[1]
        return [self._refs.get(ref_id) for ref_id, _ in self._refs.at_commit(sync_pass.repository_id, [at]).get(at, [])]
