"""Making databases of mirrors without a directory that nobody asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from metasync.errors import AlreadyExists
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import Database
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.model.marks import MAKING
from metasync.planning.locations import on_ref, path_on_ref, ref_root

log = structlog.get_logger()


class Databases:
    """The databases that are known to be there while one plan is applied: each is asked for, and made, once."""

    def __init__(self, lakefs: LakeFS, metastore: Metastore) -> None:
        self._lakefs = lakefs
        self._metastore = metastore
        self._known: dict[str, Database] = {}
        self._lock = threading.Lock()

    def ensure(self, repository: Repository, ref: Ref, name: str, wanted: Callable[[], Database]) -> bool:
        """Makes the database where it is missing, as `wanted`; gives whether the one of that name lies on the ref."""
        with self._lock:
            if name not in self._known:
                self._known[name] = self._found(name, wanted) or self._made(repository, ref, wanted())
            return on_ref(self._known[name].location_uri, repository.name, ref.name)

    def _found(self, name: str, wanted: Callable[[], Database]) -> Database | None:
        """The database that is there; ours is moved to its place where that was cut short."""
        found = self._metastore.get_database(name)
        if found is None or MAKING not in found.parameters:
            return found
        making = wanted()
        if found.parameters != {**making.parameters, MAKING: found.parameters[MAKING]}:
            return found
        return self._moved(found, found.parameters[MAKING])

    def _made(self, repository: Repository, ref: Ref, database: Database) -> Database:
        """The database once it is created: somebody else's, where one came in between."""
        with suppress(AlreadyExists):
            self._create(repository, ref, database)
        return self._metastore.get_database(database.name) or database

    def _create(self, repository: Repository, ref: Ref, database: Database) -> None:
        """Creates a database. Raises AlreadyExists.

        No server looks for a directory but at creation, and none makes one where an object lies below. From 3.1 on a
        database can be moved; before, an empty one on a branch costs a directory marker: at the ref's root, where a
        tag's may be, DROP DATABASE CASCADE would take the whole branch.
        """
        where = database.location_uri or ""
        root, path = ref_root(where, ref.name), path_on_ref(where) or ""
        if self._lakefs.has_objects(repository.name, ref.name, path):
            self._metastore.create_database(database)
        elif self._metastore.has_catalogs:
            making = {**database.parameters, MAKING: where}
            self._metastore.create_database(replace(database, location_uri=root, parameters=making))
            self._moved(database, where)
        elif ref.type is RefType.TAG:
            self._metastore.create_database(replace(database, location_uri=root))
        else:
            log.warning("directory marker", database=database.name, location=where, repository=repository.name)
            self._metastore.create_database(database)

    def _moved(self, database: Database, where: str) -> Database:
        parameters = {key: value for key, value in database.parameters.items() if key != MAKING}
        moved = replace(database, location_uri=where, parameters=parameters)
        self._metastore.alter_database(moved)
        return moved
