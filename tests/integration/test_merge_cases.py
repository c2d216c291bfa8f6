"""The merge cases on a real metastore: bases and sides are written, lakeFS merges, and what stands there is read back.

All cases that one lakeFS merge can hold share it, a table each. A case that says `real: why not` is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.errors import Incompatible
from metasync.model.hms import Partition, Table, TableName, TableType
from metasync.planning.definition import Home, changed_table, header_of, table_from
from metasync.planning.descriptions import describe_item, item_name
from metasync.planning.item_tree import Definition, Partial
from metasync.planning.kinds.constraints import at_home
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.locations import path_on_ref
from metasync.planning.table_type import without_type
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.case_files import Case, cases
from tests.conftest import World
from tests.one_partition import partition_from, partition_of
from tests.tables_in_yaml import definition

REAL = [c for c in cases() if "steps" not in c.words and "real" not in c.words and c.words.get("base") != "unknown"]


USER = 1
"""PrincipalType.USER."""


class Tables:
    """Tables of a world brought to definitions, as people's engines would, and read back as definitions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.metastore = world.tables.metastore

    def name(self, case: Case, ref: str = "main") -> TableName:
        return TableName.parse(self.world.name(f"c{case.number:03}", None if ref == "main" else ref))

    def wanted(self, case: Case, words: Any) -> Definition:
        made = definition(words, f"c{case.number:03}", f"s3a://{self.world.repository}/{{ref}}")
        if made is None or self.world.sandbox.metastore.server.version < "3":
            return made
        # From 3.1 on a metastore says of every owner what he is.
        return replace(made, header=replace(made.header, owner_type=USER))

    def bring(self, case: Case, words: Any, ref: str) -> None:
        """Makes, changes or drops the table so that it is as the words say."""
        name, wanted = self.name(case, ref), self.wanted(case, words)
        live = self.metastore.get_table(name)
        if wanted is None:
            self.metastore.drop_table(name)
            return
        if live is None:
            self.make(wanted, name, ref)
            return
        before = header_of(live, Home(self.world.repository, ref))
        try:
            self.metastore.alter_table(changed_table(live, before, wanted.header, ref))
        except Incompatible:
            # What a metastore refuses to alter, people drop and make anew.
            self.metastore.drop_table(name)
            self.make(wanted, name, ref)
            return
        self.bring_rest(wanted, name, ref)

    def make(self, wanted: Partial, name: TableName, ref: str) -> None:
        table = table_from(wanted.header, name.database, name.table, ref)
        self.metastore.create_table(replace(table, table_type=TableType.MANAGED))
        self.bring_rest(wanted, name, ref)

    def bring_rest(self, wanted: Partial, name: TableName, ref: str) -> None:
        table = self.metastore.get_table(name)
        assert table is not None
        there = {p.values: p for p in self.metastore.iter_partitions(name, table.partition_keys)}
        made = {p.values: partition_from(p, table, ref) for p in wanted.partitions.values()}
        self.metastore.add_partitions(name, [p for values, p in made.items() if values not in there])
        self.metastore.alter_partitions(name, [_over(there[v], p) for v, p in made.items() if v in there])
        self.metastore.drop_partitions(name, table.partition_keys, [v for v in there if v not in made])
        keys = self.metastore.get_constraints(name).primary_key
        if [k.column for k in keys] != [k.column for k in wanted.header.constraints.primary_key]:
            for key in keys[:1]:
                self.metastore.drop_constraint(name, key.name)
            if wanted.header.constraints.primary_key:
                self.metastore.add_primary_key(name, wanted.header.constraints.primary_key)

    def read(self, case: Case, ref: str = "main") -> Definition:
        name = self.name(case, ref)
        table: Table | None = self.metastore.get_table(name)
        if table is None:
            return None
        home = Home(self.world.repository, ref)
        header = without_type(header_of(table, home))
        header = replace(header, constraints=at_home(self.metastore.get_constraints(name), {}))
        found = (partition_of(p, table, home) for p in self.metastore.iter_partitions(name, table.partition_keys))
        return Partial(header, {partition_key(p.values): p for p in found})


def _over(live: Partition, wanted: Partition) -> Partition:
    volatile = {k: v for k, v in live.parameters.items() if k in ("transient_lastDdlTime", "numFiles", "totalSize")}
    return replace(wanted, parameters={**volatile, **wanted.parameters}, create_time=live.create_time)


