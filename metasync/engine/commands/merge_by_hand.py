"""Merging by hand: metadata alone, and naming the source of merges of which it is unknown."""

from __future__ import annotations

from uuid import uuid4

from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.scope import Scope
from metasync.engine.track.merge_sources import IMPORTED
from metasync.engine.track.tracker import Tracker
from metasync.errors import NotAllowed, UsageError
from metasync.lakefs import LakeFS
from metasync.model.lakefs import Ref, RefType
from metasync.planning.rules import RuleSet
from metasync.store.ledger import METADATA, MergeRow
from metasync.store.stores import Stores


class Merger:
    """Enters merges into the ledger, and what a person says of them."""

    def __init__(
        self,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        lakefs: LakeFS,
    ) -> None:
        self._rules = rules
        self._controller = controller
        self._lakefs = lakefs
        self._tracker = tracker
        self._refs = stores.refs
        self._ledger = stores.ledger
        self._history = stores.history

    def no_source(self, repository: str, commit: str, by: str) -> None:
        """Closes a merge that was made from nothing that metasync could merge. Raises UsageError."""
        with self._controller.alone(repository):
            repository_id = self._tracker.known(repository).repository_id
            merge = self._open_merge(repository, repository_id, commit)
            if merge.state == "started":
                raise NotAllowed(f"the merge {commit!r} is half done; first: metasync reconcile {repository}")
            self._ledger.close_as(merge.id, f"no source, says {by}")
            ref, cause = str(self._refs.get(merge.destination_ref_id).ref), f"merge {merge.commit[:12]}, by {by}"
            self._history.note(repository, ref, "", "", "merge-closed", "no source", cause)

    def _open_merge(self, repository: str, repository_id: int, commit: str) -> MergeRow:
        found = [m for m in self._ledger.open_merges(repository_id) if m.commit.startswith(commit)]
        if len(found) != 1:
            what = "no merge" if not found else f"{len(found)} merges, say more of its commit:"
            raise UsageError(f"{what} {commit!r} of {repository} is open; see: metasync status")
        return found[0]

    def name_source(self, repository: str, commit: str, source: str) -> None:
        """Names the source of a merge that waits as "source unknown"."""
        repository_id = self._tracker.known(repository).repository_id
        imports = [m for m in self._ledger.find_merges(commit, repository_id) if m.note == IMPORTED]
        merge = imports[0] if len(imports) == 1 else self._open_merge(repository, repository_id, commit)
        if merge.state != "source-unknown" and merge.note != IMPORTED:
            raise UsageError(f"the merge {commit!r} of {repository} does not wait for its source: it is {merge.state}")
        for kind in (RefType.BRANCH, RefType.TAG):
            row = self._refs.newest(repository_id, Ref(kind, source))
            if row is not None:
                self._ledger.update_merge(
                    merge.id, source=str(row.ref), source_ref_id=row.id, state="pending", confirmed=1, note=""
                )
                return
        raise UsageError(f"metasync has never seen a branch or tag {source!r} of {repository}")

    def merge_metadata(
        self, repository: str, source: str, destination: str, *, by: str = "", watcher: Watcher | None = None
    ) -> Result:
        """Merges the metadata of one ref into another without a merge of data, through the same ledger.

        `by` is who asked for it.
        """
        with self._controller.alone(repository):
            self._enter(repository, source, destination, by)
            return self._controller.sync(Scope(repository), watcher=watcher)

    def _enter(self, repository: str, source: str, destination: str, by: str) -> None:
        snapshot = self._tracker.track(Scope(repository, full=True))
        theirs, ours = self._tracker.named(snapshot, source), self._tracker.named(snapshot, destination)
        if not self._rules.is_watched(snapshot.repository, ours.ref):
            raise UsageError(f"no rule watches {ours.ref} of {repository}; nothing is merged into it")
        if theirs.id == ours.id:
            raise UsageError(f"{theirs.ref} cannot be merged into itself")
        heads = [snapshot.refs.heads[ours.ref], snapshot.refs.heads[theirs.ref]]
        commit = self._lakefs.get_commit(repository, heads[0])
        self._ledger.add_merge(
            repository_id=snapshot.repository_id,
            commit=METADATA + uuid4().hex[:12],
            destination_ref_id=ours.id,
            parents=heads,
            generation=commit.generation if commit else 0,
            source=str(theirs.ref),
            source_ref_id=theirs.id,
            source_commit=heads[1],
            committer=by,
            message=f"metadata of {theirs.ref} into {ours.ref}",
            state="pending",
        )
