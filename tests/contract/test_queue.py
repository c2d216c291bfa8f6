"""The queue, its leases and the group commit: one behaviour suite, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from metasync.errors import Busy, LeaseLost, StoreUnavailable
from metasync.store import Database, open_database
from metasync.store.event_queue import Claim, EventQueue, NewEvent
from metasync.store.leases import Leases
from metasync.web import Inbox
from tests.conftest import fresh_database, until
from tests.contract.conftest import Clock


@pytest.fixture
def queue(database: Database) -> EventQueue:
    return EventQueue(database)


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database, 60.0)


def claimed(queue: EventQueue, leases: Leases) -> Claim:
    claim = queue.claim(leases)
    assert claim is not None
    return claim


def dies(database: Database, leases: Leases, claim: Claim, clock: Clock) -> None:
    """The process of a claim ends: on SQLite its file lock goes with it, on PostgreSQL its lease runs out."""
    if claim.lease.lock is not None:
        import os

        os.close(claim.lease.lock)
    else:
        clock.now += leases.seconds + 1


# The queue


def test_the_events_of_a_repository_are_claimed_at_once_by_one(queue: EventQueue, leases: Leases) -> None:
    first = [queue.put("a", "poll", {}), queue.put("b", "poll", {}), queue.put("a", "poll", {})]
    a, b = claimed(queue, leases), claimed(queue, leases)
    assert (a.repository, a.ids, b.repository, b.ids) == ("a", (first[0], first[2]), "b", (first[1],))
    later = queue.put("a", "poll", {})
    assert queue.claim(leases) is None
    queue.done(a.ids)
    leases.release(a.lease)
    assert claimed(queue, leases).ids == (later,)


def test_what_a_dead_process_had_claimed_is_claimed_again(
    database: Database, queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    number = queue.put("a", "webhook", {"x": 1})
    dies(database, leases, claimed(queue, leases), clock)
    again = claimed(queue, Leases(database, 60.0))
    assert again.ids == (number,) and again.events[0].attempts == 1 and again.lease.token == 2


def test_a_repository_that_is_never_quiet_does_not_starve_another(
    queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    queue.put("loud", "webhook", {})
    clock.now += 1
    queue.put("quiet", "webhook", {})
    turns = []
    for _ in range(4):
        clock.now += 1
        claim = claimed(queue, leases)
        turns.append(claim.repository)
        queue.done(claim.ids)
        queue.put("loud", "more", {})
        leases.release(claim.lease)
    assert turns[:2] == ["loud", "quiet"]


def test_a_claim_takes_so_many_events_and_no_more(queue: EventQueue, leases: Leases) -> None:
    queue.put_all([NewEvent("a", "webhook", {"n": n}) for n in range(1200)])
    claim = claimed(queue, leases)
    assert [event.payload["n"] for event in claim.events] == list(range(1000))
    queue.done(claim.ids)
    leases.release(claim.lease)
    assert len(claimed(queue, leases).events) == 200


def test_a_failed_event_waits_longer_each_time_and_a_dead_one_can_be_replayed(
    queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    number = queue.put("a", "webhook", {})
    claim = claimed(queue, leases)
    queue.retry(number, "no", 1, 10.0)
    leases.release(claim.lease)
    assert queue.claim(leases) is None
    clock.now += 13
    claim = claimed(queue, leases)
    assert [event.attempts for event in claim.events] == [1]
    queue.retry(number, "no", 2, 10.0)
    leases.release(claim.lease)
    clock.now += 14
    assert queue.claim(leases) is None
    clock.now += 12
    claim = claimed(queue, leases)
    queue.dead(claim.events[0], "gave up")
    leases.release(claim.lease)
    assert [e.error for e in queue.list(["dead"])] == ["gave up"] and queue.depth() == (0, 0.0)
    assert queue.replay(number)
    claim = claimed(queue, leases)
    queue.done(claim.ids)
    clock.now += 100
    assert queue.forget(50) == 1 and queue.list() == ()


def test_an_outage_wears_no_event_out_and_is_over_soon_after_its_end(
    queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    queue.put("a", "webhook", {})
    for _ in range(50):
        claim = queue.claim(leases)
        if claim is not None:
            assert claim.events[0].attempts == 0
            queue.postpone(claim.events[0], "the metastore is away", 5.0)
            leases.release(claim.lease)
        clock.now += 60
    assert queue.list()[0].due_at < clock.now + 76


def test_dead_events_are_kept_but_a_reminder_stands_for_those_before_it(queue: EventQueue, leases: Leases) -> None:
    for kind in ("webhook", "webhook", "poll", "poll"):
        queue.put("a", kind, {})
    claim = claimed(queue, leases)
    for event in claim.events:
        queue.dead(event, "no", replaces=event.kind == "poll")
    assert sorted(event.kind for event in queue.list(["dead"])) == ["poll", "webhook", "webhook"]
    assert queue.replay_dead() == 3 and queue.depth()[0] == 3


def test_a_dead_event_blocks_no_later_one(queue: EventQueue, leases: Leases) -> None:
    queue.put("a", "webhook", {})
    claim = claimed(queue, leases)
    queue.dead(claim.events[0], "no")
    leases.release(claim.lease)
    later = queue.put("a", "webhook", {})
    assert claimed(queue, leases).ids == (later,)


def test_what_waits_already_is_not_put_twice(queue: EventQueue, leases: Leases) -> None:
    assert queue.put_once("a", "poll", {}) is not None and queue.put_once("a", "poll", {}) is None
    claimed(queue, leases)
    assert queue.put_once("a", "poll", {}) is not None


def test_many_workers_never_work_on_one_repository_at_once(database: Database, queue: EventQueue) -> None:
    queue.put_all([NewEvent(f"r{n % 5}", "webhook", {}) for n in range(200)])
    busy: set[str] = set()
    seen: list[int] = []
    guard = threading.Lock()

    def work() -> None:
        leases = Leases(database, 60.0)
        while queue.depth()[0]:
            claim = queue.claim(leases)
            if claim is None:
                continue
            with guard:
                assert claim.repository not in busy
                busy.add(claim.repository)
            with leases.keep(claim.lease):
                half = claim.events[: max(1, len(claim.events) // 2)]
                queue.done([event.id for event in half])
                queue.release([event.id for event in claim.events[len(half) :]])
                with guard:
                    seen.extend(event.id for event in half)
                    busy.remove(claim.repository)

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work) for _ in range(6)]:
            future.result()
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 200


# Leases


def test_a_lease_has_one_holder_until_it_is_given_back(database: Database, leases: Leases) -> None:
    other = Leases(database, 60.0)
    lease = leases.take("x")
    assert lease is not None and other.take("x") is None and other.take("y") is not None
    assert [(row.name, row.holder) for row in leases.rows()] == [("x", leases.holder), ("y", other.holder)]
    leases.release(lease)
    taken = other.take("x")
    assert taken is not None and taken.token == lease.token + 1


def test_a_lease_is_somebody_elses_once_it_was_over(
    database: Database, queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    queue.put("a", "webhook", {})
    claim = claimed(queue, leases)
    clock.now += 30
    assert (leases.extend(claim.lease) or claim.lease).token == claim.lease.token
    dies(database, leases, claim, clock)
    other = Leases(database, 60.0)
    taken = other.take(claim.lease.name)
    assert taken is not None and leases.extend(claim.lease) is None


def test_who_lost_a_lease_writes_nothing_any_more(
    database: Database, queue: EventQueue, leases: Leases, clock: Clock
) -> None:
    number = queue.put("a", "webhook", {})
    claim = claimed(queue, leases)
    with leases.keep(claim.lease) as hold:
        hold.check()
        leases.check()
        dies(database, leases, claim, clock)
        taken = Leases(database, 60.0).take(claim.lease.name)
        assert taken is not None
        with pytest.raises(LeaseLost):
            queue.done([number])
        with pytest.raises(LeaseLost):
            hold.check()
        with pytest.raises(LeaseLost):
            leases.check()
    assert [event.state for event in queue.list()] == ["claimed"]
    assert [row.token for row in leases.rows()] == [taken.token]


def test_nothing_is_written_to_the_metastore_without_a_lease(leases: Leases) -> None:
    with pytest.raises(LeaseLost, match="without a lease"):
        leases.check()
    with leases.hold("x", patience=0):
        leases.check()
        with leases.hold("x", patience=0):
            leases.check()
        leases.check()


def test_a_command_waits_for_whoever_works_and_says_so(database: Database, leases: Leases) -> None:
    other, told, released = Leases(database, 60.0, "somebody"), [], threading.Event()
    lease = other.take("x")
    assert lease is not None
    with pytest.raises(Busy, match="somebody works on it"), leases.hold("x", patience=0):
        pass

    def waiting(holder: str) -> None:
        told.append(holder)
        other.release(lease)
        released.set()

    with leases.hold("x", patience=30, waiting=waiting):
        assert told == ["somebody"] and released.is_set()


def test_a_lease_is_kept_while_its_holder_works(database: Database) -> None:
    short = Leases(database, 2.0)
    lease = short.take("x")
    assert lease is not None
    with short.keep(lease) as hold:
        first = database_until(database)
        until("the lease is extended", lambda: hold._last.deadline > lease.deadline)
        hold.check()
    assert database_until(database) == 0.0 and first > 0


def database_until(database: Database) -> float:
    with database.reading() as connection:
        return float(connection.execute(text("SELECT until FROM leases WHERE name = 'x'")).scalar_one())


def test_a_fence_holds_while_a_transaction_is_open(postgresql_database: Database) -> None:
    """A take-over waits for a transaction in flight; none begins after it."""
    database = postgresql_database
    leases, other = Leases(database, 60.0), Leases(database, 60.0)
    lease = leases.take("x")
    assert lease is not None
    with leases.keep(lease):
        with database.transaction():
            expire(database)
            assert other.take("x") is None
        assert other.take("x") is not None
        with pytest.raises(LeaseLost), database.transaction():
            pass


def expire(database: Database) -> None:
    thread = threading.Thread(target=_expire, args=(database,))
    thread.start()
    thread.join()


def _expire(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE leases SET until = 0"))


@pytest.fixture
def postgresql_database(postgresql: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(fresh_database(postgresql, f"m{abs(hash(tmp_path)) % 10**9}"))
    yield opened
    opened.close()


# Group commit


def test_events_that_come_together_share_a_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, commits = EventQueue(database), []
    real = EventQueue.put_all

    def counting(self: EventQueue, new: Any, urgent: bool = False) -> list[int]:
        numbers = real(self, new, urgent)
        commits.append(len(numbers))
        return numbers

    monkeypatch.setattr(EventQueue, "put_all", counting)
    inbox = Inbox(queue)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(inbox.put(NewEvent("a", "webhook", {"n": n})) for n in range(500)))

    numbers = asyncio.run(all_at_once())
    inbox.close()
    assert len(set(numbers)) == 500 and len(commits) < 10
    stored = {event.id: event.payload["n"] for event in queue.list(limit=1000)}
    assert [stored[number] for number in numbers] == list(range(500))


def test_whoever_goes_away_takes_nobody_with_them(database: Database) -> None:
    queue = EventQueue(database)
    inbox = Inbox(queue)

    async def impatient() -> int:
        gone = asyncio.create_task(inbox.put(NewEvent("a", "webhook", {"n": 0})))
        stays = asyncio.create_task(inbox.put(NewEvent("a", "webhook", {"n": 1})))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(impatient()) and len(queue.list()) == 2
    inbox.close()


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Somebody else keeps the events from being written."""
    other = open_database(database._engine.url.render_as_string(hide_password=False), upgrade=False)
    with other.transaction() as connection:
        if other.dialect == "postgresql":
            connection.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        yield
    other.close()


