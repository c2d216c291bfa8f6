"""Finding merges: the log of every watched branch, entered into the ledger, and what each was made from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from metasync.engine.lineage import Sight
from metasync.engine.scope import Scope
from metasync.lakefs import LakeFS
from metasync.model.lakefs import Commit, EventType, LakeFSEvent, Ref, RefType
from metasync.planning.plan import Notice
from metasync.store.ledger import Ledger, MergeRow
from metasync.store.refs import RefRow, RefStore

_MESSAGE = re.compile(r"Merge '([^']+)' into '([^']+)'")
_REVERT = re.compile(r"Revert (\S+)")
_HIDDEN = "tx-"
_LONGEST_WALK = 10_000


@dataclass(frozen=True)
class _Source:
    """What a merge was made from: as typed, the ref that it means, and whether that is known."""

    typed: str
    row: RefRow | None

    @property
    def name(self) -> str:
        return str(self.row.ref) if self.row else self.typed


class MergeFinder:
    """Enters each merge commit of a watched branch once, in lakeFS's order."""

    def __init__(self, lakefs: LakeFS, refs: RefStore, ledger: Ledger) -> None:
        self._lakefs = lakefs
        self._refs = refs
        self._ledger = ledger

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
                    "to take back a merge that the reset took away: metasync history, then metasync undo MERGE",
                )
            )
        for commit in reversed(found):
            self._enter(sight, row, commit, scope.events)
            self._tell(sight, row, commit, scope.events)
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

    def _tell(self, sight: Sight, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> None:
        """Says what moved data and left definitions alone, with the command that moves these too.

        A cherry-pick carries its origin in its metadata, a revert only lakeFS's own message (recorded: revert.json).
        """
        name, subject = sight.repository.name, f"{row.ref} {commit.id[:12]}"
        if origin := commit.metadata.get("cherry-pick-origin"):
            found = Notice(
                "cherry-picked", subject, f"brought the data of {origin[:12]} alone; no definition changed",
                f"metasync diff {name} SOURCE {row.ref.name} --merge, then metasync merge {name} SOURCE {row.ref.name}",
            )  # fmt: skip
        elif reverted := self._reverted(sight, commit, events):
            merges = [m for m in self._ledger.find_merges(reverted, sight.repository_id) if m.commit == reverted]
            what = f"the merge of {merges[0].source}" if merges else reverted[:12]
            undo = f"metasync undo {reverted[:12]}" if merges else f"metasync history {name}"
            found = Notice("reverted", subject, f"took back the data of {what} alone; no definition changed", undo)
        else:
            return
        sight.notices.append(found)
        self._ledger.note(name, str(row.ref), "", "", found.kind, found.message, found.help)

    def _reverted(self, sight: Sight, commit: Commit, events: Iterable[LakeFSEvent]) -> str:
        """The commit that this one reverts; empty where it is no revert."""
        told = any(e.type is EventType.REVERT and e.commit_id == commit.id for e in events)
        match = _REVERT.fullmatch(commit.message)
        if len(commit.parents) != 1 or (match is None and not told):
            return ""
        # `Revert main` was typed when the branch stood at this commit's parent.
        typed = match.group(1) if match else ""
        known = (
            self._lakefs.get_commit(sight.repository.name, typed) if re.fullmatch(r"[0-9a-f]{6,64}", typed) else None
        )
        return known.id if known is not None else commit.parents[0]

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
