"""What requests carry: forms, and numbers in paths."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Path, Request

from metasync.errors import BadEvent

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
"""The number of an event, plan, conflict, merge or pause, in a path."""
_MOST_FIELDS = 20_000
"""A table can have thousands of items in conflict, each a field of one form."""


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each with its values. Raises BadEvent. The gate has bounded the body."""
    try:
        return parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise BadEvent("the form cannot be read") from error
