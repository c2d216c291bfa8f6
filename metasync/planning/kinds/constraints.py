"""Constraints, identified by what they say and not by their names: a metastore makes a new name for every table.

`constraints/primary_key`, `foreign_keys/[columns, parent, its columns]`, `unique/[columns]`, `not_null/COLUMN`,
`default/COLUMN`, `check/EXPRESSION`. A foreign key's parent on the own ref is written `{ref}.database.table` by its
logical name, so that a mirror's key refers to its sibling. One that went waits for somebody: no row depends on it, but
engines plan by it, and a metastore that would not take it on a mirror must not cost the original its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from itertools import groupby
from typing import Any

from metasync.model.hms import (
    CheckConstraint,
    Constraints,
    DefaultConstraint,
    ForeignKeyColumn,
    NotNullConstraint,
    PrimaryKeyColumn,
    StorageDescriptor,
    Table,
    TableName,
    UniqueColumn,
)
from metasync.planning.file_layout import Layout
from metasync.planning.kinds.kind import Items, Kind
from metasync.planning.three_way import Tree

_HERE = "{ref}."


def at_home(found: Constraints, logical_of: Mapping[TableName, TableName]) -> Constraints:
    """Constraints as a definition holds them: without names, in a fixed order, parents on the own ref by logical name.

    `logical_of` gives the logical names of the ref's tables by their physical ones.
    """

    def parent(name: TableName) -> TableName:
        logical = logical_of.get(name)
        return TableName(_HERE + logical.database, logical.table) if logical else name

    keys = [
        tuple(replace(k, name="", pk_name=None, parent=parent(k.parent)) for k in key) for key in foreign_keys(found)
    ]
    unique = [tuple(replace(k, name="") for k in key) for key in unique_keys(found)]
    return Constraints(
        primary_key=tuple(replace(k, name="") for k in sorted(found.primary_key, key=lambda k: k.key_seq)),
        foreign_keys=tuple(
            replace(k, name=str(n)) for n, key in enumerate(sorted(keys, key=_foreign_name), 1) for k in key
        ),
        unique=tuple(replace(k, name=str(n)) for n, key in enumerate(sorted(unique, key=_columns), 1) for k in key),
        not_null=tuple(sorted((replace(c, name="") for c in found.not_null), key=lambda c: c.column)),
        default=tuple(sorted((replace(c, name="") for c in found.default), key=lambda c: c.column)),
        check=tuple(sorted((replace(c, name="") for c in found.check), key=lambda c: c.expression)),
    )


def moved_to(definition: Constraints, physical_of: Callable[[TableName], TableName | None]) -> Constraints:
    """A definition's constraints for tables of another ref; keys whose parent is not there are left out."""
    keys = []
    for k in definition.foreign_keys:
        if not k.parent.database.startswith(_HERE):
            keys.append(k)
        elif (name := physical_of(TableName(k.parent.database.removeprefix(_HERE), k.parent.table))) is not None:
            keys.append(replace(k, parent=name))
    return replace(definition, foreign_keys=tuple(keys))


def names_gone(live: Constraints, logical_of: Mapping[TableName, TableName], after: Constraints) -> tuple[str, ...]:
    """The names of live constraints that `after`, a definition's, has not."""
    wanted = _said(after)
    gone = []
    for kind in (field.name for field in fields(Constraints)):
        for name in sorted({one.name for one in getattr(live, kind)}):
            alone = Constraints(**{kind: tuple(one for one in getattr(live, kind) if one.name == name)})
            if not _said(at_home(alone, logical_of)) <= wanted:
                gone.append(name)
    return tuple(gone)


def between(now: Constraints, before: Constraints, after: Constraints) -> bool:
    """Whether each constraint is as it was or as it shall be: a change that a crash cut short can be finished."""
    old, new, found = _said(before), _said(after), _said(now)
    return old & new <= found <= old | new


def _said(constraints: Constraints) -> set[str]:
    """Each constraint as a text that says all of it."""
    tree = _items(Table("", "", StorageDescriptor(), constraints=constraints), Layout())["constraints"]
    primary = {"primary_key": {"": tree.pop("primary_key")}} if "primary_key" in tree else {}
    return {
        json.dumps([kind, name, value]) for kind, found in (tree | primary).items() for name, value in found.items()
    }


def parents(definition: Constraints) -> set[TableName]:
    """The logical names of the tables on the own ref that foreign keys refer to."""
    here = (k.parent for k in definition.foreign_keys if k.parent.database.startswith(_HERE))
    return {TableName(name.database.removeprefix(_HERE), name.table) for name in here}


