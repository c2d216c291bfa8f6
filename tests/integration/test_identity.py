"""Stores that are lost, restored or two: nothing is written by one that cannot know, until a person says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metasync.engine.controller import Result
from metasync.engine.scope import Scope
from metasync.errors import MetastoreUnavailable, UsageError
from metasync.metastore.client import Metastore
from metasync.model.hms import TableName
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.conftest import World


def back_up(world: World) -> Callable[[], None]:
    """Copies the store; gives what restores it."""
    with parts(world.settings()) as built, built.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
        copies = {file: world.folder / f"backup-{file.name}" for file in world.folder.glob("metasync.db*")}
        for file, copy in copies.items():
            shutil.copy(file, copy)

    def restore() -> None:
        world.lose_store()
        for file, copy in copies.items():
            shutil.copy(copy, file)

    return restore


def kinds(result: Result) -> set[str]:
    return {n.kind for plan in result.plans for n in (*plan.refusals, *plan.notices)}


def adopt(world: World) -> None:
    with parts(world.settings()) as built:
        assert built.commands.adopter.adopt(world.repository)


def marks(world: World, table: str, ref: str) -> dict[str, str]:
    parameters = world.tables.table(world.name(table, ref)).parameters
    return {k: v for k, v in parameters.items() if k.startswith("metasync.")}


def test_a_new_store_writes_nothing_before_it_adopts_what_it_finds(world: World) -> None:
    world.create_table("t", comment="old")
    world.branch("dev-1")
    world.sync()
    before = marks(world, "t", "dev-1")
    world.tables.set_parameter(world.name("t"), "comment", "new on main")
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lose_store()
    world.branch("dev-2")
    world.lake.delete_branch("dev-1")
    result = world.sync()
    # dev-1 is gone from lakeFS and was never seen by this store: its mirror is not this store's to drop.
    assert not result.refused and world.tables.exists(world.name("t", "dev-1"))
    world.lake.create_branch("dev-1")
    result = world.sync()
    assert "another installation" in result.refused and "other-store" in kinds(result) and not result.outcomes
    assert marks(world, "t", "dev-1") == before
    with parts(world.settings()) as built, pytest.raises(UsageError, match="metasync adopt"):
        built.controller.execute(None, built.controller.plan(Scope(world.repository)).plans[0])  # type: ignore[arg-type]
    adopt(world)
    assert not world.sync().failures
    after = marks(world, "t", "dev-1")
    assert after["metasync.store"] != before["metasync.store"] and after["metasync.incarnation"] == "1"
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    assert world.sync().conflicts == 1
    assert world.tables.table(world.name("t")).parameters["comment"] == "new on main"
    assert world.tables.columns(world.name("t")) == ["id"]
    world.lake.delete_branch("dev-1")
    world.sync()
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_after_adopting_what_both_sides_have_alike_becomes_the_base(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.lose_store()
    world.sync()
    adopt(world)
    world.sync()
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    assert not world.sync().conflicts
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    assert not world.sync().conflicts
    assert world.tables.columns(world.name("t")) == ["id", "a"]


def test_a_mirror_that_was_half_built_when_the_store_was_lost_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_table("t", "id:bigint", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.create_table("u")
    world.branch("dev-1")

    def fail(*_: object) -> None:
        raise MetastoreUnavailable("gone for a moment")

    monkeypatch.setattr(Metastore, "alter_partitions", fail)
    assert world.sync().failures
    monkeypatch.undo()
    assert "metasync.making" in world.tables.table(world.name("t", "dev-1")).parameters
    world.lose_store()
    assert world.sync().refused
    adopt(world)
    assert not world.sync().failures
    assert "metasync.making" not in world.tables.table(world.name("t", "dev-1")).parameters
    assert world.tables.partitions(world.name("t", "dev-1")) == [("1",), ("2",)]
    assert world.tables.exists(world.name("u", "dev-1"))


def test_a_mirror_whose_ref_went_with_the_store_ends_after_adopting(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.lose_store()
    world.lake.delete_branch("dev-1")
    world.sync()
    adopt(world)
    world.sync()
    assert f"{world.database}__dev_1" not in world.tables.databases()


def test_a_restored_store_notices_and_does_not_repeat_what_somebody_took_back(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    restore = back_up(world)
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    world.sync()
    assert world.tables.columns(world.name("t")) == ["id", "a"]
    world.tables.drop_column(world.name("t"), "a")
    world.branch("dev-2")
    world.sync()
    restore()
    result = world.sync()
    assert "older-store" in kinds(result) and "restored" in result.refused and not result.outcomes
    adopt(world)
    assert world.sync().conflicts == 1
    assert world.tables.columns(world.name("t")) == ["id"]
    assert world.tables.exists(world.name("t", "dev-2")) and world.tables.exists(world.name("t", "dev-1"))


def test_a_restored_store_counts_lives_as_the_marks_do(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    restore = back_up(world)
    world.lake.delete_branch("dev-1")
    world.sync()
    world.branch("dev-1")
    world.sync()
    assert marks(world, "t", "dev-1")["metasync.incarnation"] == "2"
    restore()
    assert world.sync().refused
    adopt(world)
    assert not world.sync().refused
    world.lake.delete_branch("dev-1")
    world.sync()
    assert f"{world.database}__dev_1" not in world.tables.databases()


class Other:
    """A second installation on the same lake and metastore, with a store of its own."""

    def __init__(self, world: World, folder: Path, instance: str) -> None:
        folder.mkdir()
        text = world.text().replace(str(world.folder / "metasync.db"), str(folder / "metasync.db"))
        self.settings = parse_settings(text.replace(f"instance: t{world.database}", f"instance: {instance}"), "x", {})
        self.world = world

    def sync(self) -> Result:
        with parts(self.settings) as built:
            return built.controller.sync(Scope(self.world.repository, full=True))

    def parts(self) -> Parts:
        return parts(self.settings)  # type: ignore[return-value]


def test_two_installations_of_one_name_notice_each_other(world: World, tmp_path: Path) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    other = Other(world, tmp_path / "other", f"t{world.database}")
    assert "another installation" in other.sync().refused
    # The incumbent goes on, and the newcomer stays refused for what it sees later too.
    world.branch("dev-2")
    assert not world.sync().refused
    with parts(other.settings) as built:
        assert built.controller.sync(Scope(world.repository)).refused
        built.commands.adopter.adopt(world.repository)
    assert not other.sync().refused
    # Now the former incumbent is the one that cannot know.
    refused = world.sync()
    assert refused.refused and not refused.outcomes
    world.lake.delete_branch("dev-2")
    other.sync()
    assert not world.tables.exists(world.name("t", "dev-2")) and world.tables.exists(world.name("t", "dev-1"))


def test_two_installations_of_different_names_leave_each_other_alone(world: World, tmp_path: Path) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    before = marks(world, "t", "dev-1")
    other = Other(world, tmp_path / "other", "someone-else")
    result = other.sync()
    assert "foreign-table" in kinds(result) and not result.refused
    world.lake.delete_branch("dev-1")
    other.sync()
    assert marks(world, "t", "dev-1") == before
    world.sync()
    assert not world.tables.exists(world.name("t", "dev-1"))


def test_a_drop_asks_whose_the_table_is_once_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other installation takes the mirror over between the look and the drop."""
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    world.lake.delete_branch("dev-1")
    real = Metastore.get_table
    name = TableName.parse(world.name("t", "dev-1"))
    taken: list[str] = []

    def get(self: Metastore, wanted: TableName) -> object:
        if wanted == name and not taken:
            taken.append("now")
            world.tables.set_parameter(str(name), "metasync.store", "somebody")
        return real(self, wanted)

    monkeypatch.setattr(Metastore, "get_table", get)
    result = world.sync()
    assert taken and result.conflicts == 1 and world.tables.exists(str(name))


def test_a_restored_store_that_missed_a_creation_is_noticed(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    world.sync()
    restore = back_up(world)
    world.branch("dev-2")
    world.sync()
    before = marks(world, "t", "dev-2")
    restore()
    result = world.sync()
    assert "older-store" in kinds(result) and result.refused and marks(world, "t", "dev-2") == before
    adopt(world)
    assert not world.sync().refused and world.tables.exists(world.name("t", "dev-2"))
    world.lake.delete_branch("dev-2")
    world.sync()
    assert f"{world.database}__dev_2" not in world.tables.databases()
