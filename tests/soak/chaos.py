"""What happens to the services, the servers and the wires between them."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Callable

import psycopg

from tests.faults import http, thrift
from tests.faults.hooks import HookProxy
from tests.replicas import Replica
from tests.soak.model import Lake


class Chaos:
    """One mishap at a time, by a seed; some last a while."""

    def __init__(  # noqa: PLR0913  built once, in run.py
        self,
        replicas: list[Replica],
        lakefs: http.HttpProxy,
        hooks: HookProxy,
        database: str,
        lease: float,
        seed: int,
        lakes: list[Lake],
        token: str,
    ) -> None:
        self._lakes, self._token = lakes, token
        self.counts: Counter[str] = Counter()
        self._replicas, self._lakefs, self._hooks = replicas, lakefs, hooks
        self._database, self._lease = database, lease
        self._dice = random.Random(seed)
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._mishaps: list[tuple[int, Callable[[], None]]] = [
            (6, self.kill),
            (2, self.end),
            (3, self.stop),
            (1, self.silence),
            (4, self.metastore_faults),
            (2, self.metastore_outage),
            (4, self.lakefs_faults),
            (2, self.lakefs_outage),
            (3, self.cut_database),
            (3, self.let_hooks_go),
            (4, self.forge),
            (2, self.set_clock),
            (2, self.idle_connections),
        ]

    def do(self) -> None:
        """What is due of earlier mishaps, then a new one."""
        self.mend()
        mishap = self._dice.choices([do for _, do in self._mishaps], [weight for weight, _ in self._mishaps])[0]
        self.counts[mishap.__name__.replace("_", " ")] += 1
        mishap()

    def mend(self, *, all_of_it: bool = False) -> None:
        """Ends the mishaps whose time is over."""
        due = [one for one in self._later if all_of_it or one[0] <= time.monotonic()]
        self._later = [one for one in self._later if one not in due]
        for _, do in due:
            do()

    def calm(self) -> None:
        """Everything works again, from now on."""
        self.mend(all_of_it=True)
        self._lakefs.choose, self._lakefs.down = http.calm, False
        for replica in self._replicas:
            replica.proxy.choose, replica.proxy.down = thrift.calm, False
            if replica.stopped:
                replica.signal(signal.SIGCONT)
            if not replica.running:
                replica.launch()
        self._hooks.lost = self._hooks.doubled = self._hooks.held = 0.0
        self._hooks.let_go()

    @property
    def faults(self) -> int:
        """How many calls failed on purpose."""
        return sum(len(replica.proxy.faults) for replica in self._replicas) + len(self._lakefs.faults)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, do))

    def _running(self) -> Replica | None:
        found = [replica for replica in self._replicas if replica.running and not replica.stopped]
        return self._dice.choice(found) if found else None

    def kill(self) -> None:
        if (victim := self._running()) is not None:
            victim.kill()
            self._after(self._dice.uniform(0, 2 * self._lease), victim.launch)

    def end(self) -> None:
        if (victim := self._running()) is not None:
            # One that is only starting does not hear it yet.
            assert victim.end() in (0, -signal.SIGTERM), victim.log.read_text()[-3000:]
            self._after(self._dice.uniform(0, self._lease), victim.launch)

    def stop(self) -> None:
        """Past its lease, and woken again."""
        if (victim := self._running()) is not None:
            victim.signal(signal.SIGSTOP)
            self._after(self._lease * self._dice.uniform(0.5, 2), lambda: self._wake(victim))

    def _wake(self, victim: Replica) -> None:
        if victim.running and victim.stopped:
            victim.signal(signal.SIGCONT)

    def silence(self) -> None:
        """Nobody is there for a while."""
        for replica in self._replicas:
            replica.kill()
        length = self._dice.uniform(2, 8)
        for replica in self._replicas:
            self._after(length, lambda replica=replica: None if replica.running else replica.launch())  # type: ignore[misc]

    def metastore_faults(self) -> None:
        for replica in self._replicas:
            replica.proxy.choose = thrift.at_random(self._dice.getrandbits(32), self._dice.choice((0.02, 0.05, 0.15)))
            self._after(self._dice.uniform(2, 8), lambda replica=replica: setattr(replica.proxy, "choose", thrift.calm))  # type: ignore[misc]

    def metastore_outage(self) -> None:
        for replica in self._replicas:
            replica.proxy.down = True
            replica.proxy.cut()
            self._after(self._dice.uniform(1, 4), lambda replica=replica: setattr(replica.proxy, "down", False))  # type: ignore[misc]

    def lakefs_faults(self) -> None:
        self._lakefs.choose = http.at_random(self._dice.getrandbits(32), self._dice.choice((0.02, 0.05, 0.15)))
        self._after(self._dice.uniform(2, 8), lambda: setattr(self._lakefs, "choose", http.calm))

    def lakefs_outage(self) -> None:
        self._lakefs.down = True
        self._after(self._dice.uniform(1, 4), lambda: setattr(self._lakefs, "down", False))

    def cut_database(self) -> None:
        """Every connection of the services to their database is ended."""
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def forge(self) -> None:
        """Somebody with the webhook's token sends what never happened, dated as they like."""
        if (target := self._running()) is None:
            return
        lake = self._dice.choice(self._lakes)
        for _ in range(self._dice.randint(1, 5)):
            kind = self._dice.choice(("post-delete-branch", "post-create-branch", "post-commit", "post-revert"))
            at = time.gmtime(time.time() + self._dice.choice((-1e6, -2, 0, 3, 30, 1e6)))
            body = {
                "event_type": kind, "repository_id": lake.repository, "commit_id": "0" * 64,
                "branch_id": self._dice.choice(list(lake.branches)),
                "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
            }  # fmt: skip
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
            url = f"http://127.0.0.1:{target.port}/hooks/lakefs"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10)

    def set_clock(self) -> None:
        """A machine's wall clock jumps, by up to a day either way."""
        replica = self._dice.choice(self._replicas)
        replica.clock.write_text(str(self._dice.choice((-86400, -3600, -30, 30, 3600, 86400))))
        self._after(self._dice.uniform(5, 30), lambda: replica.clock.unlink(missing_ok=True))

    def idle_connections(self) -> None:
        """As many connections as a process may have files, that say nothing."""
        opened: list[socket.socket] = []
        for replica in self._replicas:
            with contextlib.suppress(OSError):
                opened += [socket.create_connection(("127.0.0.1", replica.port), timeout=2) for _ in range(450)]
        self._after(self._dice.uniform(2, 8), lambda: [one.close() for one in opened] and None)

    def let_hooks_go(self) -> None:
        self._hooks.let_go()
