"""The scheduler on clocks that jump: polls go by the monotonic clock, the schedule by the wall clock, both never stop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metasync.engine import scheduler as module
from metasync.engine.scheduler import Scheduler
from metasync.planning.rules import RuleSet
from metasync.settings import parse_settings
from metasync.store.leases import Lease

SETTINGS = parse_settings("rules: [{name: a, repository: lake, branches: [b], tables: ['s.*']}]")


class Queue:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def put_once(self, _repository: str, kind: str, _payload: Any) -> None:
        self.kinds.append(kind)

    def forget(self, _older: float) -> None:
        return


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = datetime(2026, 1, 1, 10, 0, tzinfo=UTC), 1000.0

    def go(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds


class Leases:
    seconds = 30.0

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks

    def take(self, name: str) -> Lease:
        return Lease(name, 1, self.clocks.steady + self.seconds)

    extend = take


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(module, "uptime", lambda: made.steady)
    return made


def running(clocks: Clocks) -> tuple[Scheduler, Queue]:
    queue: Any = Queue()
    leases: Any = Leases(clocks)
    leases.extend = lambda lease: leases.take(lease.name)
    lakefs: Any = None
    made = Scheduler(SETTINGS, RuleSet.of(SETTINGS), lakefs, queue, leases, lambda: None, now=lambda: clocks.wall)
    made._lead(first=False)
    made._keep_at, made._poll_at = clocks.steady + 10, clocks.steady + 60
    return made, queue


def hour(scheduler: Scheduler, clocks: Clocks) -> None:
    for _ in range(3600 // 5):
        clocks.go(5)
        scheduler.tick()


@pytest.mark.parametrize("jump", [0, -86400, 86400, -1800, 1800, -365 * 86400, 5 * 365 * 86400])
def test_a_clock_that_jumps_stops_nothing(clocks: Clocks, jump: int) -> None:
    scheduler, queue = running(clocks)
    hour(scheduler, clocks)
    assert (queue.kinds.count("poll"), queue.kinds.count("schedule")) == (60, 1)
    clocks.wall += timedelta(seconds=jump)
    for _ in range(2):
        hour(scheduler, clocks)
    assert scheduler.leads
    assert queue.kinds.count("poll") == 180
    # Once for each hour, and once more for all that was jumped over.
    assert queue.kinds.count("schedule") in (3, 4)


def test_the_next_tick_comes_whatever_this_one_met(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, queue = running(clocks)
    monkeypatch.setattr(module, "repositories", lambda *_: 1 / 0)
    clocks.go(61)
    scheduler._safely(scheduler.tick)
    monkeypatch.undo()
    monkeypatch.setattr(module, "uptime", lambda: clocks.steady)
    clocks.go(61)
    scheduler._safely(scheduler.tick)
    assert queue.kinds.count("poll") == 1
