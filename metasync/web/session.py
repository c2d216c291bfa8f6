"""Sessions of the status page: a cookie signed with the token, and a signature in every form (CSRF)."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from http.cookies import CookieError, SimpleCookie

from fastapi import Request, Response
from itsdangerous import BadData, Signer, URLSafeTimedSerializer
from starlette.datastructures import Headers

from metasync.errors import BadEvent
from metasync.store.ended_sessions import EndedSessions

COOKIE = "metasync_session"
_SECONDS = 12 * 3600
_MOST_ATTEMPTS, _LATELY = 10, 60.0
"""So many wrong tokens in so many seconds, from one address: a person types one or two."""
_MOST_ADDRESSES = 1000


class Sessions:
    """Signed, not stored: replicas with one token take each other's. Without a token everybody has a session."""

    def __init__(self, token: str | None, ended: EndedSessions) -> None:
        self._token = token
        self._ended = ended
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()
        # Without a token one process serves this machine alone, and its sessions end with it.
        secret = token or secrets.token_hex(32)
        self._cookies = URLSafeTimedSerializer(secret, salt="metasync session")
        self._forms = Signer(secret, salt="metasync form")

    @property
    def asks_for_token(self) -> bool:
        return self._token is not None

    def begin(self) -> str:
        """A new session's cookie."""
        return self._cookies.dumps(secrets.token_hex(16))

    def login(self, given: str, address: str) -> bool:
        """Whether somebody typed the token. Raises BadEvent where their address has sent too many wrong ones lately."""
        now = time.monotonic()
        lately = self._attempts.get(address, deque[float](maxlen=_MOST_ATTEMPTS))
        if len(lately) == _MOST_ATTEMPTS and now - lately[0] < _LATELY:
            raise BadEvent("too many wrong tokens were sent; try again in a minute", 429)
        good = self.is_token(given)
        if not good:
            lately.append(now)
            self._attempts[address] = lately
            self._attempts.move_to_end(address)
            if len(self._attempts) > _MOST_ADDRESSES:
                self._attempts.popitem(last=False)
        return good

    def is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.strip().encode(), self._token.encode())

    def of(self, request: Request) -> str | None:
        """The request's session, if it has one that holds; the token as a bearer counts as one."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given):
            return "bearer"
        cookie = request.cookies.get(COOKIE, "")
        session, until = self._read(cookie)
        return cookie if until > time.time() and not self._ended.is_ended(session) else None

    def is_signed(self, headers: Headers) -> bool:
        """Whether headers carry a cookie that was signed here, ended or not: nobody is asked."""
        found = SimpleCookie()
        with contextlib.suppress(CookieError):
            found.load(headers.get("cookie", ""))
        return COOKIE in found and self._read(found[COOKIE].value)[1] > 0

    def end(self, cookie: str) -> None:
        """The cookie is good for nothing any more, whoever kept it."""
        session, until = self._read(cookie)
        if until:
            self._ended.end(session, until)

    def _read(self, cookie: str) -> tuple[str, float]:
        """The session and when it ends (Unix seconds); 0 for what was not signed here.

        A session is what was signed, not the text of the cookie: base64 has several texts for one signature.
        """
        try:
            session, signed_at = self._cookies.loads(cookie, return_timestamp=True)
        except BadData:
            return "", 0.0
        return str(session), float(signed_at.timestamp()) + _SECONDS

    def keep(self, request: Request, response: Response, cookie: str) -> None:
        """Gives the cookie to the browser: no script and no other site sends or reads it."""
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(COOKIE, cookie, max_age=_SECONDS, httponly=True, samesite="strict", secure=secure)

    def form_word(self, session: str) -> str:
        """What every form of a session carries."""
        return self._forms.get_signature(session).decode()

    def check_form(self, session: str, given: str) -> None:
        """Raises BadEvent where a form is not one of this session's pages."""
        if not self._forms.verify_signature(session, given):
            raise BadEvent("this form is not of this page, or too old: go back, load the page again", 403)
