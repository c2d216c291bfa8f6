"""Poller and schedule: they put events into the queue like everybody else.

All waiting goes by a clock that nobody can set; the schedule's times are the wall clock's, which may jump either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from apscheduler.triggers.cron import CronTrigger

from metasync.errors import MetasyncError
from metasync.lakefs import LakeFS
from metasync.planning.patterns import matches
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.event_queue import EventQueue
from metasync.store.leases import Lease, Leases, uptime

_EVERY = 0.5
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
        now: Callable[[], datetime] = lambda: datetime.fromtimestamp(time.time(), UTC),
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._lakefs = lakefs
        self._queue = queue
        self._leases = leases
        self._wake = wake
        self._now = now
        self._lease: Lease | None = None
        self._cron = CronTrigger.from_crontab(settings.reconcile.schedule, timezone="UTC")
        self._looked = now()
        self._keep_at = self._poll_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler")

    @property
    def leads(self) -> bool:
        """Whether this process polls and schedules."""
        lease = self._lease
        return lease is not None and uptime() < lease.deadline

    def start(self) -> None:
        self._lead(first=False)
        self._thread.start()

    def stop(self) -> None:
        """Ends the ticks; another replica may lead at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lease is not None:
            self._leases.release(self._lease)
            self._lease = None

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        start = uptime()
        self._keep_at, self._poll_at = start + self._leases.seconds / 3, start + self._settings.events.poll.interval
        # A former leader may be dead and its lease not over: the sync at the start is everybody's own.
        self._safely(lambda: self._tell_all("start"))
        while not self._stopping.wait(_EVERY):
            self._safely(self.tick)

    def tick(self) -> None:
        """Does what is due: keeps the lease, polls, and reconciles by the schedule."""
        now = uptime()
        if now >= self._keep_at:
            self._keep_at = now + self._leases.seconds / 3
            self._lead()
        if now >= self._poll_at:
            self._poll_at = now + self._settings.events.poll.interval
            self._tick("poll")
        if self._is_scheduled():
            self._tick("schedule")

    def _is_scheduled(self) -> bool:
        """Whether the schedule names a time since this was last asked; once, however far the clock jumped forward."""
        last, now = self._looked, self._now()
        self._looked = now
        if now <= last:
            # Set back: what lies between comes again, and is not waited for.
            return False
        due = self._cron.get_next_fire_time(None, last)
        return due is not None and last < due <= now

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # the next tick must come, whatever this one met
            log.exception("unexpected error in the scheduler", error=str(error))

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