def settings_text(world: World, some: list[Case]) -> str:
    """A rule for each policy among the cases, with their tables."""
    head = world.text().partition("rules:")[0]
    groups: dict[str, list[Case]] = {}
    for case in some:
        groups.setdefault(str(case.rule), []).append(case)
    text = head + "rules:\n"
    for number, group in enumerate(groups.values()):
        names = ", ".join(f'"{world.database}.c{case.number:03}"' for case in group)
        options = "".join(f"    {key}: {value}\n" for key, value in group[0].rule.items())
        text += f"  - name: r{number}\n    repository: {world.repository}\n    branches: [dev*]\n"
        text += f"    tables: [{names}]\n{options}"
    return text


@pytest.mark.parametrize("strategy", sorted({case.words.get("strategy", "") for case in REAL}))
def test_cases_on_a_real_metastore(world: World, strategy: str) -> None:
    check = world.tables.metastore.column_check()
    some = [case for case in REAL if case.words.get("strategy", "") == strategy]
    some = [case for case in some if case.words.get("column_check", check) == check]
    tables, configured = Tables(world), parse_settings(settings_text(world, some), "metasync.yaml", {})

    def sync(built: Parts) -> Result:
        return built.controller.sync(Scope(world.repository, full=True))

    with parts(configured) as built:
        data = []
        for case in some:
            if case.words["base"] != "absent":
                tables.bring(case, case.side("base"), "main")
                base = tables.wanted(case, case.side("base"))
                assert base is not None
                data += [path_on_ref(p.location or "") for p in base.partitions.values()]
        world.lake.write("main", "wh/more", *(f"{path}/f" for path in data if path))
        world.branch("dev-1")
        assert not sync(built).failures
        for case in some:
            tables.bring(case, case.side("source"), "dev-1")
            tables.bring(case, case.side("destination"), "main")
        world.lake.write("dev-1", *(f"wh/c{case.number:03}/f" for case in some))
        options = {"strategy": strategy} if strategy else {}
        world.lake.merge("dev-1", **options)
        result = sync(built)
        assert not result.failures
        _check(built, tables, some)


def _check(built: Parts, tables: Tables, some: list[Case]) -> None:  # noqa: C901  a check a key of a case
    wrong: list[str] = []

    def same(case: Case, key: str, words: Any) -> None:
        found, wanted = tables.read(case), tables.wanted(case, words)
        if found != wanted:
            wrong.append(f"{case} {key}:\n  found  {found}\n  wanted {wanted}")

    open_ones: dict[TableName, dict[str, str]] = {}
    for row in built.decisions.conflicts():
        open_ones.setdefault(row.logical, {})[item_name(row.path)] = row.reason
    waiting = {plan.plan.merges[0].logical: plan for plan in built.decisions.waiting_plans()}
    for case in some:
        name, said = tables.name(case), case.words
        if open_ones.get(name, {}) != said.get("conflicts", {}):
            wrong.append(f"{case} conflicts: {open_ones.get(name, {})}")
        items = [describe_item(item) for item in waiting[name].plan.merges[0].items] if name in waiting else []
        if items != said.get("withheld", []):
            wrong.append(f"{case} withheld: {items}")
        same(case, "result", _words(case, said.get("result", {})))
        if "stuck" in said:
            with pytest.raises(Incompatible, match="cannot be applied as it is"):
                built.commands.approver.apply(waiting[name].id)
        if "applied" in said:
            built.commands.approver.apply(waiting[name].id)
            same(case, "applied", _words(case, said["applied"]))
        for side in list(said.get("resolved", {}))[:1]:
            row = next((row for row in built.decisions.conflicts() if row.logical == name), None)
            if row is None:
                wrong.append(f"{case} resolved {side}: there is no conflict")
                continue
            built.commands.resolver.resolve(row.id, side)
            same(case, f"resolved {side}", _words(case, said["resolved"][side]))
    assert not wrong, "\n".join(wrong)


def _words(case: Case, said: Any) -> Any:
    destination = case.side("destination")
    if said == "absent" or (destination is None and not said):
        return None
    return {**(destination or {}), **said}
