"""The lakeFS adapter against a server that misbehaves: nothing but a 404 is ever read as "not there"."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from metasync.errors import LakeFSError, LakeFSUnavailable
from metasync.lakefs import LakeFS
from metasync.lakefs.actions import action_file, events_of
from metasync.model.lakefs import EventType, Ref, RefType
from metasync.settings.models import LakeFS as LakeFSSettings

Answer = tuple[int, bytes]
MAIN = Ref(RefType.BRANCH, "main")


class Server:
    """Answers every request with what `answers` gives, in turn; the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer | Callable[[], Answer]] = []
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                status, body = answer() if callable(answer) else answer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        settings = LakeFSSettings(
            endpoint_url=f"http://127.0.0.1:{self.http.server_address[1]}", access_key_id="key",
            secret_access_key=SecretStr("hush-hush"), timeout=0.5,
        )  # fmt: skip
        self.lakefs = LakeFS(settings)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def page(rows: list[dict[str, Any]], after: str = "") -> Answer:
    pagination = {"has_more": bool(after), "next_offset": after, "results": len(rows), "max_per_page": 1000}
    return 200, json.dumps({"pagination": pagination, "results": rows}).encode()


def message(status: int, text: str) -> Answer:
    return status, json.dumps({"message": text}).encode()


def test_only_a_404_means_gone(server: Server) -> None:
    server.answers = [message(404, "branch not found")]
    assert server.lakefs.get_ref("lake", MAIN) is None and server.lakefs.get_repository("lake") is None


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_outage_is_tried_again_and_then_said(server: Server, status: int) -> None:
    server.answers = [message(status, "busy"), (200, b'{"id": "main", "commit_id": "c1"}')]
    assert server.lakefs.get_ref("lake", MAIN) == "c1" and len(server.requests) == 2
    server.answers = [message(status, "busy")]
    with pytest.raises(LakeFSUnavailable, match="busy"):
        server.lakefs.get_ref("lake", MAIN)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": 7}', b"<html>"])
def test_an_answer_that_cannot_be_read_is_an_outage(server: Server, body: bytes) -> None:
    server.answers = [(200, body)]
    with pytest.raises((LakeFSUnavailable, LakeFSError)):
        server.lakefs.list_refs("lake")


def test_a_slow_answer_is_an_outage(server: Server) -> None:
    def slow() -> Answer:
        threading.Event().wait(1.5)
        return message(200, "late")

    server.answers = [slow]
    start = time.monotonic()
    with pytest.raises(LakeFSUnavailable):
        server.lakefs.get_repository("lake")
    assert time.monotonic() - start < 60


def test_wrong_credentials_say_what_to_check_and_show_no_secret(server: Server) -> None:
    server.answers = [message(401, "error authenticating request")]
    with pytest.raises(LakeFSError, match=r"lakefs\.access_key_id") as caught:
        server.lakefs.list_refs("lake")
    assert "hush-hush" not in str(caught.value)


def test_a_list_is_whole_or_an_error(server: Server) -> None:
    one, other = {"id": "a", "commit_id": "c1"}, {"id": "b", "commit_id": "c2"}
    server.answers = [page([one], "a"), page([other]), page([])]
    assert server.lakefs.list_refs("lake") == {Ref(RefType.BRANCH, "a"): "c1", Ref(RefType.BRANCH, "b"): "c2"}
    assert "after=a" in server.requests[1]
    server.answers = [page([one], "a"), message(500, "no")]
    with pytest.raises(LakeFSUnavailable):
        server.lakefs.list_refs("lake")


def test_a_log_is_read_page_by_page_only_as_far_as_it_is_wanted(server: Server) -> None:
    commit = {
        "parents": [], "committer": "c", "message": "m", "creation_date": 1, "meta_range_id": "", "metadata": None,
    }  # fmt: skip
    server.answers = [page([{**commit, "id": "c2"}], "c2"), page([{**commit, "id": "c1"}])]
    log = server.lakefs.first_parents("lake", "main")
    assert next(log).id == "c2" and len(server.requests) == 1
    assert [c.id for c in log] == ["c1"]


@pytest.mark.parametrize("pages", [[[]], [["c2"]], [["c2"], []]])
def test_a_log_that_ends_before_its_beginning_is_an_outage(server: Server, pages: list[list[str]]) -> None:
    """An empty page is what a server in trouble answers: taken for the end, it would hide merges for good."""
    commit = {
        "parents": ["c1"], "committer": "c", "message": "m", "creation_date": 1, "meta_range_id": "", "metadata": None,
    }  # fmt: skip
    listed = [[{**commit, "id": name} for name in names] for names in pages]
    more = ["c2"] * (len(pages) - 1) + [""]
    server.answers = [page(one, after) if after else page(one) for one, after in zip(listed, more, strict=True)]
    with pytest.raises(LakeFSUnavailable, match="before its beginning"):
        list(server.lakefs.first_parents("lake", "main"))


def test_the_action_file_has_post_events_that_the_version_knows_and_no_token() -> None:
    assert EventType.CHERRY_PICK not in events_of("1.60.0") and EventType.CHERRY_PICK in events_of("dev")
    assert EventType.CREATE_TAG not in events_of("0.50.1")
    text = action_file("http://metasync:8765/", "1.84.0")
    assert "pre-" not in text and "{{ ENV.LAKEFSACTION_METASYNC_TOKEN }}" in text
    assert "url: http://metasync:8765/hooks/lakefs\n" in text
