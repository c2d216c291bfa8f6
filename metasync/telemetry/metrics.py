"""What operators graph, in Prometheus's conventions; labels have few values, never a ref or table.

docs/metrics.md lists them; deploy/ has alert rules and a dashboard on them.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metasync import __version__
from metasync.planning.plan import Applied

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)
Happening = Literal["creation", "merge", "deletion"]
_FORMER_KINDS: dict[Happening, str] = {"creation": "birth", "merge": "merge", "deletion": "end"}
"""What the deprecated metasync_sync_lag_seconds calls them."""
_DELAYS = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


@dataclass(frozen=True)
class LastCall:
    """How this process's last request to a system went; `at` in Unix seconds."""

    ok: bool
    at: float
    call: str


class Metrics:
    """All metrics of one process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._events = Counter("metasync_events", "Webhooks accepted, by kind.", ["kind"], registry=r)
        self._finished = Counter("metasync_events_finished", "Events by what became of them.", ["result"], registry=r)
        self.queue = Gauge("metasync_queue_events", "Events that wait or are worked on.", registry=r)
        self.queue_age = Gauge("metasync_queue_oldest_seconds", "Age of the oldest of them.", registry=r)
        self.dead = Gauge("metasync_events_dead", "Events that failed for good and wait for a person.", registry=r)
        self._delay = Histogram(
            "metasync_sync_delay_seconds",
            "From a creation, merge or deletion in lakeFS to all of it applied, by kind.",
            ["kind"],
            buckets=_DELAYS,
            registry=r,
        )
        self._lag = Histogram(
            "metasync_sync_lag_seconds",
            "Deprecated, as metasync_sync_delay_seconds is the same with plainer kinds.",
            ["kind"],
            buckets=_DELAYS,
            registry=r,
        )
        self._reconcile = Histogram(
            "metasync_reconcile_seconds", "A reconcile of one repository, by result.", ["result"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._changes = Counter("metasync_changes", "Changes by kind and state.", ["kind", "state"], registry=r)
        self._attention = Gauge("metasync_attention", "What needs a person's attention, by kind.", ["kind"], registry=r)
        self._needs = Gauge("metasync_needs", "Deprecated, as metasync_attention is the same.", ["kind"], registry=r)
        self.conflicts = Gauge("metasync_conflicts_open", "Items in conflict that wait for a person.", registry=r)
        self.plans = Gauge("metasync_plans_waiting", "Plans that wait for a person.", registry=r)
        self.source_unknown = Gauge("metasync_merges_source_unknown", "Merges whose source is unknown.", registry=r)
        self.refs = Gauge("metasync_refs", "Refs that live or end.", registry=r)
        self.mirrors = Gauge("metasync_mirrors", "Mirrors that were made for them.", registry=r)
        self.orphans = Gauge("metasync_orphans", "Mirrors that no rule wants any more.", registry=r)
        self._requests = Histogram(
            "metasync_request_seconds", "Requests by system and call.", ["system", "call", "ok"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self.pool = Gauge(
            "metasync_metastore_connections", "Connections to the metastore, by state.", ["state"], registry=r
        )
        self.leader = Gauge("metasync_leader", "1 on the replica that polls and schedules.", registry=r)
        self.paused = Gauge("metasync_paused", "Pauses that hold.", registry=r)
        self._mode = Gauge("metasync_mode", "1 for the mode that is configured.", ["mode"], registry=r)
        self._notified = Counter(
            "metasync_notifications", "Messages sent, by channel and result.", ["channel", "result"], registry=r
        )
        info = Gauge("metasync_build_info", "Always 1.", ["version"], registry=r)
        info.labels(__version__).set(1)
        self._kinds: set[str] = set()
        self.last: dict[str, LastCall] = {}

    def needs_attention(self, kinds: Iterable[str]) -> None:
        """Sets what needs a person's attention, by kind; a kind that nothing is of any more is 0."""
        counts = Counts(kinds)
        for kind in self._kinds | counts.keys():
            self._attention.labels(kind).set(counts[kind])
            self._needs.labels(kind).set(counts[kind])
        self._kinds |= counts.keys()

    def mode(self, mode: str) -> None:
        self._mode.labels(mode).set(1)

    def notified(self, channel: str, ok: bool) -> None:
        self._notified.labels(channel, "sent" if ok else "failed").inc()

    def delayed(self, kind: Happening, seconds: float) -> None:
        """Counts how many seconds after something happened in lakeFS all of it was applied."""
        self._delay.labels(kind).observe(max(seconds, 0.0))
        self._lag.labels(_FORMER_KINDS[kind]).observe(max(seconds, 0.0))

    def accepted(self, kind: str) -> None:
        self._events.labels(kind).inc()

    def finished(self, result: str, number: int) -> None:
        self._finished.labels(result).inc(number)

    def reconciled(self, result: str, seconds: float) -> None:
        self._reconcile.labels(result).observe(seconds)

    def applied(self, outcome: Applied) -> None:
        self._changes.labels(outcome.change.kind, outcome.state).inc()

    def called(self, system: str, call: str, seconds: float, ok: bool) -> None:
        """A request to `lakefs` or the `metastore` has ended; not ok: it failed, or was refused."""
        self._requests.labels(system, call, str(ok).lower()).observe(seconds)
        self.last[system] = LastCall(ok, time.time(), call)
