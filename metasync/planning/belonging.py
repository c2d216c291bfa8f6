"""Whose a table is: the ref's own, ours, or nobody's that metasync may touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metasync.model.hms import Table, TableName
from metasync.model.lakefs import Ref
from metasync.model.marks import MAKING, Marks
from metasync.planning.formats import real_location, why_off_ref, why_skipped
from metasync.planning.locations import on_ref
from metasync.planning.names import database_may_match, logical_name
from metasync.planning.observed import TableView
from metasync.planning.rules import RuleSet, takes_table


@dataclass(frozen=True)
class Asker:
    """The ref that asks. `pinned` maps the physical names of its mirrors to logical ones; they outlive its rule."""

    instance: str
    repository: str
    ref: Ref
    incarnation: int
    pinned: Mapping[TableName, TableName]


def as_canonical(table: Table, repository: str, ref: Ref) -> TableView | None:
    """A table that people registered on a canonical branch; None where it is a mirror or lies elsewhere.

    A view lies nowhere; it is given back so that it can be reported as skipped.
    """
    name = table.table_name
    if Marks.from_parameters(table.parameters, str(name)) is not None:
        return None
    if MAKING in table.parameters:
        return None
    is_view = table.sd.location is None and why_skipped(table) is not None
    if not is_view and why_off_ref(table, repository, ref.name) is not None:
        return None
    return TableView(name, name, table, "canonical")


def as_of_ref(table: Table, asker: Asker, rules: RuleSet) -> TableView | None:
    """A table of a mirrored ref: its mirror by the marks, or a user's by name and location; None for all others."""
    name = table.table_name
    marks = Marks.from_parameters(table.parameters, str(name))
    if marks is not None:
        ours = marks.instance == asker.instance and marks.repository == asker.repository
        if not ours or marks.ref != str(asker.ref) or marks.incarnation != asker.incarnation:
            return None
        return TableView(name, TableName.parse(marks.table), table, "making" if marks.making else "mirror", marks)
    if MAKING in table.parameters:
        return None
    logical = named_by(name, asker, rules)
    if name in asker.pinned and table.sd.location is None:
        # A view that somebody made in the place of a mirror.
        return TableView(name, asker.pinned[name], table, "belonging")
    if logical is None or why_off_ref(table, asker.repository, asker.ref.name) is not None:
        return None
    return TableView(name, logical, table, "belonging")


def why_foreign(table: Table, repository: str, ref: str) -> str | None:
    """Why a table in a database that metasync created for a ref is not the ref's; None where it goes with the ref.

    What has no location, a view above all, is the ref's, as its database is.
    """
    places = {"location": real_location(table), "metadata_location": table.parameters.get("metadata_location")}
    for key, where in places.items():
        if where and not on_ref(where, repository, ref):
            return f"its {key} {where} is not on {repository}/{ref}"
    return None


def named_by(name: TableName, asker: Asker, rules: RuleSet) -> TableName | None:
    """The logical table that a physical name of the ref means, whatever stands there."""
    return asker.pinned.get(name) or _parsed(name, asker, rules)


def _parsed(name: TableName, asker: Asker, rules: RuleSet) -> TableName | None:
    for rule in rules.of_ref(asker.repository, asker.ref):
        for hashed in (False, True) if rule.target.on_collision == "hash" else (False,):
            logical = logical_name(rule.target, asker.repository, asker.ref, name, hashed=hashed)
            if logical is not None and takes_table(rule, logical):
                return logical
    return None


def may_hold_tables(database: str, asker: Asker, rules: RuleSet) -> bool:
    """Whether tables of the ref could stand in a database: a cheap test before it is read."""
    return any(name.database == database for name in asker.pinned) or any(
        database_may_match(rule.target, asker.repository, asker.ref, database)
        for rule in rules.of_ref(asker.repository, asker.ref)
    )
