"""Planning the one change that metasync makes by itself to a living mirror: that it deletes no other ref's data."""

from __future__ import annotations

from metasync.model.lakefs import RefType
from metasync.planning.changes import MakeExternal
from metasync.planning.draft import Draft
from metasync.planning.observed import RefView
from metasync.planning.table_type import deletes_data


def plan_types(draft: Draft, view: RefView) -> None:
    """The mirrors that become EXTERNAL, as one of their locations was seen to lie elsewhere than on the ref."""
    if view.ended or view.ref.type is not RefType.BRANCH:
        return
    for table in view.tables:
        where = view.off_ref.get(table.logical)
        if where is None or table.kind != "mirror" or not deletes_data(table.table):
            continue
        rule = draft.rules.of_table(draft.repository, view.ref, table.logical)
        name = rule.name if rule is not None else ""
        draft.changes.append(MakeExternal(view.id, view.ref, table.logical, table.physical, where, name))
