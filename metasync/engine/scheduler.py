"""Poller and schedule: they put events into the queue like everybody else. APScheduler is a bare ticker."""

from __future__ import annotations

import uuid
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
from metasync.store.ledger import Ledger

log = structlog.get_logger()
_LEASE = 90.0


class Scheduler:
    """One replica leads: it alone polls and schedules, as long as it keeps its lease."""

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        lakefs: LakeFS,
        queue: EventQueue,
        ledger: Ledger,
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._lakefs = lakefs
        self._queue = queue
        self._ledger = ledger
        self._wake = wake
        self._holder = uuid.uuid4().hex[:12]
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def start(self) -> None:
        interval = IntervalTrigger(seconds=self._settings.events.poll.interval, timezone="UTC")
        self._scheduler.add_job(self._tick, interval, args=("poll",), max_instances=1, coalesce=True)
        cron = CronTrigger.from_crontab(self._settings.reconcile.schedule, timezone="UTC")
        self._scheduler.add_job(self._tick, cron, args=("schedule",), max_instances=1, coalesce=True)
        self._scheduler.add_job(self._tick, args=("start",))
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=True)

    def _tick(self, kind: str) -> None:
        try:
            lease = max(_LEASE, self._settings.events.poll.interval * 2)
            leads = self._ledger.hold_lease("leader", self._holder, lease)
            # The look at the start is everybody's own: a former leader may be dead and its lease not over.
            if not leads and kind != "start":
                return
            for repository in repositories(self._rules, self._lakefs):
                self._queue.put_once(repository, kind, {})
            if kind == "schedule":
                self._queue.forget(self._settings.events.retention)
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
