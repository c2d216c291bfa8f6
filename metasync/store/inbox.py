"""Group commit: events that come while others are being made durable share the next transaction with one another.

A commit waits for the disk; a thousand webhooks a second cannot each have one of their own.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

from metasync.errors import StoreUnavailable
from metasync.store.events import EventQueue, NewEvent

_AT_ONCE = 500
_MOST_WAITING = 10_000


class Inbox:
    """Takes events from many threads and puts them into the queue from one."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self._waiting: list[tuple[NewEvent, Future[int]]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    def put(self, event: NewEvent) -> Future[int]:
        """The event's number, once it is durable. The future fails with StoreUnavailable, and then it is not stored.

        Raises StoreUnavailable where too many wait already.
        """
        future: Future[int] = Future()
        # Nobody may take it back: it may be on the disk by then.
        future.set_running_or_notify_cancel()
        with self._changed:
            if self._closed or len(self._waiting) >= _MOST_WAITING:
                raise StoreUnavailable("the store does not take events as fast as they come")
            self._waiting.append((event, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Ends once all that was taken is stored, or could not be."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            if not batch:
                return
            try:
                numbers = self._queue.put_all([event for event, _ in batch], urgent=True)
            except Exception as error:  # whatever it is, somebody waits for each of these answers
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), number in zip(batch, numbers, strict=True):
                future.set_result(number)
