"""Several things at once, each in the context of whoever asked: the lease it works under, the run that it logs for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def parallel(width: int, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function over all items, `width` at a time; the first error is raised after all have ended."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=width) as pool:
        # A context can be entered once at a time, so each item gets a copy.
        started = [pool.submit(copy_context().run, function, item) for item in items]
    return [future.result() for future in started]
