"""Group commit: webhooks that come while others are being made durable share the next transaction with one another.

A commit waits for the disk; a thousand webhooks a second cannot each have one of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from metasync.errors import StoreRefused, StoreUnavailable
from metasync.store.event_queue import EventQueue, NewEvent

_AT_ONCE = 1000
_MOST_WAITING = 10_000


class Inbox:
    """Takes events on the web server's loop, and stores them in a thread, as many at once as have come meanwhile."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self._waiting: list[tuple[NewEvent, asyncio.Future[int]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "inbox")

    async def put(self, event: NewEvent) -> int:
        """The event's number, once it is durable. Raises StoreUnavailable where it is not stored."""
        if len(self._waiting) >= _MOST_WAITING:
            raise StoreUnavailable("the store does not take events as fast as they come")
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        # Whoever goes away meanwhile takes nothing back.
        return await asyncio.shield(stored)

    def close(self) -> None:
        """Ends the thread; the web server has answered everybody before."""
        self._thread.shutdown()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            await self._store(batch)
        self._writing = None

    async def _store(self, batch: Sequence[tuple[NewEvent, asyncio.Future[int]]]) -> None:
        """Stores events together; where the store refuses one of them, the others without it."""
        events = [event for event, _ in batch]
        try:
            numbers = await asyncio.get_running_loop().run_in_executor(self._thread, self._queue.put_all, events, True)
        except Exception as error:  # whatever it is, somebody waits for each of these answers
            if isinstance(error, StoreRefused) and len(batch) > 1:
                middle = len(batch) // 2
                await self._store(batch[:middle])
                await self._store(batch[middle:])
                return
            for _, stored in batch:
                stored.set_exception(error)
                # Where nobody waits any more, nobody needs an answer.
                stored.exception()
        else:
            for (_, stored), number in zip(batch, numbers, strict=True):
                stored.set_result(number)
