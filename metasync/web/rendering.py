"""How a page is made for a session: templates, headers, and the addresses that they link to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import humanize
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from metasync import __version__
from metasync.application.plan_text import plan_lines, summary, value_text
from metasync.settings.models import Settings
from metasync.web.session import Sessions

STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " \
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


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
        """A page, with the headers that browsers need for it."""
        session = getattr(request.state, "session", None)
        word = self.sessions.form_word(session) if session else ""
        known = {"path": request.url.path, "word": word, "logged_in": session and self.sessions.asks_for_token}
        html = self._templates.get_template(template).render(**known, **values)
        response = HTMLResponse(html, status, _HEADERS)
        if new := getattr(request.state, "new_session", None):
            self.sessions.keep(request, response, new)
        return response


def ref_url(repository: str, ref: str) -> str:
    return "/ref?" + urlencode({"repository": repository, "ref": ref})


def table_url(repository: str, table: str) -> str:
    return "/table?" + urlencode({"repository": repository, "table": table})


def login_url(request: Request) -> str:
    """Where a browser without a session is sent, to come back to what it wanted."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?to={quote(request.url.path + query, safe='')}"


def ago(at: datetime | None) -> str:
    """How long ago, in words; a clock that is behind makes it now."""
    if at is None:
        return "never"
    # As a length: humanize makes times local, and an hour of every year comes twice.
    return humanize.naturaltime(max(datetime.now(UTC) - at, timedelta()))


def moment_text(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at is not None else ""