def test_a_locked_store_takes_no_event_and_says_so_in_time(database: Database) -> None:
    queue = EventQueue(database)
    inbox = Inbox(queue)

    async def put(times: int) -> list[Any]:
        puts = (inbox.put(NewEvent("a", "webhook", {})) for _ in range(times))
        return list(await asyncio.gather(*puts, return_exceptions=True))

    with locked(database):
        assert [type(found) for found in asyncio.run(put(3))] == [StoreUnavailable] * 3
    assert asyncio.run(put(1)) == [1] or database.dialect == "postgresql"
    assert len(queue.list()) == 1
    inbox.close()


def test_more_than_can_wait_are_refused_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metasync.web.inbox._MOST_WAITING", 5)
    inbox = Inbox(EventQueue(database))

    async def put() -> list[Any]:
        puts = (inbox.put(NewEvent("a", "webhook", {})) for _ in range(8))
        return list(await asyncio.gather(*puts, return_exceptions=True))

    found = asyncio.run(put())
    assert sum(isinstance(one, StoreUnavailable) for one in found) == 3
    assert len(EventQueue(database).list()) == 5
    inbox.close()


def test_a_probe_writes(database: Database) -> None:
    database.probe()
    database.probe()
    if database.dialect == "sqlite":
        with locked(database), pytest.raises(StoreUnavailable):
            database.probe()
