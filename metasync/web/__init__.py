"""The web edge: authenticate, bound, parse, store durably, answer. It decides nothing."""

from metasync.web.app import make_app

__all__ = ["make_app"]
