"""The installed command as people run it: a subprocess, its output, its exit code, its signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metasync.sandbox.metastore import free_port
from tests import commands
from tests.commands import COMMAND, run, run_json
from tests.conftest import World, until


@contextmanager
def serving(world: World) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    log = world.folder / "serve.log"
    with commands.serving(world.config(), log) as (process, url):
        yield process, url, log


def post(url: str, token: str, body: dict[str, str]) -> int:
    data, headers = json.dumps(body).encode(), {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/hooks/lakefs", data, headers), timeout=20) as answer:
        return int(answer.status)


def test_from_plan_to_history(world: World) -> None:
    world.create_table("t", "id:bigint old:string", "dt:string")
    world.branch("dev-1")
    assert "+ mirror" in run(world, "plan", "--check", code=3)
    assert not world.tables.exists(world.name("t", "dev-1"))
    assert "1 done" in run(world, "reconcile")
    assert "nothing to do" in run(world, "plan", "--check")
    refs = {row["ref"]: row for row in run_json(world, "refs")["items"]}
    assert refs["branch/dev-1"]["mirrors_made"] == 1 and refs["branch/dev-1"]["state"] == "live"
    world.tables.drop_column(world.name("t", "dev-1"), "old")
    world.tables.set_parameter(world.name("t", "dev-1"), "comment", "dev")
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    run(world, "reconcile")
    status = run_json(world, "status")
    (plan,) = [need for need in status["attention"] if need["kind"] == "withheld"]
    assert "-column old" in plan["message"] and world.tables.columns(world.name("t")) == ["id", "old"]
    run(world, "apply", str(plan["number"]))
    assert world.tables.columns(world.name("t")) == ["id"]
    assert "is applied already" in run(world, "apply", str(plan["number"]), code=2)
    world.tables.set_parameter(world.name("t"), "comment", "main")
    world.tables.set_parameter(world.name("t", "dev-1"), "comment", "dev again")
    world.lake.write("dev-1", "wh/t/g")
    world.lake.merge("dev-1")
    run(world, "reconcile", code=4)
    (conflict,) = run_json(world, "conflicts")["items"]
    assert (conflict["ours"], conflict["theirs"]) == ("main", "dev again")
    run(world, "resolve", str(conflict["id"]), "--theirs")
    assert world.tables.table(world.name("t")).parameters["comment"] == "dev again"
    assert run_json(world, "conflicts")["items"] == []
    actions = [row["action"] for row in run_json(world, "history", world.repository)["items"]]
    assert actions.count("merged") == 3 and actions.count("created") == 1
    run(world, "resolve", "99", "--ours", code=2)
    run(world, "apply", "99", code=2)


def test_explain_and_configuration(world: World, tmp_path: Path) -> None:
    world.rule = "    canonical_branch: main\n"
    text = run(world, "explain", world.repository, "dev-7", f"{world.database}.t")
    assert f"mirrored as {world.database}__dev_7.t" in text
    assert "is not mirrored" in run(world, "explain", world.repository, "other", f"{world.database}.t")
    assert "canonical" in run(world, "explain", world.repository, "main", f"{world.database}.t")
    run(world, "explain", world.repository, "dev-7", "nodot", code=2)
    assert "good, 1 rules" in run(world, "config", "check")
    shown = run(world, "config", "show")
    assert "sandbox-token" not in shown and world.sandbox.lakefs.secret_access_key not in shown
    assert json.loads(run(world, "config", "schema"))["title"] == "Settings"
    world.rule += "    merg: full\n"
    assert "did you mean 'merge'" in run(world, "config", "check", code=2)
    fresh = tmp_path / "new" / "metasync.yaml"
    fresh.parent.mkdir()
    init = [COMMAND, "-c", str(fresh), "config", "init", "--lakefs", "http://l", "--metastore", "thrift://m:1"]
    assert subprocess.run([*init, "--repository", "lake"], check=False).returncode == 0
    assert subprocess.run([COMMAND, "-c", str(fresh), "config", "check"], check=False).returncode == 0
    assert subprocess.run([*init, "--repository", "lake"], check=False).returncode == 2


def test_a_command_that_is_almost_one(world: World) -> None:
    assert "Did you mean 'status'?" in run(world, "stauts", code=2)


def test_doctor_says_what_is_wrong(world: World) -> None:
    assert "version" in run(world, "doctor")
    world.extra = "reconcile: {schedule: '0 0 * * *'}\n"
    config = world.config()
    config.write_text(world.text().replace(world.sandbox.metastore.uri, "thrift://127.0.0.1:1"))
    done = subprocess.run([COMMAND, "-c", str(config), "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "x metastore: no metastore answers" in done.stdout


def test_an_outage_is_one_line_and_drops_nothing(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    run(world, "reconcile")
    config = world.config()
    for address in (world.sandbox.metastore.uri, world.sandbox.lakefs.url):
        scheme = address.partition("://")[0]
        config.write_text(world.text().replace(address, f"{scheme}://127.0.0.1:1"))
        done = subprocess.run([COMMAND, "-c", str(config), "reconcile"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr
        assert "stamina" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert world.tables.exists(world.name("t", "dev-1"))


def test_an_empty_lakefs_of_the_same_address_ends_nothing(world: World) -> None:
    world.create_table("t")
    world.branch("dev-1")
    run(world, "reconcile")
    from metasync.sandbox.standin import StandIn

    other = StandIn()
    other.start()
    try:
        config = world.config()
        config.write_text(world.text().replace(world.sandbox.lakefs.url, other.url))
        done = subprocess.run([COMMAND, "-c", str(config), "reconcile"], capture_output=True, text=True, check=False)
        assert "no such repository" in done.stdout and done.returncode == 0
    finally:
        other.stop()
    assert world.tables.exists(world.name("t", "dev-1"))


def test_serve_takes_a_webhook_and_sigterm_ends_it(world: World) -> None:
    world.extra = "events: {poll: {interval: 1h}}\n"
    world.create_table("t")
    with serving(world) as (process, url, log):
        until("the first look", lambda: b"reconciled" in log.read_bytes())
        world.branch("dev-1")
        body = {"event_type": "post-create-branch", "repository_id": world.repository, "branch_id": "dev-1"}
        assert post(url, "sandbox-token", body | {"source_ref": "main"}) == 202
        until("the mirror", lambda: world.tables.exists(world.name("t", "dev-1")))
        until("the event is done", lambda: run_json(world, "status")["queued_events"] == 0)
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert b"sandbox-token" not in log.read_bytes()
        assert world.sandbox.lakefs.secret_access_key.encode() not in log.read_bytes()
    kinds = [row["event"] for row in run_json(world, "events", "list")["items"]]
    assert kinds == ["post-create-branch", "start"]


def test_a_metastore_that_is_away_keeps_events_until_it_is_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.extra = "events: {poll: {interval: 1h}, retry_delay: 1s}\n"
    port = free_port()
    real = world.sandbox.metastore.uri
    world.create_table("t")
    world.branch("dev-1")
    text = world.text().replace(f"uris: [{real}]", f"uris: [thrift://127.0.0.1:{port}]")
    monkeypatch.setattr(world, "text", lambda: text)
    with serving(world) as (process, url, log):
        until("it is tried again", lambda: b"tried again" in log.read_bytes())
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        forward = subprocess.Popen([sys.executable, "-c", FORWARD, str(port), real.rpartition(":")[2]])
        try:
            until("the mirror", lambda: world.tables.exists(world.name("t", "dev-1")))
        finally:
            forward.kill()
            forward.wait()
        assert process.poll() is None


FORWARD = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def pump(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)
while True:
    here = server.accept()[0]
    there = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in ((here, there), (there, here)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def test_a_server_that_others_can_reach_needs_a_token(world: World) -> None:
    config = world.config()
    text = world.text().partition("server:")
    config.write_text(f"{text[0]}server: {{listen: '0.0.0.0:{free_port()}'}}\n{text[2].partition(chr(10))[2]}")
    done = subprocess.run([COMMAND, "-c", str(config), "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "server.token is needed" in done.stderr


def test_hooks_are_installed_and_delivered(world: World) -> None:
    world.extra = "events: {poll: {interval: 1h}}\n"
    world.create_table("t")
    printed = run(world, "hooks", "print", "--url", "http://metasync:8765", "--lakefs-version", "1.60.0")
    assert "post-create-branch" in printed and "post-cherry-pick" not in printed and "pre-" not in printed
    with serving(world) as (_, url, log):
        until("the first look", lambda: b"reconciled" in log.read_bytes())
        assert "committed" in run(world, "hooks", "install", world.repository, "--url", url)
        assert "already" in run(world, "hooks", "install", world.repository, "--url", url)
        names = iter(range(1000))

        def delivered() -> bool:
            # lakeFS keeps action files for some seconds, so the first branches may send nothing.
            world.branch(f"dev-{next(names)}")
            return b"post-create-branch" in run(world, "events", "list", "-o", "json").encode()

        until("an event of lakeFS's own", delivered)
        until("the mirror", lambda: world.tables.exists(world.name("t", "dev-0")))


def test_the_sandbox_says_how_to_reach_it_and_ends_both(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "sandbox", "--folder", str(tmp_path / "sandbox"), "--repository", "lake"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    while "stop with Ctrl-C" not in (line := process.stdout.readline()):
        assert line or process.poll() is None, lines
        lines.append(line.rstrip())
    text = "\n".join(lines)
    assert "lakeFS" in text and "(Hive Metastore 2.3.9, real, on Derby)" in text
    configuration = "\n".join(line[4:] for line in lines if line.startswith("    "))
    port = int(configuration.partition("thrift://127.0.0.1:")[2].partition("]")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_people_compare_merge_and_take_back(world: World) -> None:
    world.create_table("t", "id:bigint old:int")
    world.branch("dev-1")
    run(world, "reconcile")
    mirror, main = world.name("t", "dev-1"), world.name("t")
    world.tables.add_column(mirror, "b", "int")
    world.tables.set_parameter(mirror, "k", "dev")
    shown = run(world, "diff", world.repository, "main", "dev-1")
    assert f"~ {main}" in shown and "+     column b int" in shown and "1 tables differ" in shown
    would = run(world, "diff", world.repository, "dev-1", "main", "--merge")
    assert "+column b int" in would and "1 to alter" in would
    assert (
        run_json(world, "diff", world.repository, "main", "dev-1")["items"][0]["items"][0]["words"] == "+column b int"
    )
    run(world, "merge", world.repository, "dev-1", "main")
    assert world.tables.columns(main) == ["id", "old", "b"]
    newest = run_json(world, "history", world.repository, "--table", main)["items"][0]
    assert (newest["changes"], newest["merged_from"]) == ("+column b int, +parameter k", "branch/dev-1")
    assert newest["by"] and newest["commit"].startswith("metadata-")
    assert "say the REPOSITORY too" in run(world, "history", "--table", main, code=2)
    commit = newest["commit"]
    assert "undo of merge" in run(world, "undo", commit, "--dry-run")
    assert world.tables.columns(main) == ["id", "old", "b"]
    run(world, "undo", commit)
    assert world.tables.columns(main) == ["id", "old"]
    run(world, "undo", "no-such-merge", code=2)
    run(world, "merge", world.repository, "dev-1", code=2)
    run(world, "diff", world.repository, "main", "nowhere", code=2)


def test_conflicts_are_settled_item_by_item(world: World) -> None:
    world.create_table("t", k="1", j="1")
    world.branch("dev-1")
    run(world, "reconcile")
    for name, ref in ((world.name("t"), "main"), (world.name("t", "dev-1"), "dev")):
        world.tables.set_parameter(name, "k", ref)
        world.tables.set_parameter(name, "j", ref)
    world.lake.write("dev-1", "wh/t/f")
    world.lake.merge("dev-1")
    run(world, "reconcile", code=4)
    listed = run(world, "conflicts")
    assert "parameter k" in listed and "changed-on-both" in listed
    number = str(run_json(world, "conflicts")["items"][0]["id"])
    assert "is not in conflict; these are: 'parameter j', 'parameter k'" in run(
        world, "resolve", number, "--ours", "--item", "column x", code=2
    )
    assert "parameter j" in run(world, "resolve", number, "--theirs", "--item", "parameter k")
    run(world, "resolve", number, "--ours")
    parameters = world.tables.table(world.name("t")).parameters
    assert (parameters["k"], parameters["j"]) == ("dev", "main")
