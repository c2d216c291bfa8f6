"""HTTP: lakeFS's webhook, the JSON API, the status page, health checks and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from metasync import __version__
from metasync.application import answers
from metasync.application.orders import Orders
from metasync.application.queries import Queries
from metasync.application.requests import Requests
from metasync.errors import (
    BadEvent,
    Busy,
    ConfigurationError,
    MetasyncError,
    NotAllowed,
    PermanentError,
    StoreUnavailable,
    TemporaryError,
    UsageError,
    code_of,
)
from metasync.lakefs.events import event_from_webhook, event_to_json
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store import Database
from metasync.store.ended_sessions import EndedSessions
from metasync.store.event_queue import NewEvent
from metasync.telemetry.metrics import Metrics
from metasync.web.api import make_api
from metasync.web.gate import CODES, Gate
from metasync.web.inbox import Inbox
from metasync.web.pages import make_pages
from metasync.web.rendering import STATIC, LoginNeeded, Pages, login_url
from metasync.web.session import Sessions

_HIDDEN = "tx-"
_KEPT_NOWHERE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_HEADINGS = {404: "There is no such thing", 409: "Not now", 422: "That cannot be read", 503: "Not now"}
_LOOPBACK = ["127.0.0.1", "localhost", "[::1]", "::1", "testserver"]
log = structlog.get_logger()


@dataclass(frozen=True)
class Edge:
    """What the web edge is given. `alive`: the workers run; `wake` is called for a new event; `refresh` sets gauges."""

    settings: Settings
    database: Database
    inbox: Inbox
    rules: RuleSet
    metrics: Metrics
    queries: Queries
    requests: Requests
    orders: Orders
    sessions: EndedSessions
    alive: Callable[[], bool]
    wake: Callable[[], None]
    refresh: Callable[[], None]


def make_app(edge: Edge) -> FastAPI:
    """The application."""
    app = FastAPI(title="metasync", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    secret = edge.settings.server.token
    token = secret.get_secret_value() if secret is not None else None
    hook_secret = edge.settings.server.webhook_token or secret
    sessions = Sessions(token, edge.sessions)
    if token is None:
        # Without a token only this machine is served, and no page of elsewhere may reach it by a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    app.add_middleware(
        Gate,
        token=token,
        hook_token=hook_secret.get_secret_value() if hook_secret is not None else None,
        has_session=sessions.is_signed,
    )
    pages = Pages(edge.settings, sessions)
    _answer_errors(app, pages)
    _take_events(app, edge)
    app.include_router(make_api(edge.queries, edge.requests, edge.orders, edge.wake))
    app.include_router(make_pages(pages, edge.queries, edge.requests, edge.orders, edge.wake))
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    # Threads of their own: what people order may take all others.
    health = ThreadPoolExecutor(2, "health")

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return JSONResponse(_described(app))

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return PlainTextResponse("ok") if edge.alive() else PlainTextResponse("a worker has ended", 503)

    def ready() -> Response:
        # The store alone: lakeFS never retries, so nothing else may make us refuse events.
        if not edge.database.is_current():
            return PlainTextResponse("the store is not migrated: metasync db upgrade", 503)
        edge.database.probe()
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if not edge.alive():
            return PlainTextResponse("a worker has ended", 503)
        return await asyncio.get_running_loop().run_in_executor(health, ready)

    @app.get("/metrics", include_in_schema=False)
    def metrics_page() -> Response:
        edge.refresh()
        return Response(generate_latest(edge.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _take_events(app: FastAPI, edge: Edge) -> None:
    webhook = edge.settings.events.webhook

    async def hook(request: Request) -> Response:
        if not webhook:
            raise BadEvent("webhooks are switched off (events.webhook)", 404)
        event = event_from_webhook(_parse(await request.body()), time.time())
        if event is None or event.ref.name.startswith(_HIDDEN):
            return JSONResponse({"ignored": "metasync has no use for this event"}, 202)
        if not edge.rules.of_repository(event.repository):
            raise BadEvent(f"no rule names the repository {event.repository!r}", 404)
        # 202 is a promise: the event is on the disk by then.
        number = await edge.inbox.put(NewEvent(event.repository, "webhook", event_to_json(event)))
        edge.metrics.accepted(event.type.value)
        edge.wake()
        return JSONResponse({"event": number}, 202)

    # A plain route: what FastAPI does for arguments and answers costs more than all that is done here.
    app.add_route("/hooks/lakefs", hook, methods=["POST"])


def _answer_errors(app: FastAPI, pages: Pages) -> None:
    def problem(
        request: Request, status: int, code: str, text: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        if pages.is_asked_by(request):
            return pages.show(request, "error.html", status, code=code, text=text, heading=_HEADINGS.get(status, "No"))
        body = answers.Problem(code=code, error=text).model_dump(mode="json")
        return JSONResponse(body, status, dict(headers or {}))

    @app.exception_handler(MetasyncError)
    async def _ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, MetasyncError)
        status = status_of(error)
        level = logging.ERROR if status >= 500 else logging.WARNING
        log.log(level, "request refused", path=request.url.path, status=status, reason=str(error))
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "5"} if status == 503 else {}
        text = "the store does not take events now" if isinstance(error, StoreUnavailable) else str(error)
        return problem(request, status, CODES.get(status, code_of(type(error))), text, headers)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, _error: Exception) -> Response:
        # Starlette logs it, and answers outside of the gate.
        return problem(request, 500, "unexpected-error", "metasync failed; its log says why", _KEPT_NOWHERE)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: Exception) -> Response:
        # Nobody reads this; that somebody went away is no error of ours.
        return Response(status_code=400)

    @app.exception_handler(LoginNeeded)
    async def _login(request: Request, _error: Exception) -> Response:
        return RedirectResponse(login_url(request), 303)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        words = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
        return problem(request, 422, "usage-error", "; ".join(words))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "no-such-address" if error.status_code == 404 else "usage-error"
        return problem(request, error.status_code, code, str(error.detail), error.headers)


def status_of(error: MetasyncError) -> int:
    """The HTTP status of one of our errors."""
    match error:
        case BadEvent():
            return error.status
        case Busy():
            return 409
        case NotAllowed():
            return 409
        case UsageError():
            return 404
        case ConfigurationError():
            return 500
        case TemporaryError():
            return 503
        case PermanentError():
            return 502 if code_of(type(error)) in ("lakefs-error", "metastore-error") else 409
    return 500


def _described(app: FastAPI) -> dict[str, Any]:
    """The API's description in OpenAPI 3.1."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title="metasync", version=__version__, routes=app.routes,
            description="What metasync knows and does, for programs. The token goes as `Authorization: Bearer TOKEN`.",
        )  # fmt: skip
        schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadEvent("the body is not JSON") from error
