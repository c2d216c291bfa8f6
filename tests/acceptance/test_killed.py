"""kill -9 of `serve` after each of its calls to the metastore, in turn, through a birth, a merge and an end.

After the restart the state must be the one that a run without a kill leaves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metasync.model.hms import TableName
from metasync.wiring import parts
from tests.conftest import World

MOST = 150
EVERY = int(os.environ.get("METASYNC_KILLS_EVERY", "1"))
"""Kill after each call; after every third one where time is short (`.ci/run`)."""


class Zygote:
    """The program that serves in forked children."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "zygote.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.forked_services"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def serve(self, config: Path, die_after: int = 0) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{config} {die_after}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer in ("killed", "settled"), (answer, Path(self._log.name).read_text()[-3000:])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    running = Zygote(tmp_path)
    yield running
    running.close()


def state(world: World, database: str) -> Any:
    """Tables and partitions of a database, without what differs from run to run."""
    found = {}
    for name in world.tables.tables(database):
        table = world.tables.table(f"{database}.{name}")
        volatile = ("transient_lastDdlTime", "metasync.name", "metasync.ref", "metasync.incarnation", "metasync.store")
        parameters = {k: v for k, v in table.parameters.items() if k not in volatile}
        partitions = {
            p.values: ([c.name for c in p.sd.cols], (p.sd.location or "").split("/", 4)[-1])
            for p in world.tables.metastore.iter_partitions(table.table_name, table.partition_keys)
        }
        location = (table.sd.location or "").split("/", 4)[-1]
        table = replace(
            table, parameters=parameters, create_time=0, database="", sd=replace(table.sd, location=location)
        )
        found[name] = (table, partitions)
    return found


def prepare(world: World) -> None:
    world.rule = "    merge: full\n"
    world.create_table("t", "id:bigint amount:double", "dt:string")
    world.tables.add_partitions(world.name("t"), ("1",), ("2",))
    world.create_table("plain", "id:bigint")


def work(world: World, branch: str) -> None:
    """What somebody does on a branch before merging it."""
    number = branch.removeprefix("dev-")
    world.tables.add_column(world.name("t", branch), f"c{number}", "string")
    world.tables.add_partitions(world.name("t", branch), (f"new-{number}",))
    world.tables.drop_partitions(world.name("t", branch), ("1",))
    where = world.location(f"wh/born{number}", branch)
    world.tables.create_table(world.name(f"born{number}", branch), where, [("id", "bigint")], [("k", "string")])
    world.tables.add_partitions(world.name(f"born{number}", branch), ("1",))
    world.lake.write(branch, f"wh/t/dt=new-{number}/f", f"wh/born{number}/k=1/f")


def test_a_kill_after_any_call_changes_nothing_in_the_end(world: World, zygote: Zygote) -> None:
    prepare(world)
    config = world.folder / "metasync.yaml"
    config.write_text(world.text(), encoding="utf-8")
    zygote.serve(config)
    # A run without a kill is what every other must come to.
    world.branch("dev-0")
    zygote.serve(config)
    expected_birth = state(world, f"{world.database}__dev_0")
    assert set(expected_birth) == {"t", "plain"} and set(expected_birth["t"][1]) == {("1",), ("2",)}
    world.lake.delete_branch("dev-0")
    zygote.serve(config)
    done = {"birth": False, "merge": False, "end": False}
    kills = 0
    for number in range(1, MOST, EVERY):
        branch, mirror = f"dev-{number}", f"{world.database}__dev_{number}"
        world.branch(branch)
        if not done["birth"]:
            killed = zygote.serve(config, number) == "killed"
            kills, done["birth"] = kills + killed, not killed
        zygote.serve(config)
        born = state(world, mirror)
        assert set(born) == set(world.tables.tables(world.database)), f"birth, killed after call {number}"
        if number == 1:
            assert born == expected_birth
        assert all("metasync.making" not in t.parameters for t, _ in born.values())
        if not done["merge"]:
            work(world, branch)
            before = state(world, world.database)
            world.lake.merge(branch)
            killed = zygote.serve(config, number) == "killed"
            kills, done["merge"] = kills + killed, not killed
            zygote.serve(config)
            check_merge(world, number, before)
            # As it was, so that every round has the same calls.
            world.tables.add_partitions(world.name("t"), ("1",))
            world.tables.drop_partitions(world.name("t"), (f"new-{number}",))
            world.tables.drop_table(world.name(f"born{number}"))
        world.lake.delete_branch(branch)
        if not done["end"]:
            killed = zygote.serve(config, number) == "killed"
            kills, done["end"] = kills + killed, not killed
        zygote.serve(config)
        assert mirror not in world.tables.databases(), f"end, killed after call {number}"
        if all(done.values()):
            break
    assert all(done.values()), "more calls than expected: raise MOST"
    assert kills > 40 // EVERY, kills
    with parts(world.settings()) as built:
        assert built.decisions.conflicts() == () and built.decisions.waiting_plans() == ()
        created = [h for h in built.history.rows(limit=10_000) if h.action == "merged"]
        assert len({(h.cause, h.logical) for h in created}) == len(created), "a merge was recorded twice"


def check_merge(world: World, number: int, before: Any) -> None:
    where = f"merge, killed after call {number}"
    now = state(world, world.database)
    assert set(now) == {*before, f"born{number}"}, where
    columns = [c.name for c in now["t"][0].sd.cols]
    assert columns == [*(c.name for c in before["t"][0].sd.cols), f"c{number}"], where
    assert set(now["t"][1]) == ({*before["t"][1], (f"new-{number}",)} - {("1",)}), where
    assert now["t"][1][("2",)][0] == columns, where
    assert now["t"][1][(f"new-{number}",)] == (columns, f"wh/t/dt=new-{number}"), where
    assert set(now[f"born{number}"][1]) == {("1",)}, where
    born = world.tables.metastore.get_table(TableName(world.database, f"born{number}"))
    assert born is not None and not [k for k in born.parameters if k.startswith("metasync.")], where
    assert now["plain"] == before["plain"], where
