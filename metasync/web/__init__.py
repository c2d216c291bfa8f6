"""The web edge: authenticate, bound, parse, store durably, answer. It decides nothing."""

from metasync.web.app import Edge, make_app
from metasync.web.inbox import Inbox

__all__ = ["Edge", "Inbox", "make_app"]
