"""Leases: who works on a repository, or leads, and how those who lost one are kept from writing.

A lease is a row with a token that grows with each new holder. The holder keeps it while it works; one that stopped
keeping it loses it once it is over. Every transaction of a holder proves, with the row locked, that the token is still
its own (fencing), and `Hold.check` refuses by the holder's own clock before each write to the metastore.

On PostgreSQL a lease is over by the database's clock. On SQLite, all holders are on one machine: a file lock that dies
with its process says whether a holder lives, so that nobody waits for one that was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, select, update

from metasync.errors import Busy, LeaseLost, MetasyncError, StoreUnavailable
from metasync.store.database import Database, current_fence, fenced, insert_new
from metasync.store.schema import leases

_RETRY = 0.2
log = structlog.get_logger()
Take = Callable[[Connection, str], "Lease | None"]
"""Takes the lease of a name inside a transaction; None where somebody has it."""


@dataclass(frozen=True)
class Lease:
    """What a holder has: `deadline` is on the clock of `uptime`, taken before the store was asked."""

    name: str
    token: int
    deadline: float
    lock: int | None = None


@dataclass(frozen=True)
class LeaseRow:
    """A lease as others see it; `until` is in Unix seconds."""

    name: str
    holder: str
    token: int
    until: float


class Leases:
    """Takes, keeps and gives back the leases of one process; `seconds` is how long one outlives its holder."""

    def __init__(self, database: Database, seconds: float, holder: str | None = None) -> None:
        self._database = database
        self.seconds = seconds
        self.holder = holder or f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:6]}"

    def take(self, name: str) -> Lease | None:
        """The lease, if nobody has it. Raises StoreUnavailable."""
        with self.taking() as take, self._database.transaction() as connection:
            return take(connection, name)

    @contextmanager
    def taking(self) -> Iterator[Take]:
        """Takes leases inside a transaction of the caller's; what was taken is given back where that fails."""
        taken: list[Lease] = []

        def take(connection: Connection, name: str) -> Lease | None:
            lease = self._take(connection, name)
            taken.extend([lease] if lease is not None else [])
            return lease

        try:
            yield take
        except BaseException:
            for lease in taken:
                _unlock(lease.lock)
            raise

    def extend(self, lease: Lease) -> Lease | None:
        """The lease with a later deadline; None where it is somebody else's by now. Raises StoreUnavailable."""
        deadline = uptime() + self.seconds
        with self._database.transaction() as connection:
            until = self._database.now_of(connection) + self.seconds
            mine = (leases.c.name == lease.name, leases.c.token == lease.token)
            if connection.execute(update(leases).where(*mine).values(until=until)).rowcount == 0:
                return None
        return Lease(lease.name, lease.token, deadline, lease.lock)

    def release(self, lease: Lease) -> None:
        """Gives it back: the next may take it at once. Where the store is away, it runs out by itself."""
        try:
            with self._database.transaction() as connection:
                mine = (leases.c.name == lease.name, leases.c.token == lease.token)
                connection.execute(update(leases).where(*mine).values(until=0.0))
        except (StoreUnavailable, LeaseLost):
            pass
        finally:
            _unlock(lease.lock)

    def rows(self) -> tuple[LeaseRow, ...]:
        """The leases that somebody has."""
        with self._database.reading() as connection:
            now = self._database.now_of(connection)
            rows = connection.execute(select(leases).where(leases.c.until > now).order_by(leases.c.name)).all()
        return tuple(LeaseRow(row.name, row.holder, row.token, row.until) for row in rows)

    @contextmanager
    def keep(self, lease: Lease) -> Iterator[Hold]:
        """Works behind the fence of a lease that was taken, and gives it back at the end."""
        hold = Hold(self, lease)
        try:
            with fenced(hold):
                yield hold
        finally:
            self.release(hold.stop())

    @contextmanager
    def hold(self, name: str, *, patience: float, waiting: Callable[[str], None] | None = None) -> Iterator[Hold]:
        """Takes a lease, waiting `patience` seconds for whoever has it, and keeps it until the end.

        Within a hold of the same name, that one serves. `waiting` is called once, with the holder. Raises Busy where it
        stays taken.
        """
        current = current_fence()
        if isinstance(current, Hold) and current.name == name:
            yield current
            return
        deadline, called = uptime() + patience, waiting is None
        while (lease := self.take(name)) is None:
            if not called and waiting is not None:
                waiting(self._who(name))
                called = True
            if uptime() > deadline:
                raise Busy(
                    f"{name.partition(':')[2] or name}: {self._who(name)} works on it; try again when it is done, see: "
                    "metasync status"
                )
            time.sleep(_RETRY)  # neither database signals when a row changes
        with self.keep(lease) as hold:
            yield hold

    def check(self) -> None:
        """Whether this thread may write to the metastore now. Raises LeaseLost where it has no lease any more."""
        current = current_fence()
        if not isinstance(current, Hold):
            raise LeaseLost("nothing is written to the metastore without a lease on its repository")
        current.check()

    def _who(self, name: str) -> str:
        return next((row.holder for row in self.rows() if row.name == name), "another process")

    def _take(self, connection: Connection, name: str) -> Lease | None:
        deadline = uptime() + self.seconds
        alive, lock = self._lock(name)
        if alive:
            return None
        try:
            token = self._take_row(connection, name, abandoned=lock is not None)
        except BaseException:
            _unlock(lock)
            raise
        if token is None:
            _unlock(lock)
            return None
        return Lease(name, token, deadline, lock)

    def _take_row(self, connection: Connection, name: str, *, abandoned: bool) -> int | None:
        now = self._database.now_of(connection)
        connection.execute(insert_new(connection, leases).values(name=name, holder="", token=0, until=0.0))
        row = connection.execute(
            select(leases).where(leases.c.name == name).with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None or (row.until > now and not abandoned):
            return None
        token = int(row.token) + 1
        values = {"holder": self.holder, "token": token, "until": now + self.seconds}
        connection.execute(update(leases).where(leases.c.name == name).values(**values))
        return token

    def _lock(self, name: str) -> tuple[bool, int | None]:
        """On SQLite: whether a living process has the lock of the name's file, else that lock; elsewhere nothing."""
        if self._database.path is None:
            return False, None
        path = f"{self._database.path}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"{path}: the lock file cannot be opened ({error.strerror})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return True, None
        except OSError as error:
            os.close(file)
            raise StoreUnavailable(f"{path}: the lock cannot be taken ({error.strerror})") from error
        return False, file


class Hold:
    """A lease at work: kept by a thread of its own; a fence for the store, and a check for all else."""

    def __init__(self, leases_: Leases, lease: Lease) -> None:
        self._leases = leases_
        self._lease: Lease | None = lease
        self._last = lease
        # A call that begins just before the end may take its time.
        self._margin = leases_.seconds / 4
        self.name = lease.name
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost where somebody else may have the lease by now, or soon."""
        lease = self._lease
        if lease is None or uptime() > lease.deadline - self._margin:
            raise LeaseLost(f"{self.name}: this process lost its lease; whoever has it now does the work")

    def prove(self, connection: Connection) -> None:
        """As `check`, asked of the store inside a transaction: until that ends, nobody else can take the lease."""
        mine = select(leases.c.token).where(leases.c.name == self.name, leases.c.token == self._last.token)
        if connection.execute(mine.with_for_update(read=True, key_share=True)).one_or_none() is None:
            self._lease = None
            self.check()

    def stop(self) -> Lease:
        """Ends the keeping; gives the lease, to release it."""
        self._over.set()
        self._thread.join()
        return self._last

    def _keep(self) -> None:
        while not self._over.wait(self._leases.seconds / 3):
            try:
                self._lease = self._leases.extend(self._last)
            except MetasyncError:
                # The store is away; the deadline stands, and is checked before each write.
                continue
            except Exception:  # whatever it is, the next try may keep the lease; without one it runs out
                log.exception("unexpected error while a lease was kept", lease=self.name)
                continue
            if self._lease is None:
                return
            self._last = self._lease


def uptime() -> float:
    """Seconds on a clock that goes on while this process, or the machine, sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
