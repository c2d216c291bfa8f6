"""Commands by which a person decides: what they print, what they ask, what they leave alone."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from tests.commands import COMMAND, run, run_json
from tests.conftest import World


def conflict(world: World, tables: int = 1) -> None:
    for number in range(tables):
        world.create_table(f"t{number}")
    world.branch("dev-1")
    run(world, "reconcile")
    for number in range(tables):
        world.tables.set_parameter(world.name(f"t{number}"), "comment", "main")
        world.tables.set_parameter(world.name(f"t{number}", "dev-1"), "comment", "dev")
    world.lake.write("dev-1", "wh/x/f")
    world.lake.merge("dev-1")
    assert "in conflict" in run(world, "reconcile", code=4)


def at_terminal(world: World, typed: str, *arguments: str) -> tuple[int, str]:
    """Runs a command at a terminal, where somebody types."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "-c", str(world.config()), *arguments], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    return process.wait(timeout=60), said.decode(errors="replace")


def test_a_side_is_said_once_and_the_last_choice_counts(world: World) -> None:
    conflict(world)
    (row,) = run_json(world, "conflicts")["items"]
    number = str(row["id"])
    assert "say one of" in run(world, "resolve", number, "--theirs", "--ours", code=2)
    assert "say one of" in run(world, "resolve", number, code=2)
    from metasync.wiring import parts

    with parts(world.settings()) as built:
        # A former attempt chose, and was not carried out.
        built.decisions.choose({row["id"]: "ours"})
    run(world, "resolve", number, "--theirs")
    assert world.tables.table(world.name("t0")).parameters["comment"] == "dev"


def test_plan_lists_what_waits_for_a_person(world: World) -> None:
    conflict(world)
    said = run(world, "plan")
    assert "1 in conflict; see: metasync conflicts" in said
    world.create_table("u", "id:bigint old:string")
    world.branch("dev-2")
    run(world, "reconcile")
    world.tables.drop_column(world.name("u", "dev-2"), "old")
    world.lake.write("dev-2", "wh/u/f")
    world.lake.merge("dev-2")
    run(world, "reconcile")
    (need,) = [need for need in run_json(world, "status")["attention"] if need["kind"] == "withheld"]
    number = str(need["number"])
    assert f"plan {number} waits" in run(world, "plan") and f"metasync show {number}" in run(world, "plan")
    assert "-column old" in run(world, "show", number)
    assert run_json(world, "show", number)["about"]["id"] == need["number"]
    assert "no plan 99" in run(world, "show", "99", code=2)
    code, said = at_terminal(world, "n\n", "apply", number)
    assert code == 0 and "-column old" in said and "nothing is changed" in said
    assert world.tables.columns(world.name("u")) == ["id", "old"]
    code, said = at_terminal(world, "y\n", "apply", number)
    assert code == 0 and world.tables.columns(world.name("u")) == ["id"]


def test_what_the_limits_hold_back_holds_up_nothing_and_can_be_applied(world: World) -> None:
    world.extra = "safety: {max_ref_drops: 2}\n"
    world.create_table("t")
    for number in range(4):
        world.branch(f"dev-{number}")
    run(world, "reconcile")
    for number in range(3):
        world.lake.delete_branch(f"dev-{number}")
    world.branch("dev-9")
    said = run(world, "reconcile", code=5)
    assert world.tables.exists(world.name("t", "dev-9")) and world.tables.exists(world.name("t", "dev-0"))
    (need,) = [need for need in run_json(world, "status")["attention"] if need["kind"] == "unsafe"]
    assert f"to do it: metasync apply {need['number']}" in said
    # What has nothing to do with it moves on, one more branch goes, and the number still holds.
    world.tables.add_column(world.name("t"), "later", "int")
    world.lake.write("main", "wh/t/later")
    world.lake.delete_branch("dev-3")
    run(world, "reconcile", code=5)
    run(world, "apply", str(need["number"]))
    for number in range(3):
        assert f"{world.database}__dev_{number}" not in world.tables.databases()
    assert world.tables.exists(world.name("t", "dev-3")) and world.tables.exists(world.name("t", "dev-9"))
    run(world, "reconcile")
    assert f"{world.database}__dev_3" not in world.tables.databases()


