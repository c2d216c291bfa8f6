"""Constraints: keys, which every metastore since 2.3 has, and the others, where it is 3.1 or later."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from hmsclient.genthrift.hive_metastore import ttypes

from metasync.errors import NotFound
from metasync.metastore.capabilities import CapabilityClient
from metasync.metastore.hive3_constraints import NEWER, NewerKind, add_newer, get_newer
from metasync.model.hms import Constraints, ForeignKeyColumn, PrimaryKeyColumn, TableName


class ConstraintClient(CapabilityClient):
    """Reads and writes of constraints."""

    def get_constraints(self, name: TableName) -> Constraints:
        primary = ttypes.PrimaryKeysRequest(name.database, name.table)
        foreign = ttypes.ForeignKeysRequest(foreign_db_name=name.database, foreign_tbl_name=name.table)
        keys = self.read("get_primary_keys", str(name), lambda c: c.get_primary_keys(primary)).primaryKeys
        fks = self.read("get_foreign_keys", str(name), lambda c: c.get_foreign_keys(foreign)).foreignKeys
        newer = {kind: self._newer(name, kind) for kind in NEWER} if self.has_catalogs else {}
        return Constraints(
            **newer,
            primary_key=tuple(
                PrimaryKeyColumn(
                    k.column_name, k.key_seq, k.pk_name, bool(k.enable_cstr), bool(k.validate_cstr), bool(k.rely_cstr)
                )
                for k in keys or ()
            ),
            foreign_keys=tuple(
                ForeignKeyColumn(
                    column=k.fkcolumn_name,
                    key_seq=k.key_seq,
                    name=k.fk_name,
                    parent=TableName(k.pktable_db, k.pktable_name),
                    parent_column=k.pkcolumn_name,
                    pk_name=k.pk_name,
                    update_rule=k.update_rule or 0,
                    delete_rule=k.delete_rule or 0,
                    enable=bool(k.enable_cstr),
                    validate=bool(k.validate_cstr),
                    rely=bool(k.rely_cstr),
                )
                for k in fks or ()
            ),
        )

    def _newer(self, name: TableName, kind: NewerKind) -> tuple[Any, ...]:
        return self.read(f"get_{kind}_constraints", str(name), lambda c: get_newer(c, name, kind))

    def add_constraints(self, name: TableName, kind: NewerKind, some: Sequence[Any]) -> None:
        """Adds `not_null`, `default` or `check` constraints, or the columns of one `unique` one; 2.3 has none."""
        if some and self.has_catalogs:
            self.write(f"add_{kind}_constraint", str(name), lambda c: add_newer(c, name, kind, some))

    def drop_constraint(self, name: TableName, constraint: str) -> None:
        """Drops a constraint by the name that the server gave it; one that is gone already is no error."""
        request = ttypes.DropConstraintRequest(name.database, name.table, constraint)
        with contextlib.suppress(NotFound):
            self.write("drop_constraint", str(name), lambda c: c.drop_constraint(request))

    def add_primary_key(self, name: TableName, key: Sequence[PrimaryKeyColumn]) -> None:
        """Adds a primary key under a name that the server makes: names are unique in a whole metastore."""
        columns = [
            ttypes.SQLPrimaryKey(name.database, name.table, k.column, k.key_seq, None, k.enable, k.validate, k.rely)
            for k in key
        ]
        request = ttypes.AddPrimaryKeyRequest(primaryKeyCols=columns)
        self.write("add_primary_key", str(name), lambda c: c.add_primary_key(request))

    def add_foreign_key(self, name: TableName, key: Sequence[ForeignKeyColumn]) -> None:
        """Adds one foreign key, its columns in order."""
        columns = [
            ttypes.SQLForeignKey(
                k.parent.database,
                k.parent.table,
                k.parent_column,
                name.database,
                name.table,
                k.column,
                k.key_seq,
                k.update_rule,
                k.delete_rule,
                None,
                None,
                k.enable,
                k.validate,
                k.rely,
            )
            for k in key
        ]
        request = ttypes.AddForeignKeyRequest(foreignKeyCols=columns)
        self.write("add_foreign_key", str(name), lambda c: c.add_foreign_key(request))
