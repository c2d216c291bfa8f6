"""The edge against whoever connects: idle, slow, large, many, without a token, or with somebody's old session."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metasync.errors import Busy
from metasync.settings import parse_settings
from metasync.store.event_queue import lease_name
from metasync.web import protocol
from metasync.web.gate import LARGEST_BODY
from metasync.wiring import parts
from tests.conftest import until
from tests.contract.test_webhook import RULES, Endpoint

TOKEN = {"Authorization": "Bearer s3cret-token"}


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(protocol, "SILENCE", 0.6)
    monkeypatch.setattr(protocol.BoundedProtocol, "limit", 20)
    text = f"store: {{url: 'sqlite:///{tmp_path / 'store.db'}'}}\n{RULES}".replace("token:", "ui_actions: true, token:")
    with parts(parse_settings(text), patience=0.3) as built:
        running = Endpoint(built)
        yield running
        running.server.should_exit = True
        running.thread.join()
        running.inbox.close()


def connect(endpoint: Endpoint, sent: bytes = b"") -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", endpoint.port), timeout=10)
    opened.sendall(sent)
    return opened


def answer(opened: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    while piece := opened.recv(65536):
        found += piece
    return found


@pytest.mark.parametrize("path", ["/api/v1/plan", "/api/v1/undo", "/hooks/lakefs", "/metrics"])
def test_who_shows_no_token_is_refused_before_any_of_the_body_is_read(endpoint: Endpoint, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 209715200\r\nContent-Type: application/json\r\n\r\n"
    with connect(endpoint, head.encode()) as opened:
        assert answer(opened).startswith(b"HTTP/1.1 401 ")


def test_bodies_are_bounded_whatever_they_say_of_themselves(endpoint: Endpoint) -> None:
    for path in ("/hooks/lakefs", "/login", "/api/v1/plan"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN['Authorization']}\r\n"
        with connect(endpoint, f"{head}Content-Length: {LARGEST_BODY * 20}\r\n\r\n".encode()) as opened:
            assert answer(opened).startswith(b"HTTP/1.1 413 ")
        with connect(endpoint, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()) as opened:
            chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
            try:
                for _ in range(40):
                    opened.sendall(chunk)
                status = answer(opened).split(b" ")[1]
            except OSError:
                status = b"closed"
            assert status in (b"413", b"400", b"closed"), path
    assert endpoint.call("GET", "/livez")[0] == 200


def test_every_answer_says_what_browsers_must_not_do(endpoint: Endpoint) -> None:
    paths = (
        "/livez",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/",
        "/login",
        "/nothing",
        "/static/style.css",
        "/hooks/x",
    )
    for path in paths:
        for headers in ({}, TOKEN):
            _, sent, _ = endpoint.call("GET", path, **headers)
            low = {key.lower(): value for key, value in sent.items()}
            assert low["x-content-type-options"] == "nosniff" and low["cache-control"] == "no-store", path


def test_headers_without_end_are_refused(endpoint: Endpoint) -> None:
    for sent in (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9_000 + b"\r\n"):
        with connect(endpoint, sent) as opened:
            try:
                found = answer(opened)
            except ConnectionResetError:
                found = b""
            assert found[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    assert endpoint.call("GET", "/livez")[0] == 200


def test_who_says_nothing_is_closed_and_makes_room(endpoint: Endpoint) -> None:
    first = connect(endpoint)
    idle = [connect(endpoint, b"GET /li") for _ in range(30)]
    assert endpoint.call("GET", "/readyz")[0] == 200, "there is room for who has something to say"
    assert answer(first) == b"", "the one that was silent longest went"
    for opened in idle:
        opened.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert answer(opened) == b""
        opened.close()
    until("all are gone", lambda: len(endpoint.server.server_state.connections) == 0)


def test_a_post_that_is_cut_off_is_no_error(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/login", "/api/v1/plan", "/hooks/lakefs"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN['Authorization']}\r\n"
        connect(endpoint, f"{head}Content-Length: 500\r\n\r\nhalf".encode()).close()
    until("they are gone", lambda: len(endpoint.server.server_state.connections) == 0)
    assert endpoint.call("GET", "/livez")[0] == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_people_wait_seconds_for_somebody_who_works_and_nobody_else_does(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.BoundedProtocol, "limit", 400)
    leases = endpoint.built.leases
    lease = leases.take(lease_name("lake"))
    assert lease is not None
    codes: list[int] = []

    def order() -> None:
        codes.append(
            endpoint.call("POST", "/api/v1/plan", b'{"repository": "lake"}', Content_Type="application/json", **TOKEN)[
                0
            ]
        )

    people = [threading.Thread(target=order) for _ in range(45)]
    for one in people:
        one.start()
    start = time.monotonic()
    assert endpoint.call("GET", "/readyz")[0] == 200 and time.monotonic() - start < 5
    for one in people:
        one.join()
    assert set(codes) == {409}
    status, _, body = endpoint.call(
        "POST", "/api/v1/plan", b'{"repository": "lake"}', Content_Type="application/json", **TOKEN
    )
    assert status == 409 and leases.holder.encode() in body and b'"busy"' in body
    with pytest.raises(Busy, match="works on it"), leases.hold(lease_name("lake"), patience=0):
        pass
    leases.release(lease)


def login(endpoint: Endpoint, token: str) -> tuple[int, str]:
    status, headers, _ = endpoint.call(
        "POST", "/login", f"token={token}&to=/".encode(), Content_Type="application/x-www-form-urlencoded"
    )
    return status, headers.get("set-cookie", "").partition(";")[0]


def test_logging_out_ends_the_session_on_every_replica(endpoint: Endpoint) -> None:
    status, cookie = login(endpoint, "s3cret-token")
    assert status == 303 and endpoint.call("GET", "/", Cookie=cookie)[0] == 200
    page = endpoint.call("GET", "/", Cookie=cookie)[2].decode()
    word = page.partition('name="word" value="')[2].partition('"')[0]
    form = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": cookie}
    assert endpoint.call("POST", "/logout", f"word={word}".encode(), **form)[0] == 303
    for kept in (cookie, f"{cookie}=", f"{cookie}é"):
        assert endpoint.call("GET", "/", Cookie=kept)[0] == 303, "whoever kept the cookie is out, however it is written"
    assert endpoint.call("POST", "/do/pause", b"rule=&reason=x&for=", **form)[0] == 303


def test_guessing_the_token_is_throttled(endpoint: Endpoint) -> None:
    assert [login(endpoint, f"guess-{number}")[0] for number in range(12)] == [401] * 10 + [429] * 2
    assert login(endpoint, "s3cret-token")[0] == 429
