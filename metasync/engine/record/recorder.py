"""Recording: what was done, into the store. A merge's edge and its `done` are one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from metasync.errors import MetasyncError, StoreRefused
from metasync.model.hms import Table
from metasync.model.lakefs import Repository
from metasync.planning.changes import (
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    FinishCreation,
    FinishDeletion,
    FinishDiscovery,
    FinishMerge,
    MakeExternal,
    MergeTable,
    MoveDatabase,
    PartitionChange,
    PlacePartitions,
    RepairMirror,
    TableFailure,
    subject_of,
)
from metasync.planning.definition import PartitionDefinition
from metasync.planning.descriptions import describe, repair_words
from metasync.planning.manifest import Chunk, Manifest, patch
from metasync.planning.observed import Observed
from metasync.planning.plan import Applied, Notice, Plan
from metasync.planning.version_edges import Content, new_versions
from metasync.store.database import Database
from metasync.store.decisions import keep_plan, replace_conflicts
from metasync.store.history import note, note_all
from metasync.store.ledger import close_table
from metasync.store.mirrors import mark_made, pin_again
from metasync.store.refs import note_head, raise_heads
from metasync.store.stores import Stores
from metasync.store.versions import Version, add_version
from metasync.telemetry.metrics import Happening

_MIRRORS_AT_ONCE = 25


class CreationLog:
    """Mirrors that were made, written down some at a time: a ref can have thousands, and each would wait for the disk.

    What a crash forgets, the next pass finds in the metastore, marked; only its line in the history is missing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: dict[str, list[CreateMirror]] = {}
        self._lock = threading.Lock()

    def add(self, repository: str, change: CreateMirror) -> None:
        with self._lock:
            made = self._made.setdefault(repository, [])
            made.append(change)
            enough = len(made) >= _MIRRORS_AT_ONCE
        if enough:
            self.write(repository)

    def write(self, repository: str) -> None:
        """Writes what there is of one repository, behind the lease of whoever works on it."""
        with self._lock:
            made = self._made.pop(repository, [])
        if not made:
            return
        try:
            self._write(repository, made)
        except StoreRefused:
            # One of them: the others are not to wait for it, and the next pass finds it standing and marked.
            for change in made:
                with suppress(StoreRefused):
                    self._write(repository, [change])
        except MetasyncError:
            with self._lock:
                self._made[repository] = made + self._made.get(repository, [])
            raise

    def _write(self, repository: str, made: Sequence[CreateMirror]) -> None:
        now = self._database.now()
        entries = [
            (
                repository, str(c.ref), str(c.logical), str(c.physical), "created",
                f"{c.columns} columns, {c.partitions} partitions", f"creation of {c.ref}",
            )
            for c in made
        ]  # fmt: skip
        with self._database.transaction() as connection:
            mark_made(connection, [(change.ref_id, change.logical) for change in made], now)
            note_all(connection, entries, now)


