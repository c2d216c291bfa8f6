"""The first thing that a request meets: who sends it, and how much, before any of its body is read.

It authenticates what programs send, bounds every body in size and time, and has browsers sniff and keep nothing.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from metasync.application.answers import Problem
from metasync.errors import BadEvent, code_of

LARGEST_BODY = 64 * 1024
_LARGEST_OF_KNOWN = 1024 * 1024
"""Bytes of a body: of a stranger, or of lakeFS; and of somebody who showed the token or has a session."""
_PATIENCE = 15.0
"""Seconds in which each piece of a body must come."""
CODES = {401: "unauthorized", 403: "forbidden"}
"""What the web edge says of itself; docs/errors.md has these, too."""

Scope = Any
Receive = Callable[[], Any]
Send = Callable[[Any], Any]


class Gate:
    """ASGI middleware. `has_session` says whether headers carry a session's cookie that this service signed."""

    def __init__(
        self, app: Any, *, token: str | None, hook_token: str | None, has_session: Callable[[Headers], bool]
    ) -> None:
        self._app = app
        self._token = token
        self._hook_token = hook_token
        self._has_session = has_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.setdefault("X-Content-Type-Options", "nosniff")
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._authenticate(scope["path"], headers)
            bounded = _Bounded(receive, self._largest(scope["path"], headers))
            bounded.check(headers)
        except BadEvent as error:
            await refuse(error)(scope, receive, guarded)
            return
        await self._app(scope, bounded, guarded)

    def _authenticate(self, path: str, headers: Headers) -> None:
        if path.startswith("/hooks/"):
            if self._hook_token is None and "json" not in headers.get("content-type", ""):
                # What any page of elsewhere can have a browser send is no JSON.
                raise BadEvent("send JSON, and say so: Content-Type: application/json", 415)
            _check_token(headers, self._hook_token)
        elif path.startswith(("/api/", "/metrics")):
            _check_token(headers, self._token)

    def _largest(self, path: str, headers: Headers) -> int:
        known = path.startswith("/api/") or (path.startswith("/do/") and self._has_session(headers))
        return _LARGEST_OF_KNOWN if known else LARGEST_BODY


class _Bounded:
    """Receives a body, never more than so many bytes, and never waiting long for the next piece. Raises BadEvent."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive = receive
        self._largest = largest
        self._read = 0
        self._over = False

    def check(self, headers: Headers) -> None:
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and (len(declared) > 12 or int(declared) > self._largest):
            raise self._too_large()

    async def __call__(self) -> Any:
        if self._over:
            # What comes now is that the client went away; that may take its time.
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _PATIENCE)
        except TimeoutError:
            raise BadEvent(f"the body did not come within {_PATIENCE:.0f} s", 408) from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._over = not message.get("more_body", False)
            if self._read > self._largest:
                raise self._too_large()
        return message

    def _too_large(self) -> BadEvent:
        return BadEvent(f"the body is larger than {self._largest} bytes", 413)


def refuse(error: BadEvent) -> JSONResponse:
    """The answer to a request that is not let in."""
    body = Problem(code=CODES.get(error.status, code_of(type(error))), error=str(error)).model_dump(mode="json")
    # What was not read of the body is not read at all.
    headers = {"Connection": "close"} | ({"WWW-Authenticate": "Bearer"} if error.status == 401 else {})
    return JSONResponse(body, error.status, headers)


def _check_token(headers: Headers, token: str | None) -> None:
    if token is None:
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise BadEvent("send the token as: Authorization: Bearer TOKEN", 401)
