"""A request to the stand-in, and what every answer to one shares."""

from __future__ import annotations

import email
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin.repository import (
    StoredRepository,
)

_LARGEST_PAGE = 1000


class Call:
    """One request: its path's parts, its query, its body."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path = request.path_params
        self.query = request.query_params
        self.raw = body
        self.content_type = request.headers.get("content-type", "")

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.raw) if self.raw else {}
        return value if isinstance(value, dict) else {}

    @property
    def content(self) -> bytes:
        """An uploaded object: the body, or the first part of a form, as the SDK sends it."""
        if not self.content_type.startswith("multipart/"):
            return self.raw
        message = email.message_from_bytes(b"Content-Type: " + self.content_type.encode() + b"\r\n\r\n" + self.raw)
        payload = next((part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()), b"")
        return payload if isinstance(payload, bytes) else b""


Handler = Callable[[Call], Response]
Routes = list[tuple[str, str, Handler]]
"""Method, path and handler of each."""


def page(call: Call, rows: Sequence[tuple[str, Any]], *, ordered: bool = True, prefixed: bool = True) -> Response:
    """A page of (key, row) pairs: `after` is the last key of the page before, `prefix` filters by key."""
    amount = int(call.query.get("amount", "100"))
    amount = min(amount, _LARGEST_PAGE) if amount > 0 else 100
    after, prefix = call.query.get("after", ""), call.query.get("prefix", "")
    if prefixed and prefix:
        rows = [row for row in rows if row[0].startswith(prefix)]
    if after and ordered:
        rows = [row for row in rows if row[0] > after]
    elif after:
        keys = [key for key, _ in rows]
        rows = rows[keys.index(after) + 1 :] if after in keys else []
    page = rows[:amount]
    more = len(rows) > amount
    pagination = {
        "has_more": more, "max_per_page": _LARGEST_PAGE, "next_offset": page[-1][0] if more else "",
        "results": len(page),
    }  # fmt: skip
    return JSONResponse({"pagination": pagination, "results": [row for _, row in page]})


def event_of(repository: StoredRepository, event_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"event_type": event_type, "event_time": at, "repository_id": repository.name, **payload}
