"""Our endpoint: every recorded webhook as lakeFS sent it, and everything bad that could come instead."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import uvicorn

from metasync.daemon import edge_of
from metasync.lakefs.events import event_from_json
from metasync.sandbox.metastore import free_port, pause
from metasync.settings import parse_settings
from metasync.web import Inbox, make_app
from metasync.web.protocol import BoundedProtocol
from metasync.wiring import Parts, parts

RECORDED = sorted((Path(__file__).parents[1] / "recorded" / "lakefs").glob("*.json"))
RULES = (
    'server: {token: s3cret-token}\nrules: [{name: dev, repository: lake, branches: ["dev-*"], tables: ["sales.*"]}]'
)
Answer = tuple[int, dict[str, str], bytes]


class Endpoint:
    """The real application under a real uvicorn."""

    def __init__(self, built: Parts) -> None:
        self.built = built
        self.database, self.queue = built.database, built.queue
        self.inbox = Inbox(self.queue)
        self.woken = 0
        self.port = free_port()
        edge = edge_of(built, self.inbox, alive=lambda: True, wake=self.wake, leads=lambda: True)
        app = make_app(edge)
        self.server = uvicorn.Server(
            uvicorn.Config(app, port=self.port, log_config=None, lifespan="off", http=BoundedProtocol)
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            pause()

    def wake(self) -> None:
        self.woken += 1

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        result = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return result

    def post(self, body: Any, token: str | None = "s3cret-token") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.call("POST", "/hooks/lakefs", data, **headers)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    store = f"store: {{url: 'sqlite:///{tmp_path / 'store.db'}'}}\n"
    with parts(parse_settings(store + RULES)) as built:
        running = Endpoint(built)
        yield running
        running.server.should_exit = True
        running.thread.join()
        running.inbox.close()


GOOD = {
    "event_type": "post-commit",
    "repository_id": "lake",
    "branch_id": "dev-1",
    "event_time": "2026-11-22T17:00:00Z",
}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_webhook_is_taken(endpoint: Endpoint, path: Path) -> None:
    for webhook in json.loads(path.read_text())["webhooks"]:
        if not webhook["path"].startswith("/hooks/lakefs"):
            continue  # the gate's own hook, which was made to fail
        body, before = webhook["body"], len(endpoint.queue.list())
        headers = {k: v for k, v in webhook["headers"].items() if k in ("Authorization", "Content-Type", "User-Agent")}
        status, _, answer = endpoint.call("POST", webhook["path"], json.dumps(body).encode(), **headers)
        assert status == 202, answer
        wanted = body["event_type"].startswith("post-") and not body.get("branch_id", "").startswith("tx-")
        stored = endpoint.queue.list()
        assert len(stored) - before == int(wanted)
        if wanted:
            event = event_from_json(stored[0].payload)
            assert (event.type.value, event.repository) == (body["event_type"], "lake")
            assert event.commit_id == body.get("commit_id", "") and event.merge_source == body.get("merge_source", "")


def test_a_webhook_is_durable_before_it_is_answered(endpoint: Endpoint) -> None:
    status, _, answer = endpoint.post(GOOD)
    assert status == 202 and json.loads(answer) == {"event": 1} and endpoint.woken == 1
    assert [(e.id, e.state, e.kind) for e in endpoint.queue.list()] == [(1, "queued", "webhook")]
    endpoint.post(GOOD)
    assert len(endpoint.queue.list()) == 2


@pytest.mark.parametrize(
    ("body", "token", "status", "words"),
    [
        (GOOD, None, 401, "Authorization"),
        (GOOD, "wrong", 401, "Authorization"),
        (GOOD, "", 401, "Authorization"),
        (b"{", "s3cret-token", 400, "not JSON"),
        (b"[" * 30_000, "s3cret-token", 400, "not JSON"),
        ([1], "s3cret-token", 400, "not a JSON object"),
        (GOOD | {"event_type": "post-party"}, "s3cret-token", 400, "post-party"),
        (GOOD | {"repository_id": "nobodys"}, "s3cret-token", 404, "no rule names the repository 'nobodys'"),
        ({k: v for k, v in GOOD.items() if k != "branch_id"}, "s3cret-token", 400, "branch_id is missing"),
        ({k: v for k, v in GOOD.items() if k != "repository_id"}, "s3cret-token", 400, "repository_id is missing"),
        (b'{"x": "' + b"x" * 70_000 + b'"}', "s3cret-token", 413, "larger than"),
    ],
)
def test_a_bad_webhook_is_refused_with_a_reason_and_stores_nothing(
    endpoint: Endpoint, body: Any, token: str | None, status: int, words: str
) -> None:
    got, _, answer = endpoint.post(body, token)
    assert (got, words in answer.decode()) == (status, True), answer
    assert endpoint.queue.list() == ()


def test_a_body_without_a_length_is_bounded_too(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    headers = {"Authorization": "Bearer s3cret-token"}
    connection.request("POST", "/hooks/lakefs", iter([b"x" * 40_000] * 3), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_locked_store_answers_503_and_never_202(endpoint: Endpoint) -> None:
    with endpoint.database.transaction():
        status, headers, _ = endpoint.post(GOOD)
        assert status == 503 and headers["retry-after"] == "5"
        assert endpoint.call("GET", "/readyz")[0] == 503
    assert endpoint.queue.list() == () and endpoint.call("GET", "/readyz")[0] == 200
    assert endpoint.post(GOOD)[0] == 202


def test_a_full_disk_answers_503_and_what_was_accepted_is_there(endpoint: Endpoint) -> None:
    @sqlalchemy.event.listens_for(endpoint.database._urgent, "connect")
    def _small(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 120")

    endpoint.database._urgent.dispose()
    large = GOOD | {"source_ref": "x" * 1000}
    accepted = 0
    while (answer := endpoint.post(large))[0] == 202:
        accepted += 1
    assert answer[0] == 503 and answer[1]["retry-after"] == "5" and accepted > 10
    assert len(endpoint.queue.list(limit=10_000)) == accepted
    assert endpoint.call("GET", "/livez")[0] == 200


def test_health_needs_no_token_and_metrics_do(endpoint: Endpoint) -> None:
    assert endpoint.call("GET", "/livez")[0] == endpoint.call("GET", "/readyz")[0] == 200
    assert endpoint.call("GET", "/metrics")[0] == 401
    status, _, text = endpoint.call("GET", "/metrics", Authorization="Bearer s3cret-token")
    assert status == 200 and b"metasync_queue_events" in text


def test_a_name_that_no_store_takes_is_refused(endpoint: Endpoint) -> None:
    status, _, answer = endpoint.post({**GOOD, "branch_id": "\ud800"})
    assert status == 400 and b"characters that no name has" in answer
    assert endpoint.queue.list() == ()


def test_the_webhooks_own_token_is_good_for_nothing_else(tmp_path: Path) -> None:
    text = RULES.replace("token: s3cret-token", "token: s3cret-token, webhook_token: hook-token")
    with parts(parse_settings(f"store: {{url: 'sqlite:///{tmp_path / 'store.db'}'}}\n{text}")) as built:
        running = Endpoint(built)
        try:
            assert running.post(GOOD, "hook-token")[0] == 202
            assert running.post(GOOD, "s3cret-token")[0] == 401
            assert running.call("GET", "/api/v1/status", Authorization="Bearer hook-token")[0] == 401
            assert running.call("GET", "/api/v1/status", Authorization="Bearer s3cret-token")[0] == 200
        finally:
            running.server.should_exit = True
            running.thread.join()
            running.inbox.close()


def test_without_a_token_no_other_site_reaches_it(tmp_path: Path) -> None:
    text = RULES.replace("server: {token: s3cret-token}\n", "")
    with parts(parse_settings(f"store: {{url: 'sqlite:///{tmp_path / 'store.db'}'}}\n{text}")) as built:
        running = Endpoint(built)
        try:
            body = json.dumps(GOOD).encode()
            assert running.call("POST", "/hooks/lakefs", body, Content_Type="text/plain")[0] == 415
            assert running.call("POST", "/hooks/lakefs", body, Content_Type="application/json")[0] == 202
            assert running.call("GET", "/api/v1/status")[0] == 200
            assert running.call("GET", "/api/v1/status", Host="evil.example")[0] == 400
        finally:
            running.server.should_exit = True
            running.thread.join()
            running.inbox.close()
