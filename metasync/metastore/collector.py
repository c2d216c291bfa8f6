"""Python's cyclic collector, held off while a batch is decoded or encoded.

A batch makes hundreds of thousands of objects that all live on: with every generation that fills, the collector walks
them for nothing. Measured: 10,000 partitions of 20 columns decode in 0.56 s with it and in 0.16 s without.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_holding = 0
_was_on = False


@contextmanager
def held_off() -> Iterator[None]:
    """While any thread is in here, the collector does not run; after the last it is as it was before the first."""
    global _holding, _was_on  # noqa: PLW0603 - the collector is the whole process's
    with _lock:
        if _holding == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _holding += 1
    try:
        yield
    finally:
        with _lock:
            _holding -= 1
            if _holding == 0 and _was_on:
                gc.enable()