def foreign_keys(constraints: Constraints) -> list[tuple[ForeignKeyColumn, ...]]:
    """The columns of all foreign keys, key by key."""
    ordered = sorted(constraints.foreign_keys, key=lambda k: (k.name, k.key_seq))
    return [tuple(columns) for _, columns in groupby(ordered, key=lambda k: k.name)]


def unique_keys(constraints: Constraints) -> list[tuple[UniqueColumn, ...]]:
    """The columns of all unique constraints, one by one."""
    ordered = sorted(constraints.unique, key=lambda k: (k.name, k.key_seq))
    return [tuple(columns) for _, columns in groupby(ordered, key=lambda k: k.name)]


def _columns(key: Iterable[Any]) -> list[str]:
    return [column.column for column in key]


def _foreign_name(key: tuple[ForeignKeyColumn, ...]) -> str:
    return json.dumps([_columns(key), str(key[0].parent), [k.parent_column for k in key]])


_FLAGS = ("enable", "validate", "rely")


def _flags(constraint: Any) -> Items:
    return {flag: True for flag in _FLAGS if getattr(constraint, flag)}


def _rules(key: ForeignKeyColumn) -> Items:
    rules = {"update_rule": key.update_rule, "delete_rule": key.delete_rule}
    return {name: rule for name, rule in rules.items() if rule}


def _items(header: Table, _layout: Layout) -> Items:
    c = header.constraints
    tree: Items = {}
    if c.primary_key:
        tree["primary_key"] = {"columns": _columns(c.primary_key), **_flags(c.primary_key[0])}
    tree["foreign_keys"] = {_foreign_name(key): _flags(key[0]) | _rules(key[0]) for key in foreign_keys(c)}
    tree["unique"] = {json.dumps(_columns(key)): _flags(key[0]) for key in unique_keys(c)}
    tree["not_null"] = {one.column: _flags(one) for one in c.not_null}
    tree["default"] = {one.column: {"value": one.value, **_flags(one)} for one in c.default}
    tree["check"] = {one.expression: {"column": one.column, **_flags(one)} for one in c.check}
    return {"constraints": {name: value for name, value in tree.items() if value}}


def _restore(header: Table, tree: Tree) -> Table:
    c = tree.get("constraints", {})
    primary = dict(c.get("primary_key", {}))
    foreign = []
    for number, (name, rules) in enumerate(sorted(c.get("foreign_keys", {}).items()), 1):
        columns, parent, parent_columns = json.loads(name)
        database, _, table = parent.rpartition(".")
        foreign += [
            ForeignKeyColumn(column, seq, str(number), TableName(database, table), other, **rules)
            for seq, (column, other) in enumerate(zip(columns, parent_columns, strict=True), 1)
        ]
    unique = [(number, json.loads(name), flags) for number, (name, flags) in _numbered(c.get("unique", {}))]
    found = Constraints(
        primary_key=tuple(
            PrimaryKeyColumn(column, seq, "", **_only_flags(primary))
            for seq, column in enumerate(primary.get("columns", ()), 1)
        ),
        foreign_keys=tuple(foreign),
        unique=tuple(
            UniqueColumn(column, seq, str(number), **flags)
            for number, columns, flags in unique
            for seq, column in enumerate(columns, 1)
        ),
        not_null=tuple(NotNullConstraint(name, "", **flags) for name, flags in sorted(c.get("not_null", {}).items())),
        default=tuple(
            DefaultConstraint(column, item.get("value", ""), "", **_only_flags(item))
            for column, item in sorted(c.get("default", {}).items())
        ),
        check=tuple(
            CheckConstraint(item.get("column", ""), expression, "", **_only_flags(item))
            for expression, item in sorted(c.get("check", {}).items())
        ),
    )
    return replace(header, constraints=found)


def _numbered(keys: Mapping[str, Any]) -> list[tuple[int, tuple[str, Any]]]:
    return list(enumerate(sorted(keys.items(), key=lambda item: json.loads(item[0])), 1))


def _only_flags(values: Mapping[str, Any]) -> dict[str, bool]:
    return {flag: bool(values[flag]) for flag in _FLAGS if flag in values}


def columns_used(tree: Tree) -> dict[str, set[str]]:
    """The columns that constraints refer to, by item below `constraints`; expressions are not read."""
    c = tree.get("constraints", {})
    used = {"primary_key": set(c.get("primary_key", {}).get("columns", ()))}
    used |= {f"foreign_keys/{name}": set(json.loads(name)[0]) for name in c.get("foreign_keys", {})}
    used |= {f"unique/{name}": set(json.loads(name)) for name in c.get("unique", {})}
    used |= {f"{kind}/{column}": {column} for kind in ("not_null", "default") for column in c.get(kind, {})}
    return used


KIND = Kind(
    names=("constraints",),
    items=_items,
    restore=_restore,
    is_destructive=lambda change, _: change.before is not None and change.after is None,
)
