"""What requests carry: bodies, bounded before they are in memory, and numbers in paths."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Path, Request

from metasync.errors import BadEvent

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
"""The number of an event, plan, conflict, merge or pause, in a path."""
LARGEST_BODY = 64 * 1024


async def read_body(request: Request) -> bytes:
    """The body, never more than LARGEST_BODY of it in memory. Raises BadEvent."""
    declared = request.headers.get("content-length", "0")
    too_large = BadEvent(f"the body is larger than {LARGEST_BODY} bytes", 413)
    if declared.isdecimal() and int(declared) > LARGEST_BODY:
        raise too_large
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise too_large
    return body


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each with its values. Raises BadEvent."""
    try:
        return parse_qs((await read_body(request)).decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise BadEvent("the form cannot be read") from error
