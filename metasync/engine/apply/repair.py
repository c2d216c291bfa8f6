"""Repairing what metasync imposes on a mirror and its database: marks, type and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metasync.engine.apply.delete import NothingToDo
from metasync.errors import NotAllowed
from metasync.metastore import Metastore
from metasync.model.hms import Table
from metasync.model.lakefs import Repository
from metasync.model.marks import MAKING, Marks
from metasync.planning.changes import MoveDatabase, RepairMirror
from metasync.planning.formats import place_off_ref
from metasync.planning.table_type import of_type
from metasync.planning.three_way import ItemConflict


def place_outside(metastore: Metastore, table: Table, repository: str, ref: str) -> str:
    """A location of a table or of any of its partitions that is not on the ref; empty where all are. Reads them all."""
    if (where := place_off_ref(table.sd, table, repository, ref)) is not None:
        return where
    for partition in metastore.iter_partitions(table.table_name, table.partition_keys):
        if (where := place_off_ref(partition.sd, None, repository, ref)) is not None:
            return where
    return ""


def repair_mirror(
    metastore: Metastore, instance: str, repository: Repository, change: RepairMirror
) -> Sequence[ItemConflict]:
    """Writes a mirror's marks and type. Raises NotAllowed where it came to hold another ref's data meanwhile."""
    table = metastore.get_table(change.physical)
    if table is None:
        raise NothingToDo("it is gone")
    marks = Marks.from_parameters(table.parameters, str(change.physical))
    if marks is None and not change.marks:
        raise NothingToDo("its marks are gone")
    if marks is not None and (marks.instance, marks.ref) != (instance, str(change.ref)):
        raise NothingToDo("it is somebody else's by now")
    wanted = replace(table, parameters={**table.parameters, **change.marks})
    if change.table_type:
        if where := place_outside(metastore, table, repository.name, change.ref.name):
            raise NotAllowed(f"{change.physical}: {where} is not on {change.ref}, so it stays EXTERNAL")
        wanted = of_type(wanted, change.table_type, change.type_parameters)
    metastore.alter_table(wanted, was=table)
    return ()


def move_database(metastore: Metastore, instance: str, change: MoveDatabase) -> Sequence[ItemConflict]:
    """Points a database at its place, if it still is ours and where it was."""
    database = metastore.get_database(change.name)
    marks = Marks.from_parameters(database.parameters, change.name) if database is not None else None
    if database is None or marks is None or (marks.instance, marks.ref) != (instance, str(change.ref)):
        raise NothingToDo("it is gone, or not ours any more")
    if database.location_uri != change.was:
        raise NothingToDo("somebody moved it")
    parameters = {key: value for key, value in database.parameters.items() if key != MAKING}
    metastore.alter_database(replace(database, location_uri=change.location, parameters=parameters))
    return ()
