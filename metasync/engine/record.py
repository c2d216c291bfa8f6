"""Recording: what was done, into the store. A merge's edge and its `done` are one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from metasync.model.hms import Table
from metasync.model.lakefs import Repository
from metasync.planning.definition import PartitionDefinition
from metasync.planning.manifest import Chunk, Manifest, patch
from metasync.planning.matrix import ItemChange
from metasync.planning.plan import (
    Applied,
    CreateMirror,
    DropDatabase,
    DropTable,
    EndRef,
    FinishMerge,
    MergeTable,
    PartitionChange,
    Plan,
)
from metasync.store import Database
from metasync.store import ledger as ledger_store
from metasync.store.ledger import Ledger
from metasync.store.refs import RefStore, note_head
from metasync.store.versions import Version, VersionStore, add_version


class Recorder:
    """Keeps the books: pins before a birth, plans before a merge, versions, edges, conflicts and history after."""

    def __init__(self, database: Database, refs: RefStore, versions: VersionStore, ledger: Ledger) -> None:
        self._database = database
        self._refs = refs
        self._versions = versions
        self._ledger = ledger

    def before(self, plan: Plan) -> None:
        """What must be known after a crash, stored before the first write."""
        self._refs.pin(change for change in plan.changes if isinstance(change, CreateMirror))
        for finish in (change for change in plan.changes if isinstance(change, FinishMerge)):
            self._ledger.start_merge(finish.merge_id, [m for m in plan.merges if m.merge_id == finish.merge_id])

    def done(self, repository: Repository, outcome: Applied) -> None:
        """One change is made, or stopped by a conflict."""
        change = outcome.change
        if outcome.state in ("failed", "waiting"):
            return
        match change:
            case CreateMirror():
                self._refs.made(change.ref_id, change.logical)
                detail = f"{change.columns} columns, {change.partitions} partitions"
                self._history(repository, change.ref, change, "created", detail, f"birth of {change.ref}")
            case DropTable():
                self._history(repository, change.ref, change, "dropped", "", f"end of {change.ref}")
            case DropDatabase():
                self._ledger.note(repository.name, "", "", change.name, "dropped-database", "", "")
            case EndRef():
                self._refs.end(change.ref_id, kept=change.kept)
            case FinishMerge():
                self._ledger.finish_merge(change.merge_id)
            case MergeTable():
                self._merged(repository, change, outcome)

    def _history(
        self,
        repository: Repository,
        ref: object,
        change: CreateMirror | DropTable,
        action: str,
        detail: str,
        cause: str,
    ) -> None:
        self._ledger.note(repository.name, str(ref), str(change.logical), str(change.physical), action, detail, cause)

    def born(self, ref_id: int) -> None:
        """Everything that the ref was to get is made, or refused."""
        row = self._refs.get(ref_id)
        if row.life in ("new", "making"):
            self._refs.update(ref_id, life="live")

    # Merges

    def _merged(self, repository: Repository, change: MergeTable, outcome: Applied) -> None:
        now = self._database.now()
        newest = self._newest_of_source(change)
        offered = self._versions.get(change.source_version).definition if change.source_version is not None else None
        after = self._definition(change.destination_version, change.after, change.partitions)
        remainder = (
            self._definition(change.source_version, change.remainder, change.remainder_partitions)
            if change.withheld
            else None
        )
        with self._database.transaction() as connection:
            ledger_store.replace_conflicts(connection, change, outcome.conflicts, now)
            ledger_store.close_table(connection, change, "conflict" if outcome.conflicts else "done", now)
            source = change.source_version
            if outcome.state == "done" and change.edge and source is not None:
                parent = source
                if change.withheld and change.source_ref_id is not None:
                    # The source less what was withheld, then the source again: what was carried is history now, and
                    # what was withheld is a change since.
                    parent = add_version(
                        connection, change.source_ref_id, change.logical, remainder, change.base_versions[:1], "", now
                    )
                    source = add_version(
                        connection,
                        change.source_ref_id,
                        change.logical,
                        offered,
                        (source, parent),
                        "",
                        now,
                    )
                    if newest is not None and newest.id != change.source_version:
                        # The source has moved on since the merge: what it is now stays its newest version.
                        add_version(
                            connection,
                            change.source_ref_id,
                            change.logical,
                            newest.definition,
                            (newest.id, source),
                            newest.commit,
                            now,
                        )
                before = [change.destination_version] if change.destination_version is not None else []
                made = add_version(
                    connection,
                    change.destination_ref_id,
                    change.logical,
                    after,
                    [*before, parent],
                    change.merge_commit,
                    now,
                )
                note_head(connection, change.destination_ref_id, change.merge_commit, made, now)
            if outcome.state == "done" and change.writes:
                ledger_store.note(
                    connection,
                    repository.name,
                    str(change.destination),
                    str(change.logical),
                    str(change.physical),
                    "merged",
                    describe(change.items),
                    f"merge {change.merge_commit[:12]} of {change.source}",
                    now,
                )
            if change.waiting is not None and outcome.state == "done":
                subject = f"{repository.name} {change.source} -> {change.destination} {change.logical}"
                kept = replace(change.waiting, source_version=source, withheld=(), remainder=None)
                ledger_store.keep_plan(
                    connection,
                    "withheld",
                    subject,
                    _why_waiting(change, change.waiting),
                    Plan(repository.name, (kept,)),
                    now,
                )

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


def _why_waiting(change: MergeTable, waiting: MergeTable) -> str:
    reason = f"destructive: {describe(change.withheld)}"
    if waiting.conflicts:
        reason += f"; cannot be applied as it is: {', '.join(sorted({c.reason for c in waiting.conflicts}))}"
    return reason


def describe(items: Sequence[ItemChange], most: int = 6) -> str:
    """A few words on item changes, for history and reasons."""
    words = [describe_item(item) for item in items[:most]]
    return ", ".join(words) + (f" and {len(items) - most} more" if len(items) > most else "")


def describe_item(item: ItemChange) -> str:
    """`+column b bigint`, `-partition ["2024"]`, `~parameters comment`."""
    sign = "+" if item.before is None else "-" if item.after is None else "~"
    path = item.path
    match path:
        case ():
            return f"{sign}table"
        case ("columns", "*"):
            return f"{sign}columns"
        case ("columns", name, *rest):
            kind = item.after.get("type", "") if isinstance(item.after, dict) else ""
            return f"{sign}column {name}{f' {rest[0]}' if rest else ''}{f' {kind}' if kind else ''}"
        case ("partitions", key, *rest):
            values = ", ".join(json.loads(key))
            return f"{sign}partition ({values}){f' {rest[0]}' if rest else ''}"
        case ("spark_schema", name):
            return f"{sign}spark column {name}"
    return f"{sign}{' '.join(path)}"
