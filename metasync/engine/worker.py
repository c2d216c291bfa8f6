"""The worker: claims events, one repository at a time, and gives each to the controller."""

from __future__ import annotations

import threading
import time
import uuid

import structlog

from metasync.engine.controller import Controller, Result
from metasync.engine.scope import Scope
from metasync.errors import LeaseLost, MetasyncError, Stopping, StoreUnavailable, TemporaryError
from metasync.lakefs.events import event_from_json
from metasync.planning.changes import subject_of
from metasync.redaction import redact
from metasync.settings.models import Events
from metasync.store.event_queue import RECHECK, Claim, EventQueue, StoredEvent
from metasync.store.leases import Leases
from metasync.telemetry.metrics import Metrics

_IDLE = 0.5
_TURN = 20
"""Passes over one repository before another gets its turn."""
_FULL = ("schedule", "command", "start")
_TOLD = ("webhook", "command")
"""Events that somebody sent; the others are our own reminders to sync, and the next one does the same."""
log = structlog.get_logger()


class Worker:
    """Threads that take events until they are stopped; the change in hand is always finished."""

    def __init__(
        self, queue: EventQueue, leases: Leases, controller: Controller, settings: Events, metrics: Metrics
    ) -> None:
        self._queue = queue
        self._leases = leases
        self._controller = controller
        self._settings = settings
        self._metrics = metrics
        self._stopping = threading.Event()
        self._woken = threading.Event()
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
                claim = self._queue.claim(self._leases)
                if claim is not None:
                    self.work(claim)
            except MetasyncError as error:
                log.error("the queue cannot be read", error=str(error))
                claim = None
            except Exception:  # no file is left, no memory: what came now must not end the work for good
                log.exception("unexpected error; the worker goes on")
                claim = None
            if claim is None:
                self._woken.wait(_IDLE)
                self._woken.clear()

    def work(self, claim: Claim) -> None:
        """One sync of a repository for all of its events."""
        start, result = time.perf_counter(), "failed"
        structlog.contextvars.bind_contextvars(run=uuid.uuid4().hex[:8], repository=claim.repository)
        try:
            with self._leases.keep(claim.lease):
                result = self._work(claim)
        except LeaseLost as error:
            log.warning("left to whoever has the lease by now", reason=str(error))
            result = "lost"
        except StoreUnavailable as error:
            # The lease is given back or runs out, and somebody takes the events again.
            log.error("the store failed", error=str(error))
        finally:
            self._metrics.reconciled(result, time.perf_counter() - start)
            structlog.contextvars.unbind_contextvars("run", "repository")

    def _work(self, claim: Claim) -> str:
        events = self._without_worn(claim.events)
        if not events:
            return "dead"
        scope = Scope(
            claim.repository,
            tuple(event_from_json(e.payload) for e in events if e.kind == "webhook"),
            full=any(e.kind in _FULL for e in events),
        )
        try:
            outcome = self._controller.sync(scope, stop=self._stopping.is_set, passes=_TURN)
        except (LeaseLost, StoreUnavailable):
            raise
        except Stopping:
            self._queue.release([event.id for event in events])
            return "stopped"
        except MetasyncError as error:
            self._failed(events, str(error), temporary=isinstance(error, TemporaryError))
            return "failed"
        except Exception as error:  # a bug must not take the worker, and the event is kept
            log.exception("unexpected error")
            self._failed(events, redact(f"unexpected {type(error).__name__}: {error}"), temporary=False)
            return "failed"
        return self._finish(events, outcome)

    def _finish(self, events: tuple[StoredEvent, ...], outcome: Result) -> str:
        ids = [event.id for event in events]
        if self._stopping.is_set() and (outcome.failures or outcome.more):
            self._queue.release(ids)
            return "stopped"
        if outcome.failures:
            reasons = (f"{subject_of(o.change)}: {o.message}" for o in outcome.failures)
            reason = "; ".join(dict.fromkeys(reasons))[:2000]
            self._failed(events, reason, temporary=all(o.state == "waiting" for o in outcome.failures))
            return "failed"
        if outcome.more:
            # Others first; what the events said is in the store by now.
            self._queue.put_once(outcome.repository, "more", {})
        if outcome.again_in is not None:
            self._queue.put_once(outcome.repository, RECHECK, {}, delay=outcome.again_in)
        self._queue.done(ids)
        result = "refused" if outcome.refused else "more" if outcome.more else "done"
        self._metrics.finished(result, len(ids))
        log.info("reconciled", events=len(ids), changes=len(outcome.outcomes), conflicts=outcome.conflicts)
        return result

    def _without_worn(self, events: tuple[StoredEvent, ...]) -> tuple[StoredEvent, ...]:
        """The events less those that had all their attempts, each of which ended with its process."""
        worn = [event for event in events if event.attempts >= self._settings.max_attempts]
        for event in worn:
            self._dead(event, event.error or f"the process ended {event.attempts} times while it worked on this")
        return tuple(event for event in events if event not in worn)

    def _failed(self, events: tuple[StoredEvent, ...], reason: str, *, temporary: bool) -> None:
        """Each event is tried again; one that failed too often, with no outage to explain it, is dead."""
        for event in events:
            attempts = event.attempts + 1
            if temporary:
                self._queue.postpone(event, reason, self._settings.retry_delay)
            elif attempts < self._settings.max_attempts:
                self._queue.retry(event.id, reason, attempts, self._settings.retry_delay)
            else:
                self._dead(event, reason)
                continue
            self._metrics.finished("retried", 1)
            log.warning("event is tried again", id=event.id, attempts=attempts, reason=reason)

    def _dead(self, event: StoredEvent, reason: str) -> None:
        self._queue.dead(event, reason, replaces=event.kind not in _TOLD)
        self._metrics.finished("dead", 1)
        log.error("event is dead", id=event.id, reason=reason, help=f"metasync events replay {event.id}")
