"""Refs: which there are, where each came from, as of which commit, and which are certainly gone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from metasync.engine.scope import Scope
from metasync.engine.threads import parallel
from metasync.engine.track.lakefs_cache import LakeFSCache
from metasync.engine.track.ref_index import RefIndex
from metasync.engine.track.sync_pass import SyncPass
from metasync.engine.track.table_reader import NOTHING_READ, Reading, TableReader
from metasync.errors import UsageError
from metasync.lakefs import LakeFS
from metasync.model.lakefs import LakeFSEvent, Ref, RefType, Repository
from metasync.planning.incarnations import creation_of, is_recreated, is_suspected
from metasync.planning.plan import Notice
from metasync.planning.rules import UNADDRESSABLE, RuleSet
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_EXPRESSION = re.compile(r"[~^@].*$", re.S)
_ANCESTORS = 1000
_BEGUN_AT_ONCE = 500
"""New refs that one pass adds: each may cost some requests."""
_SKEW = 5.0
"""Seconds by which lakeFS's clock and ours may differ, where lakeFS gives no time."""
_ASKED_FOR = 600.0
"""Seconds for which lakeFS is asked again, between polls too, whether it recorded what an event said."""


class Lineage:
    """Keeps the store's refs in step with lakeFS's."""

    def __init__(
        self,
        stores: Stores,
        lakefs: LakeFS,
        reader: TableReader,
        rules: RuleSet,
    ) -> None:
        self._lakefs = lakefs
        self._refs = stores.refs
        self._versions = stores.versions
        self._reader = reader
        self._rules = rules
        self._repositories = stores.repositories

    def list_refs(self, repository: Repository, scope: Scope, now: float) -> SyncPass:
        """Lists the refs, marks incarnations that were replaced, notes what is missing, adds new refs."""
        repository_id = self._repositories.id_of(repository)
        sync_pass = self._begun(repository, repository_id, now)
        sync_pass.listed_at = self._lakefs.server_time if self._lakefs.server_time is not None else now + _SKEW
        self._warn_of_others(sync_pass)
        for row in sync_pass.refs.rows:
            self._check(sync_pass, row, scope)
        known = {row.ref for row in sync_pass.refs.rows if not row.replaced}
        fresh = [ref for ref in sync_pass.refs.heads if ref not in known and not _is_unaddressable(ref)]
        fresh.sort(key=lambda r: (r.type is RefType.TAG, r.name != repository.default_branch, r.name))
        sync_pass.notices += [
            Notice("unaddressable-tag", str(ref), "lakeFS cannot address a tag of such a name")
            for ref in sync_pass.refs.heads
            if _is_unaddressable(ref)
        ]
        begun: set[Ref] = set()
        for ref in fresh[:_BEGUN_AT_ONCE]:
            self._begin(sync_pass, ref, scope.events, begun)
        sync_pass.unseen = len(fresh[_BEGUN_AT_ONCE:])
        return sync_pass

    def known(self, name: str, now: float) -> SyncPass:
        """A repository with the refs that are known by now. Raises UsageError where lakeFS has none of the name."""
        repository = self._lakefs.get_repository(name)
        if repository is None:
            raise UsageError(f"lakeFS has no repository {name!r}, or does not show it to this user")
        repository_id = self._repositories.id_of(repository)
        return self._begun(repository, repository_id, now)

    def _begun(self, repository: Repository, repository_id: int, now: float) -> SyncPass:
        heads, rows = self._lakefs.list_refs(repository.name), self._refs.living(repository_id)
        asked = LakeFSCache(self._lakefs, repository.name)
        return SyncPass(repository, repository_id, RefIndex(heads, rows), asked, now)

    def read(self, sync_pass: SyncPass, row: RefRow, *, partitions: bool) -> Reading:
        """The ref's tables, read once in a pass (once more where partitions are wanted after all)."""
        if row.id in sync_pass.readings and (not partitions or row.id in sync_pass.partitions_read):
            return sync_pass.readings[row.id]
        if row.state == "gone":
            # Its name may be another incarnation's by now.
            return NOTHING_READ
        if sync_pass.refs.has_former(row):
            # What stands there is the former incarnation's, as long as that is not over: by their names alone, a user's
            # tables could be either's.
            return NOTHING_READ
        head = sync_pass.refs.heads.get(row.ref, row.head) if not row.replaced else row.head
        with sync_pass.asking:
            moment = sync_pass.moment = sync_pass.moment or self._reader.moment()
        reading, at = self._reader.read(sync_pass.repository, row, head, moment, partitions=partitions)
        if at != head:
            # What led to the newer head, a merge of others too, may have come after the moment.
            with sync_pass.asking:
                sync_pass.moment = None
        if not row.replaced and row.ref in sync_pass.refs.heads:
            sync_pass.refs.heads[row.ref] = at
        sync_pass.readings[row.id] = reading
        if partitions:
            sync_pass.partitions_read.add(row.id)
        return reading

    def read_all(self, sync_pass: SyncPass, rows: Sequence[RefRow]) -> None:
        """Reads the tables of some refs with all of their partitions, two refs at a time."""
        parallel(2, lambda row: self.read(sync_pass, row, partitions=True), list(rows))

    def forked(self, sync_pass: SyncPass, row: RefRow) -> RefRow:
        """The ref with all that it takes over from its parent.

        That has grown where merges into the parent, from before the ref's commit, were still to be done at first.
        """
        parent = self._refs.get(row.parent_id) if row.waited and row.parent_id is not None else None
        if parent is None:
            return row
        watermark, as_of, _ = self._watermark(sync_pass, parent, row.born_commit)
        self._refs.update(row.id, watermark=watermark, as_of=as_of, waited=0)
        self._reload(sync_pass, row.id)
        return self._refs.get(row.id)

    def _warn_of_others(self, sync_pass: SyncPass) -> None:
        for other in self._repositories.identities(sync_pass.repository.name):
            if other.identity == sync_pass.repository.identity:
                continue
            if self._refs.living(self._repositories.id_of(other)):
                sync_pass.notices.append(
                    Notice(
                        "repository-replaced",
                        sync_pass.repository.name,
                        "is not the repository that was known by this name (created at another time, or on another "
                        "lakeFS); the mirrors of the old one are left alone",
                        "check lakefs.endpoint_url; if the repository was really made anew: metasync prune",
                    )
                )

    def _check(self, sync_pass: SyncPass, row: RefRow, scope: Scope) -> None:
        commit = sync_pass.refs.heads.get(row.ref)
        if commit is not None and not row.replaced:
            if self._is_replaced(sync_pass, row, commit, scope):
                self._refs.replace(row.id)
                self._reload(sync_pass, row.id)
            elif row.missed_since is not None:
                # It was gone, and is there again: kept as it is, and what is suspected of it stands until lakeFS
                # confirms it.
                self._refs.update(row.id, missed_since=None, looked_last=0)
                self._reload(sync_pass, row.id)
        elif commit is None and not row.replaced:
            if not self._is_gone(sync_pass, row.ref):
                return
            sync_pass.refs.confirmed_gone.add(row.id)
            if row.missed_since is None:
                self._refs.update(row.id, missed_since=sync_pass.now)
                self._reload(sync_pass, row.id)

    def _is_replaced(self, sync_pass: SyncPass, row: RefRow, commit: str, scope: Scope) -> bool:
        """Whether lakeFS shows that the ref which it lists is another incarnation than the known one.

        A tag that names another commit is one. For a branch, lakeFS's runs must say so: a hard reset can set any head.
        """
        if row.ref.type is RefType.TAG:
            return commit != row.head
        if row.ref.name in self._canonical(sync_pass.repository):
            # metasync owns none of its tables, whichever incarnation it is.
            return False
        suspected = row.missed_since is not None or is_suspected(row.ref, _listed_at(row), scope.events)
        if row.suspected_at is None and not suspected:
            return False
        name, now = sync_pass.repository.name, sync_pass.now
        since = row.suspected_at if row.suspected_at is not None else now
        asks = scope.full or 0 <= now - since < _ASKED_FOR
        if asks and self.was_recreated(sync_pass, row):
            return True
        if row.suspected_at is None:
            self._refs.update(row.id, suspected_at=now)
            self._reload(sync_pass, row.id)
        sync_pass.notices.append(
            Notice(
                "may-be-recreated",
                str(row.ref),
                "may have been deleted and created again, as an event says; lakeFS has no record of it, so all is kept",
                f"metasync recreate {name} {row.ref}; if it is the same branch, the same with --keep",
                row.id,
            )
        )
        if 0 <= now - since < _ASKED_FOR:
            # lakeFS records a run only once its hooks have ended, and this event is one of them.
            sync_pass.ask_again_in(max(1.0, (now - since) / 2))
        return False

    def was_recreated(self, sync_pass: SyncPass, row: RefRow) -> bool:
        """Whether lakeFS recorded that a mirrored branch was deleted and created again since it was first listed."""
        if row.ref.type is RefType.TAG or row.ref.name in self._canonical(sync_pass.repository):
            return False
        runs = self._lakefs.runs_of_branch(sync_pass.repository.name, row.ref.name, _listed_at(row))
        return is_recreated(row.ref, _listed_at(row), runs)

    def _is_gone(self, sync_pass: SyncPass, ref: Ref) -> bool:
        """404 for the ref, from a lakeFS that in the same pass shows the recorded repository and its default branch."""
        if self._lakefs.get_ref(sync_pass.repository.name, ref) is not None:
            return False
        again = self._lakefs.get_repository(sync_pass.repository.name)
        if again is None or again.identity != sync_pass.repository.identity:
            return False
        default = Ref(RefType.BRANCH, again.default_branch)
        return default in sync_pass.refs.heads and self._lakefs.get_ref(again.name, default) is not None

    def _begin(self, sync_pass: SyncPass, ref: Ref, events: tuple[LakeFSEvent, ...], begun: set[Ref]) -> None:
        """Adds a ref that is seen first: its parent before it, if that is new too."""
        if ref in begun or sync_pass.refs.row(ref) is not None:
            return
        begun.add(ref)
        repository, head = sync_pass.repository, sync_pass.refs.heads[ref]
        former = self._refs.newest(sync_pass.repository_id, ref)
        event = creation_of(ref, events, former.listed_at if former is not None else None)
        if ref.type is RefType.BRANCH and ref.name in self._canonical(repository):
            row = self._refs.add(
                sync_pass.repository_id, ref, head=head, born_commit=head, state="live", parent_id=None, watermark=0,
                source="", as_of="", event_time=self._happened(sync_pass, event), listed_at=sync_pass.listed_at,
            )  # fmt: skip
            sync_pass.refs.put(row)
            self.read(sync_pass, row, partitions=False)
            return
        born_commit = self._born_commit(repository.name, event, head)
        parent, source = self._parent(sync_pass, ref, born_commit, event, events, begun)
        watermark, as_of, fork = (
            (0, "", born_commit) if parent is None else self._watermark(sync_pass, parent, born_commit)
        )
        mirrored = bool(self._rules.of_ref(repository.name, ref))
        row = self._refs.add(
            sync_pass.repository_id, ref, head=head, born_commit=born_commit, state="new" if mirrored else "live",
            parent_id=parent.id if parent else None, watermark=watermark, source=source, as_of=as_of,
            event_time=self._happened(sync_pass, event), ledger_head=fork, listed_at=sync_pass.listed_at,
        )  # fmt: skip
        sync_pass.new.add(row.id)
        sync_pass.refs.put(row)

    def _born_commit(self, repository: str, event: LakeFSEvent | None, head: str) -> str:
        """The commit that a new ref was created at: an event's, if it is in the ref's history; else the head."""
        named = event.commit_id if event is not None else ""
        if not named or named == head:
            return head
        known = self._lakefs.get_commit(repository, named)
        return named if known is not None and self._lakefs.merge_base(repository, named, head) == named else head

    def _happened(self, sync_pass: SyncPass, event: LakeFSEvent | None) -> float | None:
        """When an event happened; never later than the listing that showed what it did."""
        return min(event.event_time, sync_pass.listed_at) if event is not None else None

    def _canonical(self, repository: Repository) -> set[str]:
        return {*self._rules.canonical_branches(repository), repository.default_branch}

    def _parent(
        self,
        sync_pass: SyncPass,
        ref: Ref,
        born_commit: str,
        event: LakeFSEvent | None,
        events: tuple[LakeFSEvent, ...],
        begun: set[Ref],
    ) -> tuple[RefRow | None, str]:
        """The ref that a new one was created from: the event, else the runs API, else whose head was that commit."""
        typed = event.source_ref if event else ""
        if ref.type is RefType.BRANCH and not typed:
            payload = self._lakefs.payload_of_run(sync_pass.repository.name, born_commit, "post-create-branch")
            if payload is not None and payload.get("branch_id") == ref.name:
                typed = str(payload.get("source_ref", ""))
        if typed:
            named = self._named(sync_pass, _EXPRESSION.sub("", typed), ref, events, begun)
            if named is not None:
                return named, str(named.ref)
        holders = self._refs.at_commit(sync_pass.repository_id, [born_commit]).get(born_commit, [])
        found = [row for ref_id, _ in holders if (row := sync_pass.refs.by_id(ref_id)) is not None]
        found += [
            row for row in sync_pass.refs.rows if sync_pass.refs.heads.get(row.ref) == born_commit and not row.replaced
        ]
        rows = [row for row in found if row.ref != ref]
        canonical = self._default_row(sync_pass, ref)
        if canonical is not None and (canonical in rows or not rows):
            return canonical, f"{canonical.ref} (assumed)"
        return (rows[0], f"{rows[0].ref} (assumed)") if rows else (None, "unknown")

    def _default_row(self, sync_pass: SyncPass, ref: Ref) -> RefRow | None:
        rules = self._rules.of_ref(sync_pass.repository.name, ref)
        name = (rules[0].canonical_branch if rules else None) or sync_pass.repository.default_branch
        return sync_pass.refs.row(Ref(RefType.BRANCH, name))

    def _named(
        self, sync_pass: SyncPass, name: str, ref: Ref, events: tuple[LakeFSEvent, ...], begun: set[Ref]
    ) -> RefRow | None:
        for kind in (RefType.BRANCH, RefType.TAG):
            candidate = Ref(kind, name)
            if candidate == ref or candidate not in sync_pass.refs.heads:
                continue
            self._begin(sync_pass, candidate, events, begun)
            return sync_pass.refs.row(candidate)
        for kind in (RefType.BRANCH, RefType.TAG):
            # Deleted meanwhile: what it was is still known.
            found = self._refs.newest(sync_pass.repository_id, Ref(kind, name)) if Ref(kind, name) != ref else None
            if found is not None:
                return found
        return None

    def _watermark(self, sync_pass: SyncPass, parent: RefRow, born_commit: str) -> tuple[int, str, str]:
        """How much of the parent's history a ref created at a commit inherits; `live` where that had to be guessed; and
        the commit at which it left the parent's history, from which on its own merges count.
        """
        alive = parent.ref in sync_pass.refs.heads and not parent.replaced
        if alive and sync_pass.refs.heads[parent.ref] == born_commit:
            self.read(sync_pass, parent, partitions=True)
            if sync_pass.refs.heads[parent.ref] == born_commit:
                return self._versions.newest_id(), "", born_commit
        ancestors = [c.id for c in self._lakefs.first_parents(sync_pass.repository.name, born_commit, _ANCESTORS)]
        seen = self._refs.at_commit(sync_pass.repository_id, ancestors)
        inherited = {parent.id, *self._ancestors(parent)}
        for commit in ancestors:
            marks = [mark for ref_id, mark in seen.get(commit, ()) if ref_id in inherited]
            if marks:
                return max(marks), "", commit
        if alive:
            self.read(sync_pass, parent, partitions=True)
        return self._versions.newest_id(), "live", born_commit

    def _ancestors(self, row: RefRow) -> list[int]:
        found = []
        while row.parent_id is not None:
            found.append(row.parent_id)
            row = self._refs.get(row.parent_id)
        return found

    def _reload(self, sync_pass: SyncPass, ref_id: int) -> None:
        sync_pass.refs.put(self._refs.get(ref_id))


def _listed_at(row: RefRow) -> float:
    """When lakeFS first listed this incarnation, by its own clock."""
    return row.listed_at if row.listed_at is not None else row.first_seen + _SKEW


def _is_unaddressable(ref: Ref) -> bool:
    return ref.type is RefType.TAG and any(mark in ref.name for mark in UNADDRESSABLE)
