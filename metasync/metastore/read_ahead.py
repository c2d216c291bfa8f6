"""Making the next batch while the one before is on its way: the metastore and we work at the same time."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()
_IN_MEMORY = 16 * 1024 * 1024


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; each next one is made, in a thread, while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        context = copy_context()

        def following() -> Any:
            return context.run(lambda: next(items, _END))

        made = worker.submit(following)
        while (item := made.result()) is not _END:
            made = worker.submit(following)
            yield item


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time."""
    while batch := list(islice(items, size)):
        yield batch


class Spool:
    """Batches that are needed again, and are too many to hold: in memory at first, then in a file without a name."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, batch: Any) -> None:
        pickle.dump(batch, self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[Any]:
        """What was put, in its order, from the first on."""
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)
            except EOFError:
                return
