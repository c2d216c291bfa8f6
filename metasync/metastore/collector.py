"""Python's cyclic collector, held off while a batch is sent and its answer read.

A batch makes hundreds of thousands of objects that all live on: with every generation that fills, the collector walks
them for nothing. Measured: 10,000 partitions of 20 columns decode in 0.56 s with it and in 0.16 s without.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_holding = 0
_was_on = False
_since = 0.0
_LONGEST = 30.0
"""Seconds after which it runs all the same."""


@contextmanager
def held_off() -> Iterator[None]:
    """While any thread is in here, the collector does not run; after the last it is as it was before the first."""
    global _holding, _was_on, _since  # noqa: PLW0603 - the collector is the whole process's
    with _lock:
        if _holding == 0:
            _was_on, _since = gc.isenabled(), time.monotonic()
            gc.disable()
        _holding += 1
    try:
        yield
    finally:
        with _lock:
            _holding -= 1
            overdue = time.monotonic() - _since > _LONGEST
            if overdue:
                _since = time.monotonic()
            if _holding == 0 and _was_on:
                gc.enable()
        if overdue and _was_on:
            # Batches of several threads overlap without end.
            gc.collect()
