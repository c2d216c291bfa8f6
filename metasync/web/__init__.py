"""The web edge: authenticate, bound, parse, store durably, answer. It decides nothing."""

from metasync.web.app import make_app
from metasync.web.inbox import Inbox

__all__ = ["Inbox", "make_app"]
