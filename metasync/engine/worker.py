"""The worker: claims events, one repository at a time, and gives each to the controller."""

from __future__ import annotations

import threading
import time
import uuid

import structlog

from metasync.engine.controller import Controller
from metasync.engine.metrics import Metrics
from metasync.engine.scope import Scope, event_from_json
from metasync.errors import MetasyncError, StoreUnavailable
from metasync.settings.models import Events
from metasync.store.events import EventQueue, StoredEvent

_LEASE = 60.0
_IDLE = 0.5
log = structlog.get_logger()


class Worker:
    """Threads that take events until they are stopped; the change in hand is always finished."""

    def __init__(self, queue: EventQueue, controller: Controller, settings: Events, metrics: Metrics) -> None:
        self._queue = queue
        self._controller = controller
        self._settings = settings
        self._metrics = metrics
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._holder = uuid.uuid4().hex[:12]
        self._threads: list[threading.Thread] = []

    def start(self, threads: int = 2) -> None:
        for number in range(threads):
            thread = threading.Thread(target=self._run, name=f"worker-{number}")
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Something is in the queue."""
        self._woken.set()

    def stop(self) -> None:
        """Asks the threads to end after the change in hand."""
        self._stopping.set()
        self._woken.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                events = self._queue.claim(self._holder, _LEASE)
            except StoreUnavailable as error:
                log.error("the queue cannot be read", error=str(error))
                events = ()
            if events:
                self.work(events)
            else:
                self._woken.wait(_IDLE)
                self._woken.clear()

    def work(self, events: tuple[StoredEvent, ...]) -> None:
        """One look at a repository for all of its events."""
        ids = [event.id for event in events]
        repository = events[0].repository
        start, result = time.perf_counter(), "failed"
        keeper = _LeaseKeeper(self._queue, ids, self._holder)
        structlog.contextvars.bind_contextvars(run=uuid.uuid4().hex[:8], repository=repository)
        try:
            scope = Scope(
                repository,
                tuple(event_from_json(e.payload) for e in events if e.kind == "webhook"),
                full=any(e.kind in ("schedule", "command", "start") for e in events),
            )
            outcome = self._controller.sync(scope, stop=self._stopping.is_set)
            if self._stopping.is_set() and outcome.failures:
                self._queue.release(ids)
                result = "stopped"
            elif outcome.failures:
                self._failed(events, "; ".join(dict.fromkeys(o.message for o in outcome.failures))[:2000])
            else:
                self._queue.done(ids)
                result = "refused" if outcome.refused else "done"
                self._metrics.finished(result, len(ids))
                log.info("reconciled", events=len(ids), changes=len(outcome.outcomes), conflicts=outcome.conflicts)
        except StoreUnavailable as error:
            # The lease runs out and somebody takes the events again.
            log.error("the store failed", error=str(error))
        except MetasyncError as error:
            self._failed(events, str(error))
        except Exception as error:  # a bug must not take the worker, and the event is kept
            log.exception("unexpected error")
            self._failed(events, f"unexpected {type(error).__name__}: {error}")
        finally:
            keeper.stop()
            self._metrics.reconciled(result, time.perf_counter() - start)
            structlog.contextvars.unbind_contextvars("run", "repository")

    def _failed(self, events: tuple[StoredEvent, ...], reason: str) -> None:
        """Each event is tried again by its own count of attempts, or is dead."""
        try:
            for event in events:
                attempts = event.attempts + 1
                if attempts >= self._settings.max_attempts:
                    self._queue.dead([event.id], reason)
                    self._metrics.finished("dead", 1)
                    log.error("event is dead", id=event.id, reason=reason, help=f"metasync events replay {event.id}")
                else:
                    self._queue.retry([event.id], reason, attempts, self._settings.retry_delay)
                    self._metrics.finished("retried", 1)
                    log.warning("event is tried again", id=event.id, attempts=attempts, reason=reason)
        except StoreUnavailable as error:
            log.error("the store failed", error=str(error))


class _LeaseKeeper:
    """Keeps claimed events ours while a long pass runs."""

    def __init__(self, queue: EventQueue, ids: list[int], holder: str) -> None:
        self._queue, self._ids, self._holder = queue, ids, holder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LEASE / 3):
            try:
                self._queue.extend(self._ids, self._holder, _LEASE)
            except StoreUnavailable as error:
                log.warning("the lease was not extended", error=str(error))
