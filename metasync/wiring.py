"""The composition root: every object of the engine is built once, here, on the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from metasync.application.answers import System, moment
from metasync.application.orders import Orders
from metasync.application.queries import Queries
from metasync.application.requests import Requests
from metasync.engine.apply.applier import Applier
from metasync.engine.commands import Commands
from metasync.engine.commands.adopt import Adopter
from metasync.engine.commands.approve import Approver
from metasync.engine.commands.compare import Comparer
from metasync.engine.commands.merge_by_hand import Merger
from metasync.engine.commands.prune import Pruner
from metasync.engine.commands.recreate import Recreator
from metasync.engine.commands.repair import Repairer
from metasync.engine.commands.resolve import Resolver
from metasync.engine.commands.undo import Undoer
from metasync.engine.controller import Controller
from metasync.engine.observe.observer import Observer
from metasync.engine.observe.open_merges import OpenMerges
from metasync.engine.record.recorder import Recorder
from metasync.engine.threads import may_go_on
from metasync.engine.track.directories import Discoverer
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.manifest_reader import ManifestReader
from metasync.engine.track.merge_log import MergeFinder
from metasync.engine.track.merge_order import MergeOrder
from metasync.engine.track.merge_sources import SourceFinder
from metasync.engine.track.table_reader import TableReader
from metasync.engine.track.tracker import Tracker
from metasync.errors import ConfigurationError
from metasync.lakefs import LakeFS
from metasync.metastore import ConnectionPool, Metastore
from metasync.planning.rules import RuleSet, problems_of
from metasync.settings import Settings
from metasync.store.stores import Stores, open_stores
from metasync.telemetry.metrics import Metrics
from metasync.telemetry.tracing import Tracer, open_tracer


@dataclass(frozen=True)
class Parts(Stores):
    """Everything that one process is made of."""

    settings: Settings
    rules: RuleSet
    lakefs: LakeFS
    metastore: Metastore
    controller: Controller
    commands: Commands
    queries: Queries
    requests: Requests
    orders: Orders
    metrics: Metrics


@contextmanager
def parts(settings: Settings, patience: float = 600.0) -> Iterator[Parts]:
    """Builds the parts and closes what must be closed. Raises ConfigurationError, StoreUnavailable.

    `patience` is how long, in seconds, an order waits for somebody else who works on the repository.
    """
    if found := problems_of(settings):
        raise ConfigurationError("\n".join(found))
    with open_stores(settings.store) as stores:
        tracer = open_tracer(settings.telemetry.traces, settings.instance)
        built = _build(settings, stores, tracer, patience)
        try:
            yield built
        finally:
            built.metastore.close()
            tracer.close()


def _build(settings: Settings, stores: Stores, tracer: Tracer, patience: float) -> Parts:
    rules, metrics, instance = RuleSet.of(settings), Metrics(), settings.instance

    def called(system: str, call: str, seconds: float, ok: bool) -> None:
        metrics.called(system, call, seconds, ok)
        tracer.request(system, call, seconds, ok)

    lakefs = LakeFS(settings.lakefs, partial(called, "lakefs"), may_go_on)
    metastore = Metastore(
        ConnectionPool(settings.metastore),
        partition_batch=settings.metastore.partition_batch,
        observe_call=partial(called, "metastore"),
        may_write=stores.leases.check,
        may_go_on=may_go_on,
    )
    manifests = ManifestReader(
        metastore,
        stores.versions,
        stores.readings,
        use_log=settings.metastore.notification_log,
        servers=settings.metastore.uris,
    )
    reader = TableReader(stores, lakefs, metastore, manifests, rules, instance)
    lineage = Lineage(stores, lakefs, reader, rules)
    sources = SourceFinder(stores, lakefs, rules)
    finder = MergeFinder(stores, lakefs, lineage, sources)
    order = MergeOrder(stores, lineage, sources, rules)
    discoverer = Discoverer(stores, lakefs, lineage, rules)
    tracker = Tracker(stores, lakefs, metastore, lineage, finder, order, discoverer, rules)
    merges = OpenMerges(stores, lakefs, metastore, rules)
    observer = Observer(stores, metastore, merges, rules, instance)
    applier = Applier(stores.database, lakefs, metastore, stores.versions, rules, instance)
    recorder = Recorder(stores, metrics.delayed)
    controller = Controller(settings, stores, rules, tracker, observer, applier, recorder, metrics, tracer, patience)
    commands = Commands(
        adopter=Adopter(settings, stores, rules, controller, tracker, metastore),
        approver=Approver(settings, stores, rules, controller, tracker, observer, lakefs),
        comparer=Comparer(settings, stores, rules, controller, tracker, merges),
        merger=Merger(stores, rules, controller, tracker, lakefs),
        pruner=Pruner(settings, stores, rules, controller, lakefs, metastore),
        recreator=Recreator(settings, stores, rules, controller, tracker, observer),
        repairer=Repairer(settings, stores, rules, controller, tracker, observer, metastore),
        resolver=Resolver(stores, controller, tracker, observer, merges),
        undoer=Undoer(stores, controller, tracker, metastore),
    )
    metrics.mode(settings.mode)
    return Parts(
        **vars(stores),
        settings=settings,
        rules=rules,
        lakefs=lakefs,
        metastore=metastore,
        controller=controller,
        commands=commands,
        queries=Queries(settings, stores, lambda: _systems(metrics, stores)),
        requests=Requests(settings, stores),
        orders=Orders(
            stores=stores,
            rules=rules,
            lakefs=lakefs,
            controller=controller,
            commands=commands,
        ),
        metrics=metrics,
    )


def _systems(metrics: Metrics, stores: Stores) -> tuple[System, ...]:
    """How the last request to each system went. The store is asked now."""
    found = []
    for name in ("lakefs", "metastore"):
        last = metrics.last.get(name)
        message = "" if last is None or last.ok else f"{last.call} failed"
        found.append(
            System(name=name, ok=last.ok if last else None, at=moment(last.at if last else None), message=message)
        )
    return (*found, System(name="store", ok=True, at=moment(stores.database.now())))
