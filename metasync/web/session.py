"""Who looks at the status page: a cookie signed with the token, and a word against forms of other sites."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from fastapi import Request, Response

from metasync.errors import BadEvent

COOKIE = "metasync_session"
_SECONDS = 12 * 3600


class Sessions:
    """Signed, not stored: replicas with one token take each other's. Without a token everybody has a session."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        # Without a token one process serves this machine alone, and its sessions end with it.
        self._secret = hashlib.sha256(b"metasync session " + (token or secrets.token_hex(32)).encode()).digest()

    @property
    def asks_for_token(self) -> bool:
        return self._token is not None

    def begin(self) -> str:
        """A new session's cookie."""
        body = f"{int(time.time()) + _SECONDS}.{secrets.token_hex(16)}"
        return f"{body}.{self._sign('session', body)}"

    def is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.strip().encode(), self._token.encode())

    def of(self, request: Request) -> str | None:
        """The request's session, if it has one that holds; the token as a bearer counts as one."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given):
            return "bearer"
        cookie = request.cookies.get(COOKIE, "")
        body, _, signature = cookie.rpartition(".")
        until = body.partition(".")[0]
        if not hmac.compare_digest(signature.encode(), self._sign("session", body).encode()) or not until.isdecimal():
            return None
        return cookie if int(until) > time.time() else None

    def keep(self, request: Request, response: Response, cookie: str) -> None:
        """Gives the cookie to the browser: no script and no other site sends or reads it."""
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(COOKIE, cookie, max_age=_SECONDS, httponly=True, samesite="strict", secure=secure)

    def form_word(self, session: str) -> str:
        """What every form of a session carries."""
        return self._sign("form", session)

    def check_form(self, session: str, given: str) -> None:
        """Raises BadEvent where a form is not one of this session's pages."""
        if not hmac.compare_digest(given.encode(), self.form_word(session).encode()):
            raise BadEvent("this form is not of this page, or too old: go back, load the page again", 403)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret, f"{purpose} {text}".encode(), hashlib.sha256).hexdigest()
