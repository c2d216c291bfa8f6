"""What operators graph, in Prometheus's conventions; labels have few values, never a ref or table."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metasync import __version__
from metasync.planning.plan import Applied, Plan

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)


class Metrics:
    """All metrics of one process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._events = Counter("metasync_events", "Events accepted, by kind.", ["kind"], registry=r)
        self._finished = Counter("metasync_events_finished", "Events by what became of them.", ["result"], registry=r)
        self.queue = Gauge("metasync_queue_events", "Events that wait or are worked on.", registry=r)
        self.queue_age = Gauge("metasync_queue_oldest_seconds", "Age of the oldest of them.", registry=r)
        self._reconcile = Histogram(
            "metasync_reconcile_seconds",
            "A reconcile of one repository, by result.",
            ["result"],
            buckets=_SECONDS,
            registry=r,
        )
        self._changes = Counter("metasync_changes", "Changes by kind and state.", ["kind", "state"], registry=r)
        self._refusals = Gauge(
            "metasync_refusals", "Refusals of the last plan, by repository.", ["repository"], registry=r
        )
        self.conflicts = Gauge("metasync_conflicts_open", "Conflicts that wait for a person.", registry=r)
        self.plans = Gauge("metasync_plans_waiting", "Plans that wait for a person.", registry=r)
        self.source_unknown = Gauge("metasync_merges_source_unknown", "Merges whose source is unknown.", registry=r)
        self._requests = Histogram(
            "metasync_request_seconds",
            "Requests by system and call.",
            ["system", "call", "ok"],
            buckets=_SECONDS,
            registry=r,
        )
        info = Gauge("metasync_build_info", "Always 1.", ["version"], registry=r)
        info.labels(__version__).set(1)

    def accepted(self, kind: str) -> None:
        self._events.labels(kind).inc()

    def finished(self, result: str, number: int) -> None:
        self._finished.labels(result).inc(number)

    def reconciled(self, result: str, seconds: float) -> None:
        self._reconcile.labels(result).observe(seconds)

    def applied(self, outcome: Applied) -> None:
        self._changes.labels(outcome.change.kind, outcome.state).inc()

    def planned(self, plan: Plan) -> None:
        self._refusals.labels(plan.repository).set(len(plan.refusals))

    def metastore_call(self, call: str, seconds: float, ok: bool) -> None:
        self._requests.labels("metastore", call, str(ok).lower()).observe(seconds)

    def lakefs_call(self, call: str, seconds: float, ok: bool) -> None:
        self._requests.labels("lakefs", call, str(ok).lower()).observe(seconds)
