"""What kind of table it is to those who drop or overwrite it: managed or external, and whether a drop purges.

A mirror on a branch is what its table is, so that engines may do with it whatever they may do with the original. On a
tag, or where data or database lie elsewhere than on the ref, it is EXTERNAL and never purged, whatever its table is;
what the table itself is stands in marks of the mirror, so that definitions never hold what metasync imposed.

In a definition, `table_type` is the table's own (UNKNOWN where a version of metasync before this one made the mirror),
and its parameters include those of `TYPE_PARAMETERS`. No merge compares any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from metasync.model.hms import Table, TableType
from metasync.model.marks import PREFIX, without_marks

EXTERNAL = "EXTERNAL"
UNKNOWN_TYPE = "TABLE"
"""Table type of a definition that was read from a mirror of which nobody noted what its table is."""

TYPE_PARAMETERS = ("external.table.purge", "TRANSLATED_TO_EXTERNAL", "discover.partitions")
"""Parameters that belong to a table's type: what a drop does to its files, and who finds its partitions."""

IMPOSED: Mapping[str, str] = {EXTERNAL: "TRUE", "external.table.purge": "FALSE", "discover.partitions": "false"}
"""What a mirror carries that must not have its table's type: dropping it can never delete data."""

_OWN = f"{PREFIX}own."
_OWN_TYPE = f"{_OWN}type"
_TABLES = (TableType.MANAGED, TableType.EXTERNAL)


def own_type(table: Table) -> tuple[str, dict[str, str]]:
    """The type of a table as the metastore holds it, and its type's parameters, less what metasync imposed."""
    if table.table_type not in _TABLES:
        return table.table_type, {}
    if is_imposed(table):
        if _OWN_TYPE in table.parameters:
            noted = {key.removeprefix(_OWN): value for key, value in table.parameters.items() if key.startswith(_OWN)}
            return noted.pop("type"), {key: value for key, value in noted.items() if key in TYPE_PARAMETERS}
        if f"{PREFIX}instance" in table.parameters:
            return UNKNOWN_TYPE, {}
    return table.table_type, {key: table.parameters[key] for key in TYPE_PARAMETERS if key in table.parameters}


def is_table(header: Table) -> bool:
    """Whether a definition is a table's, and no view's."""
    return header.table_type in (*_TABLES, UNKNOWN_TYPE)


def without_type(header: Table) -> Table:
    """A definition less all that belongs to its type, to compare."""
    kept = {key: value for key, value in header.parameters.items() if key not in TYPE_PARAMETERS}
    return replace(header, parameters=kept, table_type=UNKNOWN_TYPE if is_table(header) else header.table_type)


def with_type_of(header: Table, table: Table) -> Table:
    """A table of the type that a definition has, which the live one may be kept from having."""
    kept = {key: value for key, value in table.parameters.items() if key not in (EXTERNAL, *TYPE_PARAMETERS)}
    own = {key: value for key, value in header.parameters.items() if key in TYPE_PARAMETERS}
    return replace(table, table_type=header.table_type, parameters={**kept, **own})


def of_own_type(table: Table) -> Table:
    """A table of a definition, as it is to be created where nothing has to be imposed on it."""
    parameters = without_marks(table.parameters)
    if table.table_type == UNKNOWN_TYPE:
        return as_external(replace(table, parameters=parameters))
    if table.table_type == TableType.EXTERNAL:
        # Without it every metastore stores the table as a managed one (seen on 2.3.9, 3.1.3 and 4.x).
        parameters[EXTERNAL] = "TRUE"
    return replace(table, parameters=parameters)


def as_external(table: Table) -> Table:
    """The same table, EXTERNAL, never purged and never discovering."""
    kept = {key: value for key, value in table.parameters.items() if key != "TRANSLATED_TO_EXTERNAL"}
    return replace(table, table_type=TableType.EXTERNAL, parameters=kept | dict(IMPOSED))


def imposed_on(live: Table) -> Table:
    """A living mirror that may delete nothing any more; what it is itself stands in its marks."""
    kind, own = own_type(live)
    noted = type_marks(replace(live, table_type=kind, parameters=own))
    return as_external(replace(live, parameters={**live.parameters, **noted}))


def of_type(live: Table, kind: str, own: Mapping[str, str]) -> Table:
    """The inverse of `imposed_on`: a living mirror that is of its table's type again."""
    kept = {key: value for key, value in live.parameters.items() if key not in (EXTERNAL, *TYPE_PARAMETERS)}
    external = {EXTERNAL: "TRUE"} if kind == TableType.EXTERNAL else {}
    noted = type_marks(replace(live, table_type=kind, parameters=dict(own)))
    return replace(live, table_type=kind, parameters={**kept, **own, **noted, **external})


def has_type(live: Table, kind: str, own: Mapping[str, str]) -> bool:
    """Whether a mirror is of a type already, whatever is noted of it."""
    return live.table_type == kind and {k: v for k, v in live.parameters.items() if k in TYPE_PARAMETERS} == dict(own)


def type_marks(table: Table) -> dict[str, str]:
    """The marks that keep what a table of a definition is itself, on a mirror that may have to be something else."""
    if table.table_type == UNKNOWN_TYPE:
        return {}
    own = {key: value for key, value in table.parameters.items() if key in TYPE_PARAMETERS}
    return {_OWN_TYPE: table.table_type} | {f"{_OWN}{key}": value for key, value in own.items()}


def type_text(header: Table) -> str:
    """What a definition says of its table's type, for people; empty where nobody knows."""
    if header.table_type not in _TABLES:
        return ""
    own = {key: value for key, value in header.parameters.items() if key in TYPE_PARAMETERS[:2]}
    words = [f"{key}={value.upper()}" for key, value in sorted(own.items())]
    return " with ".join([header.table_type.removesuffix("_TABLE"), *(", ".join(words) for _ in words[:1])])


def deletes_data(table: Table) -> bool:
    """Whether an engine that drops the table, or its partitions, deletes files."""
    purge = table.parameters.get("external.table.purge", "").lower() == "true"
    return table.table_type == TableType.MANAGED or (table.table_type == TableType.EXTERNAL and purge)


def is_imposed(table: Table) -> bool:
    """Whether a table is what metasync makes of a mirror that may delete nothing."""
    return table.table_type == TableType.EXTERNAL and all(
        table.parameters.get(key, "").lower() == value.lower() for key, value in IMPOSED.items()
    )
