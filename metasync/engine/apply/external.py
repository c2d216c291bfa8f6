"""Taking from a mirror the right to delete data."""

from __future__ import annotations

from collections.abc import Sequence

from metasync.metastore import Metastore
from metasync.model.marks import Marks
from metasync.planning.changes import MakeExternal
from metasync.planning.table_type import deletes_data, imposed_on
from metasync.planning.three_way import ItemConflict


def make_external(metastore: Metastore, instance: str, change: MakeExternal) -> Sequence[ItemConflict]:
    """Makes a mirror EXTERNAL and never purged, if it still is one that deletes data. Raises MetastoreError."""
    table = metastore.get_table(change.physical)
    marks = Marks.from_parameters(table.parameters, str(change.physical)) if table is not None else None
    if table is None or marks is None or not deletes_data(table):
        return ()
    if (marks.instance, marks.ref) == (instance, str(change.ref)):
        metastore.alter_table(imposed_on(table), was=table)
    return ()
