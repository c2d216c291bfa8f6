"""Dropping mirrors and their databases, metadata only, where they still are what the plan took them for."""

from __future__ import annotations

from collections.abc import Sequence

from metasync.errors import ChangedMeanwhile
from metasync.metastore import Metastore, TableBuilder
from metasync.model.hms import Table
from metasync.model.lakefs import Repository
from metasync.model.marks import Marks
from metasync.planning.belonging import why_foreign
from metasync.planning.changes import DropDatabase, DropTable
from metasync.planning.formats import why_off_ref
from metasync.planning.three_way import ItemConflict
from metasync.store import Database as Store


class NothingToDo(Exception):
    """There was nothing to change; the message says why."""


class MirrorDropper:
    """Drops the tables of deleted refs, and databases of ours that are empty."""

    def __init__(self, store: Store, metastore: Metastore, builder: TableBuilder, instance: str) -> None:
        self._store = store
        self._metastore = metastore
        self._builder = builder
        self._instance = instance

    def drop(self, repository: Repository, change: DropTable) -> Sequence[ItemConflict]:
        """Drops a table if it still is what the plan took it for."""
        table = self._metastore.get_table(change.physical)
        if table is None:
            raise NothingToDo("was gone already")
        marks = Marks.from_parameters(table.parameters, str(change.physical))
        if change.ours:
            found = marks and (marks.instance, marks.store, marks.repository, marks.ref, marks.incarnation)
            mine = (self._instance, self._store.store_id(), repository.name, str(change.ref), change.incarnation)
            if found != mine:
                raise ChangedMeanwhile(f"{change.physical}: is not ours any more; it is left alone")
        elif marks is not None or not self._is_of_ref(repository.name, change, table):
            raise ChangedMeanwhile(f"{change.physical}: is not this ref's table any more; it is left alone")
        self._builder.remove(change.physical, table)
        return ()

    def _is_of_ref(self, repository: str, change: DropTable, table: Table) -> bool:
        """Whether a table without marks lies on the ref, or lies nowhere and is in a database of ours."""
        if why_foreign(table, repository, change.ref.name) is not None:
            return False
        if why_off_ref(table, repository, change.ref.name) is None:
            return True
        database = self._metastore.get_database(change.physical.database)
        marks = Marks.from_parameters(database.parameters, change.physical.database) if database else None
        mine = (self._instance, self._store.store_id(), repository, str(change.ref))
        return marks is not None and (marks.instance, marks.store, marks.repository, marks.ref) == mine

    def drop_database(self, change: DropDatabase) -> Sequence[ItemConflict]:
        """Drops a database of ours if it is empty by now."""
        database = self._metastore.get_database(change.name)
        marks = Marks.from_parameters(database.parameters, change.name) if database else None
        if marks is None or (marks.instance, marks.store) != (self._instance, self._store.store_id()):
            raise NothingToDo("is not there, or not ours")
        if not self._metastore.drop_empty_database(change.name):
            raise NothingToDo("stays, as it holds tables")
        return ()
