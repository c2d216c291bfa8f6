"""The invariants: what must hold once all is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from metasync.model.hms import Table, TableName, TableType
from metasync.model.lakefs import Ref, RefType
from metasync.model.marks import Marks
from metasync.sandbox.user import LakeUser, TableUser
from metasync.store.event_queue import RECHECK
from metasync.wiring import Parts
from tests.soak.model import POISONED, STABLE, Incarnation, Lake, table_of

_SAME_MOMENT = 1.0


class Checks:
    """Each check yields what is wrong, in words."""

    def __init__(self, built: Parts, tables: TableUser, lakes: list[tuple[Lake, LakeUser]]) -> None:
        self._built = built
        self._tables = tables
        self._lakes = lakes
        self.written_over: set[str] = set()
        self._every: list[Table] = [
            table
            for database in tables.databases()
            for table in tables.metastore.get_tables(database, tables.tables(database))
        ]

    def all(self) -> list[str]:
        found = [*self.queue(), *self.nothing_half_built(), *self.history()]
        for lake, user in self._lakes:
            living = user.lakefs.list_refs(lake.repository)
            found += [*self.mirrors(lake, living), *self.ledger(lake, user), *self.made(lake), *self.pending(lake)]
        return found

    def queue(self) -> Iterator[str]:
        """Empty, or dead with a reason."""
        waiting = [event for event in self._built.queue.list(["queued", "claimed"]) if event.kind != RECHECK]
        if waiting:
            yield f"{len(waiting)} events wait: {waiting[0]}"
        for event in self._built.queue.list(["dead"]):
            if not event.error:
                yield f"event {event.id} is dead without a reason"

    def pending(self, lake: Lake) -> Iterator[str]:
        """Another look finds nothing to do."""
        from metasync.engine.scope import Scope

        (plan,) = self._built.controller.plan(Scope(lake.repository, full=True)).plans
        if plan.pending or plan.refusals:
            yield f"{lake.repository}: still to do: {plan.changes[:3]} {plan.refusals[:3]}"

    def nothing_half_built(self) -> Iterator[str]:
        for table in self._every:
            if "metasync.making" in table.parameters:
                yield f"{table.table_name} is half built"
            elif table.table_type == TableType.VIEW and table.view_original_text:
                yield f"{table.table_name} is still a view"

    def mirrors(self, lake: Lake, living: dict[Ref, str]) -> Iterator[str]:
        """Mirrors are what the rules say: for each living ref its tables, and none for others."""
        for table in self._every:
            marks = Marks.from_parameters(table.parameters, str(table.table_name))
            if marks is None or marks.repository != lake.repository or marks.instance != "soak":
                continue
            if Ref.parse(marks.ref) not in living:
                yield f"{table.table_name}: {marks.ref} is gone"
            elif marks.store != self._built.database.store_id():
                yield f"{table.table_name}: belongs to another store"
            where = f"s3a://{lake.repository}/{Ref.parse(marks.ref).name}/"
            if not (table.sd.location or "").startswith(where):
                yield f"{table.table_name} lies at {table.sd.location}"
        for ref in living:
            if ref.name.startswith(("dev-", "v")) and ref.name != "main":
                yield from self._mirrors_of(lake, ref)

    def _mirrors_of(self, lake: Lake, ref: Ref) -> Iterator[str]:
        database = f"{lake.database}__{ref.name.replace('-', '_')}"
        incarnation = (lake.branches if ref.type is RefType.BRANCH else lake.tags).get(ref.name)
        there = {table.name: table for table in self._every if table.database == database}
        for name in STABLE:
            if name not in there:
                yield f"{database}.{name} is missing"
                continue
            lies = {p.values: p.sd.location for p in self._partitions(there[name])}
            wrong = [where for where in lies.values() if f"/{ref.name}/" not in (where or "")]
            if wrong:
                yield f"{database}.{name}: partitions lie at {wrong[:3]}"
        if (
            incarnation is not None
            and incarnation.dropped
            and incarnation.mirror_incarnation == self._incarnation_of(there)
        ):
            yield from (
                f"{database}.{name} was dropped and is there again" for name in incarnation.dropped & set(there)
            )

    def _incarnation_of(self, tables: dict[str, Table]) -> str | None:
        return tables[STABLE[0]].parameters.get("metasync.incarnation") if STABLE[0] in tables else None

    def ledger(self, lake: Lake, user: LakeUser) -> Iterator[str]:
        """Every merge into a branch that incarnations is entered once, and done."""
        rows = {row.commit: row for row in self._built.ledger.find_merges("")}
        for name, incarnation in lake.branches.items():
            if name.startswith("feature-"):
                continue
            for merge in lake.merges:
                if merge.destination is not incarnation:
                    continue
                row = rows.get(merge.commit)
                if row is None:
                    yield f"{lake.repository}: {merge.source.name} -> {name} {merge.commit[:12]} is not in the ledger"
                elif row.state not in ("done", "source-unknown"):
                    yield f"{lake.repository}: the merge {row} is not done"
        known = {merge.commit for merge in lake.merges}
        invented = [r for r in rows.values() if r.repository_id in self._ids(lake) and r.commit not in known]
        if invented:
            yield f"{lake.repository}: merges that nobody made: {invented[:3]}"

    def _ids(self, lake: Lake) -> set[int]:
        return {self._built.repositories.id_of(one) for one in self._built.repositories.identities(lake.repository)}

    def lost(self) -> set[str]:
        """Merges whose source nobody could tell, and those into branches that lived while nobody looked."""
        rows = {row.commit: row for row in self._built.ledger.find_merges("")}
        unknown = {commit for commit, row in rows.items() if row.state == "source-unknown"}
        unseen = {
            merge.commit
            for lake, _ in self._lakes
            for merge in lake.merges
            if merge.commit not in rows and merge.destination not in lake.branches.values()
        }
        return unknown | unseen

    def held(self) -> set[tuple[str, str]]:
        """The tables of merges that waited for a person: (commit, table)."""
        commits = {row.id: row.commit for row in self._built.ledger.find_merges("")}
        every = self._built.decisions.conflicts(("open", "resolved", "superseded"), limit=100_000)
        return {(commits[row.merge_id], row.logical.table) for row in every}

    def made(self, lake: Lake) -> Iterator[str]:
        """What people made and merged is there, and nothing that came from nowhere."""
        must = lake.must(self.lost(), self.held())
        missing: dict[Incarnation, set[str]] = {}
        written_over: set[str] = set()
        for incarnation in lake.branches.values():
            if incarnation.name == "main":
                database = lake.database
            elif incarnation.mirror_incarnation is not None:
                database = f"{lake.database}__{incarnation.name.replace('-', '_')}"
                there = {table.name: table for table in self._every if table.database == database}
                if self._incarnation_of(there) != incarnation.mirror_incarnation:
                    continue
            else:
                continue
            there_now = self._things(database)
            gone = {thing for thing in must[incarnation] - there_now if self._was_written_over(lake, database, thing)}
            written_over |= gone & set(incarnation.own)
            missing[incarnation] = must[incarnation] - there_now - gone
            if invented := there_now - lake.may(incarnation):
                yield f"{lake.repository} {incarnation.name}: came from nowhere {sorted(invented)}"
        for incarnation, things in missing.items():
            # What was written over where it was made, before metasync ever saw it, was never there to be merged.
            if lost := {thing for thing in things if thing not in written_over or self._was_seen(lake, thing)}:
                yield f"{lake.repository} {incarnation.name}: lost {sorted(lost)}"

    def _things(self, database: str) -> set[str]:
        there = set()
        for table in self._every:
            if table.database != database:
                continue
            if table.name.startswith("born"):
                there.add(table.name)
            if table.name == POISONED:
                continue
            there |= {f"{table.name}.{c.name}" for c in table.sd.cols if c.name != "id"}
            values = (p.values[0] for p in self._partitions(table))
            there |= {f"{table.name}/{value}" for value in values if value != "first"}
        return there

    def _was_seen(self, lake: Lake, column: str) -> bool:
        """Whether the store has a version of the table, on any ref, with the column."""
        table, _, name = column.partition(".")
        versions = self._built.versions
        seen = (
            version.definition
            for repository in self._ids(lake)
            for version in versions.log(repository, TableName(lake.database, table), limit=100_000)
            if version.definition is not None
        )
        return any(name in {c.name for c in versions.definition(address).header.sd.cols} for address in seen)

    def _was_written_over(self, lake: Lake, database: str, thing: str) -> bool:
        """Whether a column went because a person and metasync wrote one table at the same moment.

        Before 4.0 a metastore cannot compare and set: of two who read a table and write it back, the second wins.
        """
        if "." not in thing:
            return False
        table = f"{database}.{table_of(thing)}"
        people = [at for name, at in lake.altered if name == table]
        merges = [at for name, at in self._merged_at() if name == table]
        if any(abs(one - other) < _SAME_MOMENT for one in people for other in merges):
            self.written_over.add(f"{table} {thing}")
            return True
        return False

    def _merged_at(self) -> list[tuple[str, float]]:
        rows = self._built.history.rows(limit=1_000_000)
        return [(row.physical, row.at) for row in rows if row.action == "merged"]

    def _partitions(self, table: Table) -> list[object]:
        return list(self._tables.metastore.iter_partitions(table.table_name, table.partition_keys))

    def history(self) -> Iterator[str]:
        """Nothing was done twice: no merge of a table, and no mirror more often than there were incarnations."""
        rows = self._built.history.rows(limit=1_000_000)
        merged = Counter((row.repository, row.physical, row.cause) for row in rows if row.action == "merged")
        yield from (f"merged {number} times: {what}" for what, number in merged.items() if number > 1)
        made = Counter((row.repository, row.ref, row.physical) for row in rows if row.action == "created")
        for (repository, ref, physical), number in made.items():
            incarnations = [
                row.incarnation
                for one in self._built.repositories.identities(repository)
                if (row := self._built.refs.newest(self._built.repositories.id_of(one), Ref.parse(ref)))
            ]
            if number > max(incarnations, default=0):
                yield f"{physical} was made {number} times in {incarnations} incarnations"


def snapshot(tables: TableUser, names: list[str]) -> dict[str, object]:
    """Tables that are nobody's business, as they are."""
    return {name: tables.table(name) if tables.exists(name) else None for name in names}


def directories(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}
