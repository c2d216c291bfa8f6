"""Poller and schedule: they put events into the queue like everybody else. APScheduler is a bare ticker."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from metasync.errors import MetasyncError
from metasync.lakefs import LakeFS
from metasync.planning.patterns import matches
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.events import EventQueue
from metasync.store.leases import Lease, Leases, uptime

log = structlog.get_logger()


class Scheduler:
    """One replica leads: it alone polls and schedules, as long as it keeps its lease."""

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        lakefs: LakeFS,
        queue: EventQueue,
        leases: Leases,
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._lakefs = lakefs
        self._queue = queue
        self._leases = leases
        self._wake = wake
        self._lease: Lease | None = None
        self._scheduler = BackgroundScheduler(timezone="UTC")

    @property
    def leads(self) -> bool:
        """Whether this process polls and schedules."""
        lease = self._lease
        return lease is not None and uptime() < lease.deadline

    def start(self) -> None:
        every = {"max_instances": 1, "coalesce": True}
        self._lead(first=False)
        # A former leader may be dead and its lease not over: the look at the start is everybody's own.
        self._scheduler.add_job(self._tell_all, args=("start",))
        keep = IntervalTrigger(seconds=self._leases.seconds / 3, timezone="UTC")
        self._scheduler.add_job(self._lead, keep, **every)
        interval = IntervalTrigger(seconds=self._settings.events.poll.interval, timezone="UTC")
        self._scheduler.add_job(self._tick, interval, args=("poll",), **every)
        cron = CronTrigger.from_crontab(self._settings.reconcile.schedule, timezone="UTC")
        self._scheduler.add_job(self._tick, cron, args=("schedule",), **every)
        self._scheduler.start()

    def stop(self) -> None:
        """Ends the ticks; another replica may lead at once."""
        self._scheduler.shutdown(wait=True)
        if self._lease is not None:
            self._leases.release(self._lease)
            self._lease = None

    def _lead(self, *, first: bool = True) -> None:
        try:
            if self._lease is not None:
                self._lease = self._leases.extend(self._lease)
            if self._lease is None:
                self._lease = self._leases.take("leader")
                if self._lease is not None and first:
                    log.info("this replica leads now: it polls and schedules")
                    self._tick("poll")
        except MetasyncError as error:
            log.warning("the leader's lease was not kept", error=str(error))

    def _tick(self, kind: str) -> None:
        if not self.leads:
            return
        self._tell_all(kind)
        if kind == "schedule":
            try:
                self._queue.forget(self._settings.events.retention)
            except MetasyncError as error:
                log.warning("old events were not forgotten", error=str(error))

    def _tell_all(self, kind: str) -> None:
        try:
            for repository in repositories(self._rules, self._lakefs):
                self._queue.put_once(repository, kind, {})
            self._wake()
        except MetasyncError as error:
            log.warning("the tick was skipped", kind=kind, error=str(error))


def repositories(rules: RuleSet, lakefs: LakeFS) -> list[str]:
    """The repositories that rules name. lakeFS is asked for a list only where a name is a pattern."""
    patterns = [rule.repository for rule in rules.rules]
    literal = [p for p in patterns if not p.startswith(("re:", "!")) and not any(mark in p for mark in "*?[")]
    wild = [p for p in patterns if p not in literal]
    listed = [name for name in lakefs.list_repositories() if matches(name, wild)] if wild else []
    return list(dict.fromkeys([*literal, *listed]))
