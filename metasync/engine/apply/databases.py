"""Databases of mirrors: where each lies, and how it is made without a directory that nobody asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import structlog

from metasync.errors import AlreadyExists
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import Database
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.model.marks import MAKING
from metasync.planning.locations import absolute, is_root, on_ref, path_on_ref, ref_in, ref_root, relative

log = structlog.get_logger()


class Databases:
    """The databases that are known to be there while one plan is applied: each is asked for, and made, once."""

    def __init__(self, lakefs: LakeFS, metastore: Metastore) -> None:
        self._lakefs = lakefs
        self._metastore = metastore
        self._known: dict[str, Database] = {}
        self._lock = threading.Lock()

    def lies_on(self, repository: Repository, ref: Ref, name: str, wanted: Callable[[], Database]) -> bool:
        """Whether the database of that name lies on the ref; one that is missing is made as `wanted` first."""
        with self._lock:
            known = self._known.get(name) or self._found(repository, ref, name)
            if known is None:
                known = wanted()
                self._make(repository, ref, known)
            self._known[name] = known
        return on_ref(known.location_uri, repository.name, ref.name)

    def _found(self, repository: Repository, ref: Ref, name: str) -> Database | None:
        found = self._metastore.get_database(name)
        if found is None or MAKING not in found.parameters:
            return found
        return self._moved(found, found.parameters[MAKING])

    def _make(self, repository: Repository, ref: Ref, database: Database) -> None:
        """Creates a database.

        No server looks for a directory but at creation, and none makes one where an object lies below. From 3.1 on a
        database can be moved; before, an empty one on a branch costs a directory marker: at the ref's root, where a
        tag's may be, DROP DATABASE CASCADE would take the whole branch.
        """
        where = database.location_uri or ""
        root, path = ref_root(where, ref.name), path_on_ref(where) or ""
        with suppress(AlreadyExists):
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


def place(repository: Repository, ref: Ref, logical: str, root: str, like: Iterable[Database | None]) -> str:
    """Where a ref's database lies: as the first of `like` that lies below a ref's root, moved to this ref.

    Where none does, it is `LOGICAL.db` below the ref's root; never the root itself.
    """
    for other in like:
        where = other.location_uri if other is not None else None
        home = ref_in(where, repository.name) if where else None
        if where and home and not is_root(relative(where, repository.name, home)):
            return absolute(relative(where, repository.name, home), ref.name)
    return f"{root}{logical}.db"
