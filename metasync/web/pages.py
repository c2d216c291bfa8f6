"""The status page: server-rendered, works without JavaScript. It shows; what it can do is in `web.actions`."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from metasync.application.orders import Orders
from metasync.application.queries import Queries
from metasync.application.requests import Requests
from metasync.web.body import Number, read_form
from metasync.web.drawing import draw
from metasync.web.forms import add_actions
from metasync.web.rendering import Pages
from metasync.web.session import COOKIE

_RECENT = 15
_CHANGES = 100


def make_pages(
    pages: Pages, queries: Queries, requests: Requests, orders: Orders, wake: Callable[[], None]
) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)
    _add_login(router, pages)
    shown = APIRouter(include_in_schema=False, dependencies=[Depends(pages.session)])
    _add_pages(shown, pages, queries)
    if pages.acts:
        add_actions(shown, pages, queries, requests, orders, wake)
    router.include_router(shown)
    return router


def _add_login(router: APIRouter, pages: Pages) -> None:
    @router.get("/login")
    def login(request: Request) -> Response:
        return pages.show(request, "login.html", wrong=False, to=_inside(request.query_params.get("to", "/")))

    @router.post("/login")
    async def enter(request: Request) -> Response:
        form = await read_form(request)
        to = _inside(form.get("to", ["/"])[0])
        if not pages.sessions.login(form.get("token", [""])[0], request.client.host if request.client else ""):
            return pages.show(request, "login.html", 401, wrong=True, to=to)
        response = RedirectResponse(to, 303)
        pages.sessions.keep(request, response, pages.sessions.begin())
        return response

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        session = await run_in_threadpool(pages.session, request)
        pages.sessions.check_form(session, (await read_form(request)).get("word", [""])[0])
        await run_in_threadpool(pages.sessions.end, session)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _add_pages(router: APIRouter, pages: Pages, queries: Queries) -> None:  # noqa: C901  a nested function a route
    @router.get("/")
    def overview(request: Request) -> Response:
        recent = queries.history(limit=_RECENT).items
        return pages.show(request, "overview.html", status_=queries.status(), refs=queries.refs().items, recent=recent)

    @router.get("/ref")
    def ref(request: Request, repository: str, ref: str) -> Response:
        page = queries.ref(repository, ref)
        entries = queries.history(repository, limit=_RECENT, ref=page.ref.ref).items
        return pages.show(request, "ref.html", page=page, entries=entries)

    @router.get("/table")
    def table(request: Request, repository: str, table: str) -> Response:
        page = queries.table(repository, table)
        return pages.show(request, "table.html", page=page, drawing=draw(page))

    @router.get("/conflicts")
    def conflicts(request: Request) -> Response:
        return pages.show(request, "conflicts.html", conflicts=queries.conflicts().items)

    @router.get("/conflict/{number}")
    def conflict(request: Request, number: Number) -> Response:
        return pages.show(request, "conflict.html", number=number, items=queries.conflict(number).items)

    @router.get("/plan/{number}")
    def plan(request: Request, number: Number) -> Response:
        return pages.show(request, "plan.html", stored=queries.stored_plan(number))

    @router.get("/merge/{number}")
    def merge(request: Request, number: Number) -> Response:
        return pages.show(request, "merge.html", page=queries.merge(number))

    @router.get("/changes")
    def changes(request: Request, repository: str = "", table: str = "") -> Response:
        found = queries.history(repository or None, table or None, _CHANGES).items
        return pages.show(request, "changes.html", entries=found, repository=repository, table=table)

    @router.get("/events")
    def events(request: Request, state: str = "") -> Response:
        found = queries.events([state] if state else (), _CHANGES).items
        return pages.show(request, "events.html", events=found, state=state)

    @router.get("/event/{number}")
    def event(request: Request, number: Number) -> Response:
        return pages.show(request, "event.html", event=queries.event(number).items[0])

    @router.get("/search")
    def search(request: Request, q: str = "") -> Response:
        return pages.show(request, "search.html", found=queries.search(q[:1024]))


def _inside(to: str) -> str:
    """A path of ours: nobody is sent elsewhere by a link to the login page."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
