"""Between lakeFS and metasync's webhook: events are lost, doubled, held back and let go out of order."""

from __future__ import annotations

import random
import threading
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.faults.http import QuietServer


@dataclass
class HookProxy:
    """Listens on `url` and passes what lakeFS sends on to one of `targets`, or not; lakeFS is told that it did."""

    seed: int
    targets: list[str]
    lost: float = 0.1
    doubled: float = 0.1
    held: float = 0.2
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        outer = self
        self._dice = random.Random(self.seed)
        self._guard = threading.Lock()
        self._held: list[tuple[bytes, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers.get("Authorization", "")
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer._take(body, token)

            def log_message(self, *_: object) -> None:
                return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def let_go(self) -> None:
        """Sends what was held back, in any order."""
        with self._guard:
            held, self._held = self._held, []
            self._dice.shuffle(held)
        for body, token in held:
            self._send(body, token)

    def _take(self, body: bytes, token: str) -> None:
        with self._guard:
            self.counts["came"] += 1
            lot = self._dice.random()
            times = 0 if lot < self.lost else 2 if lot < self.lost + self.doubled else 1
            held = self._dice.random() < self.held
            self.counts["lost"] += times == 0
            self.counts["doubled"] += times == 2
            self.counts["held"] += held and times > 0
            if held:
                self._held += [(body, token)] * times
        for _ in range(0 if held else times):
            self._send(body, token)
        if self._dice.random() < 0.3:
            self.let_go()

    def _send(self, body: bytes, token: str) -> None:
        target = self._dice.choice(self.targets)
        headers = {"Content-Type": "application/json", "Authorization": token}
        request = urllib.request.Request(f"{target}/hooks/lakefs", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                self.counts[f"answered {answer.status}"] += 1
        except urllib.error.HTTPError as error:
            self.counts[f"answered {error.code}"] += 1
        except OSError:
            self.counts["nobody there"] += 1
