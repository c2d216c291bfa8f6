"""HTTP: lakeFS's webhook, health checks and metrics."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from metasync import __version__
from metasync.engine.metrics import Metrics
from metasync.engine.scope import event_from_webhook, event_to_json
from metasync.engine.waiting import Waiter
from metasync.errors import BadEvent, StoreUnavailable
from metasync.planning.rules import RuleSet
from metasync.store import Database
from metasync.store.events import NewEvent
from metasync.web.api import make_api
from metasync.web.inbox import Inbox

LARGEST_BODY = 64 * 1024
_HIDDEN = "tx-"
log = structlog.get_logger()


def make_app(
    *,
    database: Database,
    inbox: Inbox,
    rules: RuleSet,
    metrics: Metrics,
    token: str | None,
    alive: Callable[[], bool],
    wake: Callable[[], None],
    refresh: Callable[[], None],
    waiter: Waiter,
    webhook: bool = True,
) -> FastAPI:
    """The application. `alive`: the workers run; `wake` tells them of an event; `refresh` sets gauges."""
    app = FastAPI(title="metasync", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    def authenticate(request: Request) -> None:
        if token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise BadEvent("send the token as: Authorization: Bearer TOKEN", 401)

    @app.exception_handler(BadEvent)
    async def _bad(request: Request, error: Exception) -> Response:
        assert isinstance(error, BadEvent)
        log.warning("request refused", path=request.url.path, status=error.status, reason=str(error))
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.exception_handler(StoreUnavailable)
    async def _store(_request: Request, error: Exception) -> Response:
        log.error("the store failed", reason=str(error))
        return JSONResponse({"error": "the store does not take events now"}, 503, {"Retry-After": "5"})

    async def hook(request: Request) -> Response:
        authenticate(request)
        if not webhook:
            raise BadEvent("webhooks are switched off (events.webhook)", 404)
        event = event_from_webhook(_parse(await _body(request)), time.time())
        if event is None or event.ref.name.startswith(_HIDDEN):
            return JSONResponse({"ignored": "metasync has no use for this event"}, 202)
        if not rules.of_repository(event.repository):
            raise BadEvent(f"no rule names the repository {event.repository!r}", 404)
        # 202 is a promise: the event is on the disk by then.
        number = await inbox.put(NewEvent(event.repository, "webhook", event_to_json(event)))
        metrics.accepted(event.type.value)
        wake()
        return JSONResponse({"event": number}, 202)

    # A plain route: what FastAPI does for arguments and answers costs more than all that is done here.
    app.add_route("/hooks/lakefs", hook, methods=["POST"])
    app.include_router(make_api(waiter), dependencies=[Depends(authenticate)])

    @app.get("/livez")
    async def livez() -> Response:
        return PlainTextResponse("ok") if alive() else PlainTextResponse("a worker has ended", 503)

    @app.get("/readyz")
    def readyz() -> Response:
        # The store alone: lakeFS never retries, so nothing else may make us refuse events.
        if not database.is_current():
            return PlainTextResponse("the store is not migrated: metasync db upgrade", 503)
        database.probe()
        return PlainTextResponse("ok")

    @app.get("/metrics")
    def metrics_page(request: Request) -> Response:
        authenticate(request)
        refresh()
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


async def _body(request: Request) -> bytes:
    """The body, never more than LARGEST_BODY of it in memory."""
    declared = request.headers.get("content-length", "0")
    too_large = BadEvent(f"the body is larger than {LARGEST_BODY} bytes", 413)
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise too_large
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise too_large
    return body


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadEvent("the body is not JSON") from error
