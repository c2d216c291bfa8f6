"""The composition root: every object is built once, here; threads are started and signals heard here."""

from __future__ import annotations

import ipaddress
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn

from metasync.engine.adopt import Adopter
from metasync.engine.apply import Applier
from metasync.engine.compare import Comparer
from metasync.engine.controller import Controller
from metasync.engine.discovery import Discoverer
from metasync.engine.ledger import MergeFinder
from metasync.engine.lineage import Lineage
from metasync.engine.merges import MergeBook
from metasync.engine.metrics import Metrics
from metasync.engine.observe import Observer
from metasync.engine.record import Recorder
from metasync.engine.resolve import Resolver
from metasync.engine.scheduler import Scheduler, repositories
from metasync.engine.sources import SourceFinder
from metasync.engine.tables import TableReader
from metasync.engine.undo import Undoer
from metasync.engine.waiting import Waiter
from metasync.engine.worker import Worker
from metasync.errors import ConfigurationError, MetasyncError
from metasync.lakefs import LakeFS
from metasync.metastore import ConnectionPool, Metastore
from metasync.planning.rules import RuleSet, problems
from metasync.settings import Settings
from metasync.store import Database, open_database
from metasync.store.events import EventQueue
from metasync.store.inbox import Inbox
from metasync.store.leases import Leases
from metasync.store.ledger import Ledger
from metasync.store.notices import Notices
from metasync.store.pauses import Pauses
from metasync.store.refs import RefStore
from metasync.store.versions import VersionStore
from metasync.web import make_app

log = structlog.get_logger()


@dataclass(frozen=True)
class Parts:
    """Everything that one process is made of."""

    settings: Settings
    rules: RuleSet
    database: Database
    leases: Leases
    queue: EventQueue
    refs: RefStore
    versions: VersionStore
    ledger: Ledger
    pauses: Pauses
    notices: Notices
    lakefs: LakeFS
    metastore: Metastore
    controller: Controller
    resolver: Resolver
    undoer: Undoer
    comparer: Comparer
    adopter: Adopter
    waiter: Waiter
    metrics: Metrics


@contextmanager
def parts(settings: Settings) -> Iterator[Parts]:
    """Builds the parts and closes what must be closed. Raises ConfigurationError, StoreUnavailable."""
    if found := problems(settings.rules):
        raise ConfigurationError("\n".join(found))
    rules, metrics = RuleSet.of(settings), Metrics()
    database = open_database(settings.store.url)
    refs, versions, ledger = RefStore(database), VersionStore(database), Ledger(database)
    pauses, notices = Pauses(database), Notices(database)
    lakefs = LakeFS(settings.lakefs, metrics.lakefs_call)
    leases = Leases(database, settings.store.lease)
    metastore = Metastore(
        ConnectionPool(settings.metastore),
        partition_batch=settings.metastore.partition_batch,
        observe_call=metrics.metastore_call,
        may_write=leases.check,
    )
    reader = TableReader(lakefs, metastore, refs, versions, rules, settings.instance, database.store_id)
    lineage = Lineage(lakefs, refs, versions, reader, rules)
    sources = SourceFinder(lakefs, refs, ledger)
    finder = MergeFinder(lakefs, refs, ledger, sources)
    merges = MergeBook(lakefs, metastore, refs, versions, ledger, lineage, sources, rules)
    discoverer = Discoverer(lakefs, refs, versions, lineage, rules)
    observer = Observer(
        database, lakefs, metastore, refs, versions, lineage, finder, merges, discoverer, pauses, rules,
        settings.instance,
    )  # fmt: skip
    applier = Applier(database, lakefs, metastore, versions, rules, settings.instance)
    recorder = Recorder(database, refs, versions, ledger, notices)
    controller = Controller(settings, leases, rules, observer, applier, recorder, refs, pauses, ledger, metrics)
    resolver = Resolver(
        settings, rules, observer, controller, lakefs, lineage, merges, refs, versions, ledger, metastore
    )
    undoer = Undoer(controller, lineage, refs, versions, ledger, metastore)
    comparer = Comparer(settings, rules, controller, observer, lineage, merges, refs, versions, ledger)
    queue = EventQueue(database)
    waiter = Waiter(rules, queue, refs, ledger, notices, leases)
    adopter = Adopter(settings, database, rules, controller, lineage, metastore, refs, versions, ledger)
    try:
        yield Parts(
            settings, rules, database, leases, queue, refs, versions, ledger, pauses, notices, lakefs, metastore,
            controller, resolver, undoer, comparer, adopter, waiter, metrics,
        )  # fmt: skip
    finally:
        metastore.close()
        database.close()


