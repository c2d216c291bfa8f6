"""The JSON API for programs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from metasync.engine.waiting import Readiness, Waiter
from metasync.errors import BadEvent, UsageError
from metasync.settings.durations import parse_duration

_LONGEST = 600.0
_EVERY = 0.25
_STATUS = {"ready": 200, "unknown": 404, "refused": 409, "failed": 409}


def make_api(waiter: Waiter) -> APIRouter:
    """The routes below `/api/v1`."""
    api = APIRouter(prefix="/api/v1")

    @api.get("/repositories/{repository}/wait")
    async def wait(request: Request, repository: str, ref: str, timeout: str = "60s") -> Response:
        """Waits until the tables of a ref are there.

        200: they are. 202: not yet, when the time was over. 404: lakeFS has no such ref. 409: somebody must mend
        something first; `reasons` says what.
        """
        try:
            deadline = time.monotonic() + min(parse_duration(timeout), _LONGEST)
            event = await run_in_threadpool(waiter.ask, repository, ref)
        except (ValueError, UsageError) as error:
            raise BadEvent(str(error), 400 if isinstance(error, ValueError) else 404) from error
        while True:
            found = await run_in_threadpool(waiter.look, repository, ref, event)
            if found.over or time.monotonic() > deadline or await request.is_disconnected():
                return JSONResponse(readiness_to_json(found), _STATUS.get(found.state, 202))
            await asyncio.sleep(_EVERY)

    return api


def readiness_to_json(readiness: Readiness) -> dict[str, Any]:
    return {"kind": "metasync.wait/v1", **asdict(readiness)}
