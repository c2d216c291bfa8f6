"""Several things at once, each in the context of whoever asked: the lease it works under, the run that it logs for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from metasync.errors import Stopping

T = TypeVar("T")
R = TypeVar("R")
_STOP: ContextVar[Callable[[], bool] | None] = ContextVar("stop", default=None)


@contextmanager
def interruptible(stop: Callable[[], bool]) -> Iterator[None]:
    """Until its end, `may_go_on` raises Stopping once `stop` says so, in this thread and those that it starts."""
    token = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(token)


def may_go_on() -> None:
    """Asked before each request of whoever only reads. Raises Stopping where the process is asked to end."""
    stop = _STOP.get()
    if stop is not None and stop():
        raise Stopping("the process is asked to end; the next one goes on")


def parallel(width: int, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function over all items, `width` at a time; the first error is raised after all have ended."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=width) as pool:
        # A context can be entered once at a time, so each item gets a copy.
        started = [pool.submit(copy_context().run, function, item) for item in items]
    return [future.result() for future in started]
