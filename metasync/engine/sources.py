"""What a merge was made from: told by the event, by lakeFS's message and a head, by the runs API, by a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from metasync.engine.lineage import Sight
from metasync.lakefs import LakeFS
from metasync.model.lakefs import Commit, EventType, LakeFSEvent, Ref, RefType
from metasync.store.ledger import Ledger, MergeRow
from metasync.store.refs import RefRow, RefStore

_MESSAGE = re.compile(r"Merge '([^']+)' into '([^']+)'")
_HIDDEN = "tx-"


@dataclass(frozen=True)
class Source:
    """What a merge was made from: as typed, and the ref that it means, None where that is not known."""

    typed: str
    row: RefRow | None

    @property
    def name(self) -> str:
        return str(self.row.ref) if self.row else self.typed


class SourceFinder:
    """Finds the sources of merge commits."""

    def __init__(self, lakefs: LakeFS, refs: RefStore, ledger: Ledger) -> None:
        self._lakefs = lakefs
        self._refs = refs
        self._ledger = ledger

    def find(self, sight: Sight, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> Source | None:
        """The source of a commit of `row`; None where the commit is no merge of anybody's branch.

        From a transaction's hidden branch, or an import, it is a commit like any other (recorded: transaction.json).
        """
        squashed = len(commit.parents) < 2
        if squashed and commit.merge_strategy is None:
            return None
        events = tuple(events)
        typed = self._typed(sight, row, commit, events)
        hidden = typed.startswith(_HIDDEN) and sight.row(Ref(RefType.BRANCH, typed)) is None
        if hidden or (squashed and not typed and self._is_import(sight, commit, events)):
            return None
        return self._meant(sight, typed, commit)

    def found_meanwhile(self, sight: Sight, merge: MergeRow) -> MergeRow:
        """The merge with its source, where a ref has been seen at the merged commit since."""
        if not merge.source_commit:
            return merge
        holders = self._refs.at_commit(sight.repository_id, [merge.source_commit]).get(merge.source_commit, [])
        if not holders:
            return merge
        row = self._refs.get(holders[-1][0])
        self._ledger.update_merge(merge.id, source=str(row.ref), source_ref_id=row.id, state="pending")
        return self._ledger.merge(merge.id)

    def _typed(self, sight: Sight, row: RefRow, commit: Commit, events: tuple[LakeFSEvent, ...]) -> str:
        """What the user typed as the source; empty where nobody can tell."""
        for event in events:
            if event.type is EventType.MERGE and event.commit_id == commit.id and event.merge_source:
                return event.merge_source
        match = _MESSAGE.fullmatch(commit.message)
        said = match.group(1) if match and match.group(2) == row.ref.name else ""
        if said and any(holder.ref.name == said for holder in self._holders(sight, commit)):
            # lakeFS's own words, and that ref's head was the merged commit: nobody has to be asked.
            return said
        payload = self._lakefs.payload_of_run(sight.repository.name, commit.id, EventType.MERGE)
        if payload is not None and payload.get("merge_source"):
            return str(payload["merge_source"])
        if sight.pull_requests is None:
            sight.pull_requests = self._lakefs.merged_pull_requests(sight.repository.name)
        # lakeFS's words alone, which anybody can write: the weakest witness, and still one.
        return sight.pull_requests.get(commit.id) or said

    def _is_import(self, sight: Sight, commit: Commit, events: tuple[LakeFSEvent, ...]) -> bool:
        """Whether a commit with one parent and a merge strategy is an import, which carries that metadata too."""
        if any(e.type is EventType.COMMIT and e.commit_id == commit.id for e in events):
            return True
        if commit.message.startswith("Import"):
            return True
        return self._lakefs.payload_of_run(sight.repository.name, commit.id, EventType.COMMIT) is not None

    def _meant(self, sight: Sight, typed: str, commit: Commit) -> Source:
        """The ref that was typed; a commit or an expression stands for a branch whose head it was."""
        name = re.sub(r"[~^@].*$", "", typed)
        rows = self._holders(sight, commit)
        if name:
            lives = [row for row in rows if row.ref.name == name]
            if lives:
                return Source(typed, lives[-1])
            for kind in (RefType.BRANCH, RefType.TAG):
                newest = self._refs.newest(sight.repository_id, Ref(kind, name))
                if newest is not None:
                    return Source(typed, newest)
        branches_first = [row for row in rows if row.ref.type is RefType.BRANCH] or rows
        at = commit.parents[1] if len(commit.parents) > 1 else ""
        return Source(typed or at, branches_first[-1] if branches_first else None)

    def _holders(self, sight: Sight, commit: Commit) -> list[RefRow]:
        """The refs whose tables were read while the merged commit was their head."""
        if len(commit.parents) < 2:
            return []
        at = commit.parents[1]
        return [self._refs.get(ref_id) for ref_id, _ in self._refs.at_commit(sight.repository_id, [at]).get(at, [])]