def serve(settings: Settings) -> int:
    """Runs the service until SIGTERM or SIGINT; finishes the change in hand. Gives the exit code."""
    token = settings.server.token.get_secret_value() if settings.server.token else None
    if token is None and not _is_loopback(settings.server.host):
        raise ConfigurationError(
            f"server.token is needed where others can reach the server ({settings.server.listen}); "
            "set server.token_file or server.token: ${METASYNC_TOKEN}"
        )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with parts(settings) as built, _only_one(built):
        worker = Worker(built.queue, built.leases, built.controller, settings.events, built.metrics)
        scheduler = Scheduler(settings, built.rules, built.lakefs, built.queue, built.leases, worker.wake)
        inbox = Inbox(built.queue)
        app = make_app(
            database=built.database,
            inbox=inbox,
            rules=built.rules,
            metrics=built.metrics,
            token=token,
            alive=worker.alive,
            wake=worker.wake,
            refresh=lambda: refresh_gauges(built),
            waiter=built.waiter,
            webhook=settings.events.webhook,
        )
        web = _Web(app, settings)
        web.start()
        worker.start()
        scheduler.start()
        log.info("serving", listen=settings.server.listen, mode=settings.mode, rules=len(settings.rules))
        while not stopping.wait(1.0):
            if not web.is_alive():
                log.error("the web server has ended; is the address in use?", listen=settings.server.listen)
                break
        log.info("stopping: the change in hand is finished first")
        scheduler.stop()
        worker.stop()
        worker.join()
        failed = not web.stop() and not stopping.is_set()
        inbox.close()
    log.info("stopped")
    return 1 if failed else 0


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
            lifespan="off", access_log=False,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web")

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Ends it; whether it was still running."""
        running = self._thread.is_alive()
        self._server.should_exit = True
        self._thread.join()
        return running

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:
            # uvicorn leaves so where it cannot bind; the main thread sees the thread gone.
            return


def refresh_gauges(built: Parts) -> None:
    """Sets the gauges that are counted in the store."""
    depth, age = built.queue.depth()
    built.metrics.queue.set(depth)
    built.metrics.queue_age.set(age)
    counts = built.ledger.counts()
    built.metrics.conflicts.set(counts["conflicts"])
    built.metrics.plans.set(counts["plans"])
    built.metrics.source_unknown.set(counts["source_unknown"])


def configure_logging(settings: Settings | None) -> None:
    """Log lines on standard error: for people on a terminal, JSON elsewhere. Other libraries' warnings go along."""
    form = settings.logging.format if settings else "auto"
    level = getattr(logging, (settings.logging.level if settings else "info").upper())
    people = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


@dataclass(frozen=True)
class Check:
    """One thing that `doctor` looked at."""

    subject: str
    ok: bool
    finding: str
    help: str = ""


def diagnose(settings: Settings) -> list[Check]:
    """Looks at the rules, the store, lakeFS and the metastore, each on its own."""
    found = problems(settings.rules)
    checks = [Check("rules", not found, "; ".join(found) or f"{len(settings.rules)} rules, none shadowed")]
    try:
        database = open_database(settings.store.url)
        database.close()
        volatile = settings.store.url.startswith("sqlite:////tmp")
        help_text = "its file lies in /tmp: put it where it survives a restart" if volatile else ""
        checks.append(Check("store", True, "answers, migrated", help_text))
    except MetasyncError as error:
        checks.append(Check("store", False, str(error), "check store.url"))
    checks += _diagnose_lakefs(settings)
    pool = ConnectionPool(settings.metastore)
    metastore = Metastore(pool)
    try:
        checks.append(Check("metastore", True, f"answers (version {metastore.ping()}); thrift's C codec is active"))
    except MetasyncError as error:
        checks.append(Check("metastore", False, str(error), "check metastore.uris and that the metastore runs"))
    finally:
        metastore.close()
    if settings.server.token is None:
        checks.append(Check("webhook", True, "no token: only loopback is served", "set server.token_file"))
    return checks


def _diagnose_lakefs(settings: Settings) -> list[Check]:
    lakefs = LakeFS(settings.lakefs)
    try:
        checks = [Check("lakefs", True, f"answers (version {lakefs.version()})")]
        for name in repositories(RuleSet.of(settings), lakefs):
            repository = lakefs.get_repository(name)
            if repository is None:
                checks.append(Check(f"repository {name}", False, "lakeFS has none", "check the rule's repository"))
                continue
            installed = lakefs.has_objects(name, repository.default_branch, "_lakefs_actions")
            hint = (
                "" if installed else f"metasync hooks install {name} --url ...; until then the poller alone sees refs"
            )
            state = "has action files" if installed else "has no action file"
            checks.append(Check(f"repository {name}", True, f"{repository.default_branch} {state}", hint))
        return checks
    except MetasyncError as error:
        return [Check("lakefs", False, str(error), "check lakefs.endpoint_url and the credentials")]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
