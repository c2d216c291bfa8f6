"""The JSON API: schemathesis against a service that runs, the answers' schemas, and the command line over it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from metasync.application import answers
from metasync.sandbox.stack import Sandbox
from tests.commands import COMMAND
from tests.conftest import SPARES, World
from tests.showcase import TOKEN, performed, stage

EXAMPLES = 12
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> World:
    return stage(sandbox, tmp_path_factory.mktemp("api"), SPARES[1], "api", create=True)


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[str]:
    with performed(world, acts=False) as url:
        yield url


def test_no_answer_without_the_token(service: str) -> None:
    for path in ("status", "openapi.json", "refs", "events/1"):
        answer = httpx.get(f"{service}/api/v1/{path}")
        assert answer.status_code == 401, path
        problem = answers.Problem.model_validate_json(answer.content)
        assert problem.code == "unauthorized" and "Bearer" in problem.error
    assert httpx.post(f"{service}/api/v1/undo", json={"name": "1"}).status_code == 401


def over(service: str, *arguments: str, code: int = 0, token: str = TOKEN) -> Any:
    environment = {**os.environ, "METASYNC_TOKEN": token}
    command = [COMMAND, "--server", service, "--output", "json", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_the_commands_over_a_service(service: str, world: World, tmp_path: Path) -> None:
    name, orders = world.repository, f"{world.database}.orders"
    status = over(service, "status")
    assert status["kind"] == "metasync.status/v1"
    assert {system["name"]: system["ok"] for system in status["systems"]}["store"] is True
    refs = {row["ref"]: row for row in over(service, "refs", name)["items"]}
    assert refs["branch/dev-1"]["mirrors_made"] == 2
    log = over(service, "history", name, "--table", orders)["items"]
    assert any(line["merged_from"] == "branch/dev-1" for line in log)
    assert over(service, "explain", name, "dev-9", orders)["mirror"] == f"{world.database}__dev_9.orders"
    assert over(service, "search", "orders")["items"][0]["name"] == orders
    assert over(service, "diff", name, "main", "dev-2")["items"]
    assert over(service, "diff", name, "dev-2", "main", "--merge")["kind"] == "metasync.plans/v2"
    assert over(service, "plan", name)["items"][0]["repository"] == name
    assert over(service, "wait", name, "dev-1")["state"] == "ready"
    assert "no rule" in over(service, "wait", name, "other", code=2)
    over(service, "pause", "--rule", "dev", "--reason", "over the wire")
    assert [pause["rule"] for pause in over(service, "resume")["items"]] == ["dev"]
    assert over(service, "reconcile", name)["items"][0]["refused"] == ""
    (conflict,) = over(service, "conflicts")["items"]
    assert over(service, "resolve", str(conflict["id"]), "--ours")["items"][0]["outcomes"][0]["state"] == "done"
    assert over(service, "conflicts")["items"] == []
    assert over(service, "prune") == {"kind": "metasync.orphans/v1", "items": []}
    assert over(service, "prune", "--yes")["kind"] == "metasync.results/v2"
    (planned,) = over(service, "repair", name, "dev-1", "--dry-run")["items"]
    assert planned["changes"] == [] and planned["repository"] == name
    assert over(service, "repair", name, "dev-1", orders, "--yes")["items"][0]["outcomes"] == []
    assert "canonical" in over(service, "repair", name, "main", "--yes", code=2)
    mirror = f"{world.database}__dev_1.orders"
    assert mirror in {one["name"] for one in over(service, "adopt", name)["items"]}
    assert over(service, "adopt", name, "--yes")["items"] == []
    dead = over(service, "events", "list", "--state", "dead")["items"]
    over(service, "events", "discard", str(dead[0]["id"]))
    assert over(service, "events", "list", "--state", "dead")["items"] == []
    assert "no plan 99" in over(service, "apply", "99", code=2)
    assert "run it there" in over(service, "doctor", code=2)
    assert "token is missing or wrong" in over(service, "status", code=2, token="no")
    assert "no service answers" in over("http://127.0.0.1:9", "status", code=1)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    command = [COMMAND, "--server", service, "--token-file", str(token), "refs"]
    assert "branch/dev-1" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_schemathesis_finds_nothing(service: str) -> None:
    schema = schemathesis.openapi.from_url(f"{service}/api/v1/openapi.json", headers=HEADERS)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 25
    wrong: list[str] = []
    for operation in operations:

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def every_answer_is_as_described(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=HEADERS, timeout=60)

        try:
            every_answer_is_as_described()
        except (Exception, BaseExceptionGroup) as error:  # whatever was found: all of it is told at once
            wrong.append(f"{operation.label}: {error} {getattr(error, 'exceptions', '')}")
    assert not wrong, "\n".join(wrong)
