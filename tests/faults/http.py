"""A proxy before lakeFS that can answer in its stead: errors, empty lists, half of a JSON, late."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["429", "500", "503", "empty", "truncated", "slow", "cut"]
FAULTS: tuple[Fault, ...] = ("429", "500", "503", "empty", "truncated", "slow", "cut")
_SLOW = 0.8
_EMPTY = {"pagination": {"has_more": False, "max_per_page": 1000, "next_offset": "", "results": 0}, "results": []}


def calm(_path: str) -> Fault | None:
    return None


def at_random(seed: int, share: float, kinds: tuple[Fault, ...] = FAULTS) -> Callable[[str], Fault | None]:
    """Fails a share of all requests; the same seed fails the same ones."""
    dice = random.Random(seed)

    def choose(_path: str) -> Fault | None:
        return dice.choice(kinds) if dice.random() < share else None

    return choose


class QuietServer(ThreadingHTTPServer):
    """One that says nothing of clients that were killed in the middle of a request."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return


@dataclass
class HttpProxy:
    """Listens on `url` for lakeFS at `upstream`. An empty list is answered where a list was asked for."""

    upstream: str
    choose: Callable[[str], Fault | None] = calm
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    down: bool = False

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.choose(handler.path)
        if self.down or fault == "cut":
            handler.close_connection = True
            self._count(handler, fault)
            return
        if fault in ("429", "500", "503"):
            self._count(handler, fault)
            _send(handler, int(fault), json.dumps({"message": "on purpose"}).encode())
            return
        if fault == "slow":
            self._count(handler, fault)
            threading.Event().wait(_SLOW)
        status, kind, content = self._ask(handler, body)
        if fault == "empty" and b'"pagination"' in content:
            self._count(handler, fault)
            content = json.dumps(_EMPTY).encode()
        if fault == "truncated" and status == 200:
            self._count(handler, fault)
            content = content[: len(content) // 2]
        _send(handler, status, content, kind)

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        headers = {k: v for k, v in handler.headers.items() if k.lower() in ("authorization", "content-type", "accept")}
        connection.request(handler.command, handler.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheader("Content-Type") or "application/json", content

    def _count(self, handler: BaseHTTPRequestHandler, fault: Fault | None) -> None:
        if fault is not None:
            self.faults.append((handler.path.partition("?")[0], fault))


def _send(handler: BaseHTTPRequestHandler, status: int, content: bytes, kind: str = "application/json") -> None:
    try:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
    except OSError:
        # Whoever asked did not wait.
        handler.close_connection = True
