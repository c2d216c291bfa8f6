"""The merge cases with steps, played on a real metastore and lakeFS: what people do, and what stands there after it.

After every step metasync looks, unless the step is `unseen`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.errors import Incompatible
from metasync.metastore.base_client import BaseClient
from metasync.model.hms import TableName, TableType
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType
from metasync.planning.definition import Home, changed_table, header_of, table_from
from metasync.planning.descriptions import describe_item, item_name
from metasync.settings import Settings, parse_settings
from metasync.wiring import parts
from tests.case_files import Case, cases
from tests.conftest import World
from tests.one_partition import partition_from, partition_of
from tests.tables_in_yaml import definition, fields

HISTORIES = [case for case in cases() if "steps" in case.words]


class Play:
    """A history being played in a world."""

    def __init__(self, world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.case, self.monkeypatch = world, case, monkeypatch
        self.commits: dict[str, str] = {}
        self.tags: set[str] = set()
        self.tables = f"{world.database}.*"
        self.notices: set[str] = set()
        self.result = Result(world.repository, ())
        self.number = 0

    def settings(self) -> Settings:
        head = self.world.text().partition("rules:")[0]
        if safety := self.case.words.get("safety"):
            head += "safety: {" + ", ".join(f"{key}: {value}" for key, value in safety.items()) + "}\n"
        options = "".join(f"    {key}: {value}\n" for key, value in self.case.words.get("rule", {}).items())
        text = (
            f"{head}rules:\n  - name: dev\n    repository: {self.world.repository}\n    branches: [dev*, other]\n"
            f'    tags: [v*]\n    tables: ["{self.tables}"]\n{options}'
        )
        return parse_settings(text, "metasync.yaml", {})

    def play(self, step: Mapping[str, Any]) -> None:
        verb = next(iter(step))
        do: Callable[[Mapping[str, Any]], None] = getattr(self, f"do_{verb}")
        do(step)
        if verb in ("expect", "apply", "resolve", "undo", "adopt") or step.get("unseen"):
            return
        if verb == "sync" or "crash" not in step:
            self.sync(step)
        else:
            self.crash(step)

    def sync(self, step: Mapping[str, Any]) -> None:
        events: tuple[LakeFSEvent, ...] = ()
        if step.get("hook"):
            name = step["recreate"]
            ref, at = Ref(RefType.BRANCH, name), self.world.lake.head(name)
            created = LakeFSEvent(EventType.CREATE_BRANCH, self.world.repository, ref, 4e9, step["from"], at)
            events = (replace(created, type=EventType.DELETE_BRANCH, event_time=3.9e9), created)
        with parts(self.settings()) as built:
            self.result = built.controller.sync(Scope(self.world.repository, events, full=True))
        self.notices = {n.kind for plan in self.result.plans for n in (*plan.refusals, *plan.notices)}
        self.notices |= {"not-mirrored" for plan in self.result.plans if plan.not_mirrored}

    def crash(self, step: Mapping[str, Any]) -> None:
        """metasync dies right after the first call of that name."""
        real = BaseClient.write

        def dying(calls: BaseClient, call: str, subject: str, do: Callable[[Any], Any]) -> Any:
            real(calls, call, subject, do)
            if call == step["crash"]:
                raise KeyboardInterrupt
            return None

        with self.monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(BaseClient, "write", dying)
            self.sync(step)

    # Steps

    def do_sync(self, step: Mapping[str, Any]) -> None:
        pass

    def do_ddl(self, step: Mapping[str, Any]) -> None:
        for ref, tables in step["ddl"].items():
            for table, words in tables.items():
                self.bring(ref, table, None if words == "absent" else words)

    def do_branch(self, step: Mapping[str, Any]) -> None:
        self.world.branch(step["branch"], self.commits.get(step.get("from", ""), step.get("from", "main")))

    def do_tag(self, step: Mapping[str, Any]) -> None:
        self.tags.add(step["tag"])
        self.world.tag(step["tag"], self.commits.get(step.get("from", ""), step.get("from", "main")))

    def do_record(self, step: Mapping[str, Any]) -> None:
        self.world.record_runs()

    def do_recreate(self, step: Mapping[str, Any]) -> None:
        self.world.recreate(step["recreate"], step.get("from", "main"))

    def do_delete(self, step: Mapping[str, Any]) -> None:
        lake = self.world.lake
        (lake.delete_tag if step["delete"] in self.tags else lake.delete_branch)(step["delete"])

    def do_data(self, step: Mapping[str, Any]) -> None:
        self.number += 1
        self.commits[step.get("as", "")] = self.world.lake.write(step["data"], f"wh/data/{self.number}")

    def do_merge(self, step: Mapping[str, Any]) -> None:
        """Merges data too, else lakeFS has nothing to merge."""
        self.number += 1
        source = self.commits.get(step["merge"], step["merge"])
        if source == step["merge"] and step.get("data") != "none":
            self.world.lake.write(source, *(f"wh/{name}/{self.number}" for name in step.get("below", ["data"])))
        options: dict[str, Any] = {"strategy": step["strategy"]} if "strategy" in step else {}
        if step.get("squash"):
            options["squash_merge"] = True
        commit = self.world.lake.merge(source, step.get("into", "main"), **options)
        self.commits["last"] = self.commits[step.get("as", "last")] = commit

    def do_reset(self, step: Mapping[str, Any]) -> None:
        self.world.lake.hard_reset(step["reset"], self.commits[step["to"]])

    def do_tables(self, step: Mapping[str, Any]) -> None:
        self.tables = f"{self.world.database}.{step['tables']}"

    def do_lose(self, step: Mapping[str, Any]) -> None:
        self.world.lose_store()

    def do_adopt(self, step: Mapping[str, Any]) -> None:
        with parts(self.settings()) as built:
            assert built.commands.adopter.adopt(self.world.repository)

    def do_repository(self, step: Mapping[str, Any]) -> None:
        self.monkeypatch.setattr(
            "metasync.lakefs.client.LakeFS.get_repository", _another(self.world.lake.lakefs.get_repository)
        )

    def do_apply(self, step: Mapping[str, Any]) -> None:
        self.result = Result(self.world.repository, ())
        with parts(self.settings()) as built:
            for plan in built.decisions.waiting_plans():
                assert not built.commands.approver.apply(plan.id).failures

    def do_resolve(self, step: Mapping[str, Any]) -> None:
        with parts(self.settings()) as built:
            while found := built.decisions.conflicts():
                assert built.commands.resolver.resolve(found[0].id, step["resolve"]).outcomes[0].state == "done"

    def do_undo(self, step: Mapping[str, Any]) -> None:
        with parts(self.settings()) as built:
            assert not built.commands.undoer.undo(self.commits[step["undo"]]).failures

    # Tables

    def name(self, ref: str, table: str) -> TableName:
        return TableName.parse(self.world.name(table, None if ref == "main" else ref))

    def described(self, table: str, words: Any) -> Any:
        at = f"s3a://{self.world.repository}/{{ref}}"
        moved = {
            key: re.sub(r"^\{(\w+)\}", f"s3a://{self.world.repository}/\\1", value["location"])
            for key, value in _places(words)
        }
        if moved:
            words = {
                **words,
                "partitions": {key: {**value, "location": moved.get(key, "")} for key, value in _places(words)},
            }
        return definition(words, table, at)

    def bring(self, ref: str, table: str, words: Any) -> None:
        """Makes, changes or drops a table as people's engines would."""
        store, name = self.world.tables.metastore, self.name(ref, table)
        if words is None:
            store.drop_table(name)
            return
        wanted = self.described(table, words)
        live = store.get_table(name)
        home = Home(self.world.repository, ref)
        try:
            if live is not None:
                self.number += 1
                changed = changed_table(live, header_of(live, home), wanted.header, ref)
                stamp = {"transient_lastDdlTime": str(2_000_000_000 + self.number)}
                store.alter_table(replace(changed, parameters={**changed.parameters, **stamp}))
        except Incompatible:
            store.drop_table(name)
            live = None
        if live is None:
            made = table_from(wanted.header, name.database, name.table, ref)
            kind = TableType.MANAGED if ref == "main" else TableType.EXTERNAL
            store.create_table(replace(made, table_type=kind, parameters={**made.parameters, **_external(kind)}))
        now = store.get_table(name)
        assert now is not None
        there = {p.values: p for p in store.iter_partitions(name, now.partition_keys)}
        partitions = {p.values: partition_from(p, now, ref) for p in wanted.partitions.values()}
        store.add_partitions(name, [p for values, p in partitions.items() if values not in there])
        store.alter_partitions(name, [p for values, p in partitions.items() if values in there])
        store.drop_partitions(name, now.partition_keys, [values for values in there if values not in partitions])

    # Expectations

    def do_expect(self, step: Mapping[str, Any]) -> None:
        said = dict(step["expect"])
        with parts(self.settings()) as built:
            if "conflicts" in said:
                found: dict[str, dict[str, str]] = {}
                for row in built.decisions.conflicts():
                    found.setdefault(row.logical.table, {})[item_name(row.path)] = row.reason
                assert found == said.pop("conflicts")
            if "withheld" in said:
                plans = [p.plan.merges[0] for p in built.decisions.waiting_plans()]
                words = {m.logical.table: [describe_item(item) for item in m.items] for m in plans}
                assert words == said.pop("withheld")
            for ref, source in said.pop("refs", {}).items():
                assert [row.source for _, row in built.refs.every() if row.ref.name == ref] == [source]
        assert self.notices >= set(said.pop("notices", []))
        if "pending" in said:
            assert any(plan.pending for plan in self.result.plans) is said.pop("pending")
        assert bool(self.result.refused) is said.pop("refused", False)
        for ref, names in said.pop("mirrors", {}).items():
            assert self.world.tables.tables(self.name(ref, "x").database) == names
        for ref in said.pop("gone", []):
            assert self.name(ref, "x").database not in self.world.tables.databases()
        without = said.pop("without", [])
        for ref, tables in said.items():
            for table, words in tables.items():
                self.stands(ref, table, words, without)

    def stands(self, ref: str, table: str, words: Any, without: list[str]) -> None:
        store, name = self.world.tables.metastore, self.name(ref, table)
        live = store.get_table(name)
        assert (live is None) is (words == "absent"), f"{name} {words}"
        if live is None:
            return
        assert not set(without) & set(live.parameters)
        if "columns" in words:
            assert live.sd.cols == fields(words["columns"]), name
        if "type" in words:
            assert live.table_type == words["type"]
        for key, value in words.get("parameters", {}).items():
            assert live.parameters.get(key) == value, name
        if "partitions" in words:
            home = Home(self.world.repository, ref)
            found = {p.values[0]: partition_of(p, live, home) for p in store.iter_partitions(name, live.partition_keys)}
            assert sorted(found) == sorted(words["partitions"])
            for key, more in words["partitions"].items() if isinstance(words["partitions"], Mapping) else ():
                assert found[key].columns == (fields(more["columns"]) if "columns" in more else None)


def _places(words: Any) -> list[tuple[str, Any]]:
    partitions = words.get("partitions", {})
    return (
        [(key, value) for key, value in partitions.items() if "location" in value]
        if isinstance(partitions, Mapping)
        else []
    )


def _external(kind: TableType) -> dict[str, str]:
    return {"EXTERNAL": "TRUE"} if kind is TableType.EXTERNAL else {}


def _another(real: Callable[[str], Any]) -> Callable[[Any, str], Any]:
    """A lakeFS on which the repository was made later."""
    return lambda _, name: replace(real(name), creation_date=1)


@pytest.mark.parametrize("case", HISTORIES, ids=str)
def test_history(world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(world, case, monkeypatch)
    for step in case.words["steps"]:
        play.play(step)


def test_every_scenario_has_its_case() -> None:
    assert {case.words["scenario"] for case in HISTORIES if "scenario" in case.words} == set(range(1, 35))
    assert len(cases()) >= 150
