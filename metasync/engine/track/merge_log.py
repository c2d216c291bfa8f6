"""The ledger from the log: the merges of every watched branch, from its head back to the last commit that was entered.

A long log is read in steps, one a pass; nothing is merged into the branch before all of it is read, so that merges are
done in lakeFS's order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from metasync.engine.scope import Scope
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_sources import SourceFinder
from metasync.engine.track.sync_pass import SyncPass
from metasync.lakefs import LakeFS
from metasync.model.lakefs import Commit, EventType, LakeFSEvent
from metasync.planning.plan import Notice
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_REVERT = re.compile(r"Revert (\S+)")
_STEP = 1000
"""Commits of one branch's log that one pass reads."""


@dataclass(frozen=True)
class _Stretch:
    """A part of a log, newest first, that the ledger has not seen.

    `rest` is the commit to go on with, None at the end; `rewritten`: what the ledger had seen is not in the log.
    """

    commits: tuple[Commit, ...]
    rest: Commit | None = None
    rewritten: bool = False


class MergeFinder:
    """Enters each merge commit of a watched branch once."""

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        lineage: Lineage,
        sources: SourceFinder,
    ) -> None:
        self._lakefs = lakefs
        self._lineage = lineage
        self._refs = stores.refs
        self._ledger = stores.ledger
        self._history = stores.history
        self._sources = sources

    def walk(self, sync_pass: SyncPass, row: RefRow, scope: Scope) -> None:
        """Enters the merges between a branch's head and the last commit that the ledger has seen, or a step of them."""
        head = row.walk_head or sync_pass.refs.heads[row.ref]
        if row.ledger_head == head and row.walk_head is None:
            return
        stretch = self._unseen(sync_pass.repository.name, row.walk_at or head, row.ledger_head)
        if stretch.rewritten and self._lineage.was_recreated(sync_pass, row):
            # What lies on this log is the new incarnation's, which the next pass begins.
            self._refs.replace(row.id)
            sync_pass.walking.add(row.id)
            return
        for commit in reversed(stretch.commits):
            self._enter(sync_pass, row, commit, scope.events)
            self._report_data_only(sync_pass, row, commit, scope.events)
        if stretch.rest is not None:
            self._refs.update(row.id, walk_head=head, walk_at=stretch.rest.id)
            sync_pass.walking.add(row.id)
            self._report_progress(sync_pass, row, stretch.rest)
            return
        if stretch.rewritten:
            self._report_rewritten(sync_pass, row, head)
        self._refs.update(row.id, ledger_head=head, walk_head=None, walk_at=None)
        if head != sync_pass.refs.heads[row.ref]:
            # It moved on while its log was read.
            sync_pass.walking.add(row.id)

    def _unseen(self, repository: str, start: str, seen: str | None) -> _Stretch:
        """The commits from `start` back to the last one seen, at most a step of them.

        Generations fall along first parents, so a log that gets below the seen commit's without having met it was
        reset; then what the two histories do not share is new.
        """
        found: list[Commit] = []
        bound, rewritten = self._lakefs.get_commit(repository, seen) if seen else None, False
        for commit in self._lakefs.first_parents(repository, start):
            if bound is not None and not rewritten and _below(commit, bound):
                base, rewritten = self._lakefs.merge_base(repository, bound.id, start), True
                bound = self._lakefs.get_commit(repository, base) if base else None
            if bound is not None and (commit.id == bound.id or _below(commit, bound)):
                return _Stretch(tuple(found), rewritten=rewritten)
            if len(found) == _STEP:
                return _Stretch(tuple(found), rest=commit, rewritten=rewritten)
            found.append(commit)
        return _Stretch(tuple(found), rewritten=bound is not None or rewritten)

    def _report_progress(self, sync_pass: SyncPass, row: RefRow, rest: Commit) -> None:
        left = rest.generation - sync_pass.lakefs.generation(row.ledger_head or "")
        sync_pass.notices.append(
            Notice(
                "catching-up",
                str(row.ref),
                f"about {max(left, 1)} commits of its log are still to be read; its merges are done once all are",
            )
        )

    def _report_rewritten(self, sync_pass: SyncPass, row: RefRow, head: str) -> None:
        notice = Notice(
            "history-rewritten",
            str(row.ref),
            f"was reset: {(row.ledger_head or '')[:12]} is not in its history any more; its tables stay as they are",
            "to take back a merge that the reset took away: metasync history, then metasync undo MERGE",
        )
        sync_pass.notices.append(notice)
        self._note(sync_pass, row, notice, head)

    def _enter(self, sync_pass: SyncPass, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]) -> None:
        if self._sources.is_anothers(sync_pass, row, commit):
            return
        source = self._sources.find(sync_pass, row, commit, events)
        if source is None:
            return
        squashed = len(commit.parents) < 2
        if (
            source.row is not None
            and source.row.id != row.id
            and source.row.ref not in sync_pass.refs.heads
            and not squashed
        ):
            # Nobody can walk the log of a branch that is gone from its head any more; from here it still can be.
            self._walk_from(sync_pass, source.row, commit.parents[1], events)
        self._ledger.add_merge(
            repository_id=sync_pass.repository_id,
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
            state="pending" if source.row is not None else "source-unknown",
            confirmed=int(source.confirmed),
        )

    def _walk_from(self, sync_pass: SyncPass, row: RefRow, start: str, events: Iterable[LakeFSEvent]) -> None:
        """Enters the merges into a branch that is gone, from a commit that it had back to the last one ledgered."""
        stretch = self._unseen(sync_pass.repository.name, start, row.ledger_head)
        if stretch.rewritten:
            return
        for commit in reversed(stretch.commits):
            self._enter(sync_pass, row, commit, events)
        self._refs.update(row.id, ledger_head=start)

    def _report_data_only(
        self, sync_pass: SyncPass, row: RefRow, commit: Commit, events: Iterable[LakeFSEvent]
    ) -> None:
        """Reports what moved data and left definitions alone, with the command that moves these too.

        A cherry-pick carries its origin in its metadata, a revert only lakeFS's own message (recorded: revert.json).
        """
        name, subject = sync_pass.repository.name, f"{row.ref} {commit.id[:12]}"
        if origin := commit.metadata.get("cherry-pick-origin"):
            found = Notice(
                "cherry-picked", subject, f"brought the data of {origin[:12]} alone; no definition changed",
                f"metasync diff {name} SOURCE {row.ref.name} --merge, then metasync merge {name} SOURCE {row.ref.name}",
            )  # fmt: skip
        elif reverted := self._reverted(sync_pass, commit, events):
            merges = [m for m in self._ledger.find_merges(reverted, sync_pass.repository_id) if m.commit == reverted]
            what = f"the merge of {merges[0].source}" if merges else reverted[:12]
            undo = f"metasync undo {reverted[:12]}" if merges else f"metasync history {name}"
            found = Notice("reverted", subject, f"took back the data of {what} alone; no definition changed", undo)
        else:
            return
        sync_pass.notices.append(found)
        self._note(sync_pass, row, found, commit.id)

    def _note(self, sync_pass: SyncPass, row: RefRow, notice: Notice, commit: str) -> None:
        self._history.note_once(
            sync_pass.repository.name,
            str(row.ref),
            notice.kind,
            f"{notice.message}; {notice.help}",
            f"commit {commit[:12]}",
        )

    def _reverted(self, sync_pass: SyncPass, commit: Commit, events: Iterable[LakeFSEvent]) -> str:
        """The commit that this one reverts; empty where it is no revert."""
        announced = any(e.type is EventType.REVERT and e.commit_id == commit.id for e in events)
        match = _REVERT.fullmatch(commit.message)
        if len(commit.parents) != 1 or (match is None and not announced):
            return ""
        # `Revert main` was typed when the branch stood at this commit's parent.
        typed = match.group(1) if match else ""
        known = (
            self._lakefs.get_commit(sync_pass.repository.name, typed)
            if re.fullmatch(r"[0-9a-f]{6,64}", typed)
            else None
        )
        return known.id if known is not None else commit.parents[0]


def _below(commit: Commit, bound: Commit) -> bool:
    """Whether a commit lies so far back that `bound` cannot come any more."""
    return commit.id != bound.id and 0 < commit.generation <= bound.generation