class Recorder:
    """Writes to the store: pins before a creation, plans before a merge, versions, edges, conflicts and history after.

    `delayed` gets how long after it happened a creation, merge or deletion was applied, in seconds.
    """

    def __init__(
        self, stores: Stores, delayed: Callable[[Happening, float], None] = lambda kind, seconds: None
    ) -> None:
        self._delayed = delayed
        self._database = stores.database
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._repositories = stores.repositories
        self._versions = stores.versions
        self._ledger = stores.ledger
        self._decisions = stores.decisions
        self._history = stores.history
        self._notices = stores.notices
        self._created = CreationLog(stores.database)

    def written(self, repository: str) -> None:
        """All that was done in a repository is in the store."""
        self._created.write(repository)

    def note_state(
        self, observed: Observed, plan: Plan, outcomes: Sequence[Applied] = (), plan_id: int | None = None
    ) -> None:
        """Stores what a person should know about a repository now, in place of what the last pass stored.

        Its notices about tables that failed stand as long as their ref was not read again, those about orphans until a
        full pass.
        """
        hint = f"to do it: metasync apply {plan_id}" if plan_id is not None else "metasync status"
        unsafe = [Notice("refused", plan.repository, plan.refusal, hint)] if plan.refusal else []
        failed = [_failed(o) for o in outcomes if o.state in ("failed", "waiting") and o.message]
        noted = [notice for notice in plan.notices if notice.help or notice.kind == "catching-up"]
        tables = [_table_failed(failure) for failure in plan.failures if not failure.merge_id]
        if observed.repository.creation_date:
            repository_id = self._repositories.id_of(observed.repository)
            tables += [_table_failed(failure) for failure in self._ledger.failures(repository_id)]
        standing = [
            row.notice
            for row in self._notices.standing(plan.repository)
            if (row.notice.kind == "failed" and row.notice.ref_id and row.notice.ref_id not in observed.read)
            or (row.notice.kind == "orphan" and not observed.full)
        ]
        self._notices.replace(plan.repository, (*plan.refusals, *unsafe, *failed, *tables, *standing, *noted))

    def before(self, plan: Plan) -> None:
        """What must be known after a crash, stored before the first write."""
        self._mirrors.pin(change for change in plan.changes if isinstance(change, CreateMirror))
        self._mirrors.note_not_mirrored(plan.not_mirrored)
        for finish in (change for change in plan.changes if isinstance(change, FinishMerge)):
            changes = [m for m in plan.merges if m.merge_id == finish.merge_id]
            self._ledger.start_merge(finish.merge_id, changes, finish.failed)
            self._ledger.retry_failed(finish.merge_id, changes, {failure.logical for failure in finish.failed})

    def done(self, repository: Repository, outcome: Applied) -> None:  # noqa: C901  a case a kind of change
        """One change is made, or stopped by a conflict."""
        change = outcome.change
        if outcome.state in ("failed", "waiting"):
            return
        match change:
            case CreateMirror():
                self._created.add(repository.name, change)
            case DropTable() if not outcome.message:
                what = (repository.name, str(change.ref), str(change.logical), str(change.physical))
                cause = "metasync prune: no rule wants it" if change.orphan else f"deletion of {change.ref}"
                self._history.note(*what, "dropped", "", cause)
            case DropDatabase() if not outcome.message:
                self._history.note(repository.name, "", "", change.name, "dropped-database", "", "it was empty")
            case FinishDeletion():
                self._since("deletion", self._refs.get(change.ref_id).missed_since)
                self._refs.end(change.ref_id, kept=change.kept)
                self._decisions.forget_destination(change.ref_id)
            case FinishMerge():
                self._since("merge", self._ledger.finish_merge(change.merge_id, change.failed))
            case FinishCreation():
                self._created.write(repository.name)
                self._finish_creation(change.ref_id)
            case FinishDiscovery():
                self._refs.update(change.ref_id, discovered_head=change.commit)
            case DiscoverPartitions():
                self._discovered(repository, change)
            case PlacePartitions() | MakeExternal() | RepairMirror() | MoveDatabase() if not outcome.message:
                self._altered(repository, change)
            case MergeTable():
                self._merged(repository, change, outcome)

    def _altered(
        self, repository: Repository, change: PlacePartitions | MakeExternal | RepairMirror | MoveDatabase
    ) -> None:
        """The history of what was done to a living mirror, or to its database, that is no merge."""
        match change:
            case PlacePartitions():
                words = ("placed", f"{len(change.partitions)} partitions", "an ALTER at the moment of a merge")
            case MakeExternal():
                detail = f"EXTERNAL and never purged, as {change.where} is not on {change.ref}"
                words = ("made external", detail, "a location off the ref")
            case RepairMirror():
                words = ("repaired", repair_words(change), "metasync repair")
            case MoveDatabase():
                words = ("moved-database", f"from {change.was} to {change.location}", "metasync repair")
        logical = "" if isinstance(change, MoveDatabase) else str(change.logical)
        self._history.note(repository.name, str(change.ref), logical, subject_of(change), *words)

    def _finish_creation(self, ref_id: int) -> None:
        row = self._refs.get(ref_id)
        if row.is_being_created:
            self._refs.update(ref_id, state="live")
            if self._mirrors.pinned(ref_id):
                self._since("creation", row.born_event_time or row.first_seen)

    def _discovered(self, repository: Repository, change: DiscoverPartitions) -> None:
        newest = self._versions.in_force(self._refs.get(change.ref_id)).get(change.logical)
        if newest is None or newest.definition is None:
            return
        header = self._versions.definition(newest.definition).header
        definition = self._definition(newest.id, header, change.partitions)
        self._versions.add(change.ref_id, change.logical, definition, (newest.id,), change.commit)
        made = sum(p.after is not None for p in change.partitions)
        detail = f"+{made} -{len(change.partitions) - made} partitions"
        self._history.note(
            repository.name, str(change.ref), str(change.logical), str(change.physical), "discovered", detail,
            f"commit {change.commit[:12]}",
        )  # fmt: skip

    def _since(self, kind: Happening, at: float | None) -> None:
        if at is not None:
            self._delayed(kind, self._database.now() - at)

    # Merges

    def _merged(self, repository: Repository, change: MergeTable, outcome: Applied) -> None:
        now = self._database.now()
        newest = self._newest_of_source(change)
        done = outcome.state == "done"
        added = new_versions(change, newest.id if newest else None) if done else ()
        definitions = {version.content: self._content(version.content, change, newest) for version in added}
        merge = self._ledger.merge(change.merge_id) if change.merge_id and not change.undoes else None
        generation = merge.generation if merge is not None and not merge.is_metadata else 0
        with self._database.transaction() as connection:
            if not change.undoes:
                replace_conflicts(connection, change, outcome.conflicts, now)
                close_table(connection, change, "conflict" if outcome.conflicts else "done", now)
            made: dict[int | str, int] = {}
            for version in added:
                on_source = version.on == "source"
                ref_id = change.source_ref_id if on_source else change.destination_ref_id
                assert ref_id is not None  # new_versions adds none to a source that is no ref
                tag = "" if on_source else change.heads[-1] if change.undoes else change.merge_commit
                if version.content == "newest" and newest is not None:
                    tag = newest.commit
                made[version.content] = add_version(
                    connection,
                    ref_id,
                    change.logical,
                    definitions[version.content],
                    [made[p] if isinstance(p, str) else p for p in version.parents],
                    tag,
                    now,
                )
            if change.store_only and "after" in made:
                pin_again(connection, change.destination_ref_id, change.logical, made["after"], definitions["after"])
            for head in change.heads if "after" in made else ():
                own = generation if head == change.merge_commit else 0
                note_head(connection, change.destination_ref_id, head, made["after"], now, generation=own)
            # What a person decides about a merge afterwards holds from then on, and not at the heads since.
            if generation and "after" in made and change.merge_commit in change.heads:
                raise_heads(connection, change.destination_ref_id, generation, made["after"])
            if done and change.writes:
                note(
                    connection,
                    repository.name,
                    str(change.destination),
                    str(change.logical),
                    str(change.physical),
                    "undone" if change.undoes else "merged",
                    describe(change.items),
                    f"{'undo of ' if change.undoes else ''}merge {change.merge_commit[:12]} of {change.source}",
                    now,
                    change.merge_id or None,
                )
            if change.waiting is not None and done:
                subject = f"{repository.name} {change.source} -> {change.destination} {change.logical}"
                source = made.get("source", change.source_version)
                kept = replace(change.waiting, source_version=source, withheld=(), remainder=None, store_only=False)
                keep_plan(
                    connection,
                    "withheld",
                    subject,
                    _why_waiting(change, change.waiting),
                    Plan(repository.name, (kept,)),
                    now,
                )

    def _content(self, content: Content, change: MergeTable, newest: Version | None) -> str | None:
        """The address of what a new version holds."""
        match content:
            case "after":
                return self._definition(change.destination_version, change.after, change.partitions)
            case "remainder":
                return self._definition(change.source_version, change.remainder, change.remainder_partitions)
            case "newest":
                return newest.definition if newest is not None else None
        assert change.source_version is not None
        return self._versions.get(change.source_version).definition

    def _newest_of_source(self, change: MergeTable) -> Version | None:
        if change.source_ref_id is None:
            return None
        return self._versions.in_force(self._refs.get(change.source_ref_id)).get(change.logical)

    def _definition(
        self, version: int | None, header: Table | None, partitions: Sequence[PartitionChange]
    ) -> str | None:
        """The address of a version's definition with another header and changed partitions."""
        if header is None:
            return None
        address = self._versions.get(version).definition if version is not None else None
        manifest: Manifest = self._versions.definition(address).manifest if address else ()
        changes: dict[tuple[str, ...], PartitionDefinition | None] = {p.values: p.after for p in partitions}
        chunks: list[Chunk] = []
        for chunk, content in patch(manifest, changes, self._versions.load_chunk):
            if content is not None:
                self._versions.put_chunk(chunk, content)
            chunks.append(chunk)
        return self._versions.put_definition(header, tuple(chunks))


def _table_failed(failure: TableFailure) -> Notice:
    hint = "fix the reason, then: metasync reconcile"
    return Notice("failed", failure.subject, failure.message, hint, failure.ref_id)


def _failed(outcome: Applied) -> Notice:
    """A change that was not made: until somebody fixes the reason, or for the time of an outage."""
    kind, hint = "delayed", "metasync doctor"
    if outcome.state == "failed":
        kind, hint = "failed", "fix the reason, then: metasync reconcile"
    return Notice(kind, subject_of(outcome.change), outcome.message, hint, getattr(outcome.change, "ref_id", 0))


def _why_waiting(change: MergeTable, waiting: MergeTable) -> str:
    reason = f"destructive: {describe(change.withheld)}"
    if waiting.conflicts:
        reason += f"; cannot be applied as it is: {', '.join(sorted({c.reason for c in waiting.conflicts}))}"
    return reason
