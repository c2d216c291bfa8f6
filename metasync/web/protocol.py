"""What one connection may take before it has sent a request: header bytes, time, and its share of all connections."""

from __future__ import annotations

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 32 * 1024
"""Bytes of a request's line and headers."""
SILENCE = 30.0
"""Seconds in which a connection must have sent a request, its body too."""
_MOST = 400
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n"
    b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n\r\n"
)


def most_connections() -> int:
    """How many connections are held at once: never more than half of the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files == resource.RLIM_INFINITY else max(8, min(_MOST, files // 2))


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with limits: where there are too many connections, the one that was silent longest goes."""

    _waiting: ClassVar[dict[BoundedProtocol, None]] = {}
    """Connections that have not sent a whole request, the oldest first. One web server a process, on one thread."""
    limit = most_connections()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head = 0
        self._in_head = True
        self._silence: asyncio.TimerHandle | None = None
        self._wait()
        if len(self.connections) > self.limit:
            next(iter(self._waiting))._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > LARGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._fields += len(name) + len(value) + len(b": \r\n")
        if self._fields > LARGEST_HEAD:
            # The parser takes it for a request that cannot be read.
            raise ValueError("the headers are too large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Another request may have come behind this one already.
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting[self] = None
        self._head, self._in_head = 0, True
        self._silence = self.loop.call_later(SILENCE, self._give_up)

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _give_up(self) -> None:
        """Ends the connection, whatever it has not read."""
        self._stop_waiting()
        self.transport.abort()
