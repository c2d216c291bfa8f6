"""`metasync serve`: the threads of a running service, its web server, and the signals that end it."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn

from metasync.application.notifications import Notifier
from metasync.engine.scheduler import Scheduler
from metasync.engine.worker import Worker
from metasync.errors import ConfigurationError
from metasync.settings import Settings
from metasync.store.ended_sessions import EndedSessions
from metasync.web import Edge, Inbox, make_app
from metasync.web.protocol import BoundedProtocol
from metasync.wiring import Parts, parts

_PATIENCE = 5.0
"""Seconds that an order over HTTP waits for somebody who works on the repository."""
log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Runs the service until SIGTERM or SIGINT; finishes the change in hand. Gives the exit code."""
    token = settings.server.token.get_secret_value() if settings.server.token else None
    if token is None and not _is_loopback(settings.server.host):
        raise ConfigurationError(
            f"server.token is needed where others can reach the server ({settings.server.listen}); "
            "set server.token_file or server.token: ${METASYNC_TOKEN}"
        )
    # The web server's thread gives way at every wait for the network, and would get its next turn 5 ms later.
    sys.setswitchinterval(0.001)
    stopping = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: log.warning("SIGHUP: the configuration is read at the start; restart me"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(stopping, settings.server.shutdown_grace))
    with parts(settings, _PATIENCE) as built, _only_one(built):
        worker = Worker(built.queue, built.leases, built.controller, settings.events, built.metrics)
        scheduler = Scheduler(settings, built.rules, built.lakefs, built.queue, built.leases, worker.wake)
        notifier = Notifier(settings, built, built.metrics, lambda: scheduler.leads)
        inbox = Inbox(built.queue)
        threads = {"a worker": worker.alive, "the scheduler": scheduler.alive, "the notifier": notifier.alive}
        edge = edge_of(
            built,
            inbox,
            alive=lambda: all(alive() for alive in threads.values()),
            wake=worker.wake,
            leads=lambda: scheduler.leads,
        )
        web = _Web(make_app(edge), settings)
        threads["the web server"] = web.is_alive
        failed = True
        try:
            # All or nothing: what cannot start ends what has started.
            worker.start()
            scheduler.start()
            notifier.start()
            web.start()
            log.info("serving", listen=settings.server.listen, mode=settings.mode, rules=len(settings.rules))
            while not stopping.wait(1.0) and not (ended := [what for what, alive in threads.items() if not alive()]):
                pass
            failed = not stopping.is_set()
            if failed:
                log.error("the process ends, as a thread of it did; is the address in use?", ended=ended)
        finally:
            log.info("stopping: the change in hand is finished first")
            worker.stop()
            notifier.stop()
            scheduler.stop()
            worker.join()
            notifier.join()
            web.stop()
            inbox.close()
    log.info("stopped")
    return 1 if failed else 0


def _stop(stopping: threading.Event, grace: float) -> None:
    """Asks the process to end, and ends it after the grace: what it had begun is finished by the next one."""
    if stopping.is_set():
        return
    stopping.set()

    def end() -> None:
        log.error("still not stopped after the grace; the process is ended", seconds=grace)
        os._exit(1)

    timer = threading.Timer(grace, end)
    timer.daemon = True
    timer.start()


def edge_of(
    built: Parts, inbox: Inbox, *, alive: Callable[[], bool], wake: Callable[[], None], leads: Callable[[], bool]
) -> Edge:
    """What the web edge needs of the parts."""
    return Edge(
        settings=built.settings,
        database=built.database,
        inbox=inbox,
        rules=built.rules,
        metrics=built.metrics,
        queries=built.queries,
        requests=built.requests,
        orders=built.orders,
        sessions=EndedSessions(built.database),
        alive=alive,
        wake=wake,
        refresh=lambda: refresh_gauges(built, leads()),
    )


@contextmanager
def _only_one(built: Parts) -> Iterator[None]:
    """One service on an SQLite store; replicas share a PostgreSQL. Raises ConfigurationError where another serves."""
    if built.database.dialect != "sqlite":
        yield
        return
    lease = built.leases.take("serve")
    if lease is None:
        raise ConfigurationError(
            f"another metasync serves on the store {built.database.path}; replicas need a PostgreSQL in store.url"
        )
    try:
        yield
    finally:
        built.leases.release(lease)


class _Web:
    """uvicorn in a thread of its own, so that signals stay ours."""

    def __init__(self, app: Any, settings: Settings) -> None:
        config = uvicorn.Config(
            app, host=settings.server.host, port=settings.server.port, log_config=None,
            lifespan="off", access_log=False, http=BoundedProtocol, ws="none",
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web")

    def start(self) -> None:
        """Returns once it takes requests, or cannot."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Ends it; whether it was still running."""
        running = self._thread.is_alive()
        self._server.should_exit = True
        if running:
            self._thread.join()
        return running

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:
            # uvicorn leaves so where it cannot bind; the main thread sees the thread gone.
            return


def refresh_gauges(built: Parts, leads: bool) -> None:
    """Sets the gauges that are counted in the store, and those of this process."""
    metrics, status = built.metrics, built.queries.status()
    metrics.queue.set(status.queued_events)
    metrics.queue_age.set(status.oldest_event_seconds)
    metrics.dead.set(status.dead_events)
    metrics.conflicts.set(status.open_conflicts)
    metrics.plans.set(sum(item.kind in ("withheld", "unsafe") for item in status.attention))
    metrics.source_unknown.set(status.merges_with_unknown_source)
    metrics.refs.set(status.refs)
    metrics.mirrors.set(status.mirrors)
    metrics.orphans.set(sum(item.kind == "orphan" for item in status.attention))
    metrics.paused.set(len(status.paused))
    metrics.leader.set(leads)
    metrics.needs_attention(item.kind for item in status.attention)
    busy, idle = built.metastore.connections()
    metrics.pool.labels("busy").set(busy)
    metrics.pool.labels("idle").set(idle)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
