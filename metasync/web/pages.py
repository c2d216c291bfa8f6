"""The status page: server-rendered, works without JavaScript. It shows; what it can do is in `web.actions`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from metasync import __version__
from metasync.desk.books import Books, value_text
from metasync.desk.lines import plan_lines, summary
from metasync.desk.orders import Orders, Switches
from metasync.settings.models import Settings
from metasync.web.actions import add_actions
from metasync.web.body import read_form
from metasync.web.drawing import draw
from metasync.web.session import COOKIE, Sessions

STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " \
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_RECENT = 15
_CHANGES = 100


class LoginNeeded(Exception):
    """There is no session: the browser is sent to the login page."""


class Pages:
    """Renders templates for a session."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self.sessions = sessions
        self.acts = settings.server.ui_actions
        self._settings = settings
        self._templates = Environment(
            loader=PackageLoader("metasync.web"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.globals.update(
            version=__version__, instance=settings.instance, mode=settings.mode, acts=self.acts,
            ref_url=ref_url, table_url=table_url, plan_lines=plan_lines, summary=summary, value_text=value_text,
        )  # fmt: skip
        self._templates.filters.update(ago=ago, moment=moment_text)

    def session(self, request: Request) -> str:
        """The request's session. Raises LoginNeeded."""
        session = self.sessions.of(request)
        if session is None and self.sessions.asks_for_token:
            raise LoginNeeded
        if session is None:
            session = self.sessions.begin()
            request.state.new_session = session
        request.state.session = session
        return session

    def is_asked_by(self, request: Request) -> bool:
        """Whether a person's browser wants a page, and not a program its answer."""
        programs = ("/api/", "/hooks/", "/metrics", "/livez", "/readyz")
        return not request.url.path.startswith(programs) and "text/html" in request.headers.get("accept", "")

    def show(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page, with all that browsers should be told about it."""
        session = getattr(request.state, "session", None)
        word = self.sessions.form_word(session) if session else ""
        known = {"path": request.url.path, "word": word, "logged_in": session and self.sessions.asks_for_token}
        html = self._templates.get_template(template).render(**known, **values)
        response = HTMLResponse(html, status, _HEADERS)
        if new := getattr(request.state, "new_session", None):
            self.sessions.keep(request, response, new)
        return response


def make_pages(pages: Pages, books: Books, switches: Switches, orders: Orders, wake: Callable[[], None]) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)
    _add_login(router, pages)
    shown = APIRouter(include_in_schema=False, dependencies=[Depends(pages.session)])
    _add_pages(shown, pages, books)
    if pages.acts:
        add_actions(shown, pages, books, switches, orders, wake)
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
        if not pages.sessions.is_token(form.get("token", [""])[0]):
            return pages.show(request, "login.html", 401, wrong=True, to=to)
        response = RedirectResponse(to, 303)
        pages.sessions.keep(request, response, pages.sessions.begin())
        return response

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        pages.sessions.check_form(pages.session(request), (await read_form(request)).get("word", [""])[0])
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _add_pages(router: APIRouter, pages: Pages, books: Books) -> None:
    @router.get("/")
    def overview(request: Request) -> Response:
        recent = books.history(limit=_RECENT).items
        return pages.show(request, "overview.html", status_=books.status(), refs=books.refs().items, recent=recent)

    @router.get("/ref")
    def ref(request: Request, repository: str, ref: str) -> Response:
        page = books.ref(repository, ref)
        deeds = [deed for deed in books.history(repository, limit=500).items if deed.ref == page.ref.ref]
        return pages.show(request, "ref.html", page=page, deeds=deeds[:_RECENT])

    @router.get("/table")
    def table(request: Request, repository: str, table: str) -> Response:
        page = books.table(repository, table)
        return pages.show(request, "table.html", page=page, drawing=draw(page))

    @router.get("/conflicts")
    def conflicts(request: Request) -> Response:
        return pages.show(request, "conflicts.html", conflicts=books.conflicts().items)

    @router.get("/conflict/{number}")
    def conflict(request: Request, number: int) -> Response:
        return pages.show(request, "conflict.html", number=number, items=books.conflict(number).items)

    @router.get("/plan/{number}")
    def plan(request: Request, number: int) -> Response:
        return pages.show(request, "plan.html", stored=books.plan(number))

    @router.get("/merge/{number}")
    def merge(request: Request, number: int) -> Response:
        return pages.show(request, "merge.html", page=books.merge(number))

    @router.get("/changes")
    def changes(request: Request, repository: str = "", table: str = "") -> Response:
        found = books.history(repository or None, table or None, _CHANGES).items
        return pages.show(request, "changes.html", deeds=found, repository=repository, table=table)

    @router.get("/events")
    def events(request: Request, state: str = "") -> Response:
        found = books.events([state] if state else (), _CHANGES).items
        return pages.show(request, "events.html", events=found, state=state)

    @router.get("/event/{number}")
    def event(request: Request, number: int) -> Response:
        return pages.show(request, "event.html", event=books.event(number).items[0])

    @router.get("/search")
    def search(request: Request, q: str = "") -> Response:
        return pages.show(request, "search.html", found=books.search(q[:1024]))


def ref_url(repository: str, ref: str) -> str:
    return "/ref?" + urlencode({"repository": repository, "ref": ref})


def table_url(repository: str, table: str) -> str:
    return "/table?" + urlencode({"repository": repository, "table": table})


def login_url(request: Request) -> str:
    """Where a browser without a session is sent, to come back to what it wanted."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?to={quote(request.url.path + query, safe='')}"


def ago(at: datetime | None) -> str:
    """How long ago, in the largest unit that says something."""
    if at is None:
        return "never"
    seconds = max((datetime.now(UTC) - at).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length * 2:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def moment_text(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at is not None else ""


def _inside(to: str) -> str:
    """A path of ours: nobody is sent elsewhere by a link to the login page."""
    return to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
