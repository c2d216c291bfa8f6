"""The one place that keeps secrets out of what people read: errors, log lines, answers, pages.

Secrets are given to `remember` as soon as they are known; `redact` takes them out of any text, and with them whatever
stands where a URL has its user and password.
"""

from __future__ import annotations

import json
import re
from threading import Lock
from urllib.parse import quote, unquote

HIDDEN = "***"
_SHORTEST = 6
"""Shorter texts are found everywhere; taking them out would leave nothing to read."""
_IN_URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^\s'\"]{0,1000}@")
_IN_QUERY = re.compile(r"(?P<key>[?&;](?:[a-z]*(?:password|secret|token|key))=)[^&\s'\"]*", re.I)
_known: set[str] = set()
_lock = Lock()


def remember(secret: str | None) -> None:
    """Has a secret taken out of every text from now on, also as a URL or JSON writes it."""
    if secret and len(secret) >= _SHORTEST:
        with _lock:
            _known.update({secret, quote(secret, safe=""), unquote(secret), json.dumps(secret)[1:-1]})


def remember_url(url: str) -> None:
    """As `remember`, for the password of a URL."""
    rest = url.partition("://")[2]
    if "@" in rest:
        remember(rest.rpartition("@")[0].partition(":")[2])


def redact(text: str) -> str:
    """The text without secrets."""
    with _lock:
        # The longest first: one secret may be a part of another.
        found = sorted((secret for secret in _known if secret in text), key=len, reverse=True)
    for secret in found:
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _IN_URL.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\g<key>{HIDDEN}", text)