def test_history_is_what_was_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t")
    world.create_table("u")
    world.branch("dev-1")
    run(world, "reconcile")
    text = world.text
    monkeypatch.setattr(world, "text", lambda: text().replace(f'"{world.database}.*"', f'"{world.database}.t"'))
    run(world, "reconcile")
    run(world, "prune", "--yes")
    rows = run_json(world, "history", world.repository)["items"]
    dropped = [row for row in rows if row["action"] == "dropped"]
    assert len(dropped) == 1 and "prune" in dropped[0]["cause"] and "deletion" not in dropped[0]["cause"]
    assert not [row for row in rows if row["action"] == "dropped-database"], "it still holds a table"
    assert world.tables.exists(world.name("t", "dev-1"))


def test_repair_shows_its_plan_and_asks(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    run(world, "reconcile")
    world.tables.drop_table(world.name("t", "dev-1"))
    run(world, "reconcile")
    asked = ("repair", world.repository, "dev-1")
    shown = run(world, *asked)
    assert "it was dropped on this ref" in shown and "nothing to do" in shown
    again = (*asked, "--recreate", world.name("t"))
    assert "1 to create" in run(world, *again, "--dry-run") and not world.tables.exists(world.name("t", "dev-1"))
    code, said = at_terminal(world, "n\n", *again)
    assert code == 0 and "Do this?" in said and not world.tables.exists(world.name("t", "dev-1"))
    code, said = at_terminal(world, "y\n", *again)
    assert code == 0 and world.tables.exists(world.name("t", "dev-1"))
    assert "canonical" in run(world, "repair", world.repository, "main", code=2)


def test_adopt_on_a_healthy_store_changes_nothing(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    run(world, "reconcile")
    assert "nothing is changed" in run(world, "adopt", world.repository, "--yes")
    world.tables.add_column(world.name("t", "dev-1"), "a", "int")
    world.tables.set_parameter(world.name("t"), "comment", "main")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    run(world, "reconcile")
    assert "a" in world.tables.columns(world.name("t")), "the merge base is still known"
    assert world.name("t", "dev-1") in run(world, "adopt", world.repository, "--yes", "--force")


def test_errors_are_json_where_answers_are(world: World) -> None:
    command = [COMMAND, "-c", str(world.config()), "--output", "json"]
    for arguments, code in (
        (["apply", "99"], "usage-error"),
        (["apply", "x"], "usage-error"),
        (["conflicts", "--no"], "usage-error"),
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        found = json.loads(done.stderr)
        assert (found["kind"], found["code"], done.returncode) == ("metasync.error/v1", code, 2), done.stderr


def test_an_undo_names_what_it_does_not_cover(world: World) -> None:
    world.create_table("t", "id:bigint old:int")
    world.branch("dev-1")
    run(world, "reconcile")
    world.tables.add_column(world.name("t", "dev-1"), "new", "int")
    world.tables.drop_column(world.name("t", "dev-1"), "old")
    world.lake.write("dev-1", "wh/t/f")
    commit = world.lake.merge("dev-1")
    run(world, "reconcile")
    (need,) = [need for need in run_json(world, "status")["attention"] if need["kind"] == "withheld"]
    run(world, "apply", str(need["number"]))
    assert world.tables.columns(world.name("t")) == ["id", "new"]
    said = run(world, "undo", commit[:12], "--dry-run")
    assert f"plan {need['number']}" in said and "is not taken back" in said and "metasync undo" in said
    world.tables.set_parameter(world.name("t"), "comment", "since")
    run(world, "undo", commit[:12])
    assert world.tables.columns(world.name("t")) == ["id"]
