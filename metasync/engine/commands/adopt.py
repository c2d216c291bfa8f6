"""Adopting: this store takes over the mirrors that another one made, with what came before forgotten.

Whoever asks for it says that the other store is lost, or that this one was restored from a backup. Bases of merges from
before are unknown from then on: nothing is read as a change that somebody may have made, merged or undone meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from metasync.engine.controller import Controller
from metasync.engine.track.snapshot import Snapshot
from metasync.engine.track.tracker import Tracker
from metasync.errors import NotAllowed
from metasync.metastore import Metastore, TableBuilder
from metasync.model.hms import Table, TableName
from metasync.model.lakefs import Ref
from metasync.model.marks import Marks
from metasync.planning.identity import why_not_together
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.refs import RefRow
from metasync.store.stores import Stores


@dataclass(frozen=True)
class Marked:
    """A table, or a database (`table` None), that bears our instance's marks."""

    marks: Marks
    table: Table | None


class Adopter:
    """Finds every mirror of a repository by its marks, and makes them this store's."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        controller: Controller,
        tracker: Tracker,
        metastore: Metastore,
    ) -> None:
        self._settings = settings
        self._database = stores.database
        self._refs = stores.refs
        self._mirrors = stores.mirrors
        self._repositories = stores.repositories
        self._versions = stores.versions
        self._history = stores.history
        self._rules = rules
        self._controller = controller
        self._tracker = tracker
        self._metastore = metastore
        self._builder = TableBuilder(metastore)

    def found(self, repository: str) -> tuple[Marked, ...]:
        """What bears the marks of our instance and the repository, whatever store made it. Reads every table."""
        return tuple(
            one for one in self._marked() if (one.marks.instance, one.marks.repository) == self._ours(repository)
        )

    def adopt(self, repository: str, *, force: bool = False) -> tuple[Marked, ...]:
        """Takes over what is another store's, or came after this one's backup; gives what was taken over.

        On a healthy store nothing is changed, and nothing given, but with `force`: merge bases would be forgotten.
        Raises NotAllowed in the mode that writes nothing.
        """
        if self._settings.mode == "observe":
            raise NotAllowed("mode is observe: nothing is written to the metastore; set mode: apply")
        with self._controller.alone(repository):
            snapshot = self._tracker.complete(repository)
            found = self.found(repository)
            if not force and self._is_healthy(snapshot, found):
                return ()
            by_ref: dict[Ref, list[Marked]] = {}
            for one in found:
                by_ref.setdefault(Ref.parse(one.marks.ref), []).append(one)
            rows = {ref: self._row(snapshot, ref, marked) for ref, marked in by_ref.items()}
            self._tracker.restate(snapshot)
            for ref, marked in by_ref.items():
                self._take(rows[ref], marked)
            self._repositories.block(snapshot.repository_id, "")
            self._history.note(
                repository, "", "", "", "adopted", f"{len(found)} tables and databases", "metasync adopt"
            )
        return found

    def _is_healthy(self, snapshot: Snapshot, found: Sequence[Marked]) -> bool:
        """Whether all that bears our marks is this store's work."""
        if self._repositories.blocked(snapshot.repository.name):
            return False
        store, newest = self._database.store_id(), self._versions.newest_id()
        by_ref: dict[Ref, list[Marks]] = {}
        for one in found:
            by_ref.setdefault(Ref.parse(one.marks.ref), []).append(one.marks)
        for ref, marks in by_ref.items():
            row = snapshot.refs.row(ref) or next((one for one in snapshot.refs.rows if one.ref == ref), None)
            known = self._mirrors.known_names(one.name for one in marks)
            if row is None or why_not_together(marks, store, newest, row.incarnation, known) is not None:
                return False
        return True

    def _ours(self, repository: str) -> tuple[str, str]:
        return self._settings.instance, repository

    def _marked(self) -> Iterator[Marked]:
        for name in self._metastore.get_all_databases():
            database = self._metastore.get_database(name)
            marks = Marks.from_parameters(database.parameters, name) if database else None
            if marks is not None:
                yield Marked(marks, None)
            for table in self._metastore.get_tables(name, self._metastore.get_all_tables(name)):
                marks = Marks.from_parameters(table.parameters, str(table.table_name))
                if marks is not None:
                    yield Marked(marks, table)

    def _row(self, snapshot: Snapshot, ref: Ref, marked: Sequence[Marked]) -> RefRow:
        """The ref's present incarnation, counted as its marks count it; the next pass ends one that lakeFS lacks."""
        incarnation = max(one.marks.incarnation for one in marked)
        row = snapshot.refs.row(ref)
        if row is None:
            row = self._refs.add(
                snapshot.repository_id, ref, head="", born_commit="", state="live", parent_id=None, watermark=0,
                source="unknown", as_of="", event_time=None,
            )  # fmt: skip
        if row.incarnation < incarnation:
            self._refs.update(row.id, incarnation=incarnation)
        return self._refs.get(row.id)

    def _take(self, row: RefRow, marked: Sequence[Marked]) -> None:
        half_built = [one for one in marked if one.marks.making and one.table is not None]
        for one in half_built:
            # Nobody can finish what another store began; the ref's creation makes it anew.
            assert one.table is not None
            self._builder.remove(one.table.table_name, one.table)
        versions = self._versions.in_force(row)
        for one in marked:
            if one in half_built or (one.table is not None and one.marks.incarnation != row.incarnation):
                continue
            logical = TableName.parse(one.marks.table) if one.table is not None else None
            version = versions.get(logical) if logical is not None else None
            marks = replace(one.marks, store=self._database.store_id(), version=version.id if version else 0)
            if one.table is None:
                self._remark_database(marks)
            elif logical is not None:
                parameters = {k: v for k, v in one.table.parameters.items() if k != "metasync.version"}
                self._metastore.alter_table(replace(one.table, parameters=parameters | marks.to_parameters()))
                self._mirrors.adopt(row.id, logical, marks)
        if row.is_being_created and not half_built:
            self._refs.update(row.id, state="live")

    def _remark_database(self, marks: Marks) -> None:
        database = self._metastore.get_database(marks.name)
        if database is not None:
            parameters = {**database.parameters, **marks.to_parameters()}
            # A 4.x server may have rewritten the location that it gave; without one it keeps its own (seen live).
            self._metastore.alter_database(replace(database, location_uri=None, parameters=parameters))
