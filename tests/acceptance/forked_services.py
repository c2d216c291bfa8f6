"""Runs `metasync serve` again and again in forked children, each of which may be told to die after its n-th call.

A program of its own, without threads, so that forking is safe; loading metasync once makes a hundred runs cheap. It
reads lines `CONFIG N` from standard input: serve until the queue is settled, but die by SIGKILL right after the N-th
call to the metastore (N = 0: never). It answers each line with `killed` or `settled`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from metasync.cli.logs import configure_logging
from metasync.daemon import serve
from metasync.metastore.client import Metastore
from metasync.settings import load_settings
from metasync.store import open_database
from metasync.store.event_queue import EventQueue


def die_after(number: int) -> None:
    """Patches the adapter so that the process is killed once `number` calls have been answered."""
    real, lock, count = Metastore.call, threading.Lock(), [0]

    def counting(self: Metastore, *arguments: object, **options: object) -> object:
        result = real(self, *arguments, **options)  # type: ignore[arg-type]
        with lock:
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    Metastore.call = counting  # type: ignore[assignment, method-assign]


def stop_when_settled(config: Path) -> None:
    """Sends ourselves SIGTERM once every event of the queue is finished."""
    url = load_settings(config).store.url
    over = threading.Event()
    database = open_database(url)
    queue = EventQueue(database)
    last = max((event.id for event in queue.list(limit=1)), default=0)

    def watch() -> None:
        while not over.wait(0.05):
            events = [event for event in queue.list() if event.id > last]
            if events and all(event.state in ("done", "dead") for event in events):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True).start()


def child(config: Path, number: int) -> int:
    settings = load_settings(config)
    configure_logging(settings)
    if number:
        die_after(number)
    stop_when_settled(config)
    return serve(settings)


def main() -> None:
    for line in sys.stdin:
        config, number = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                code = child(Path(config), int(number))
            except BaseException:
                traceback.print_exc()
                code = 70
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        good = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        print("killed" if killed else "settled" if good else f"failed {status}", flush=True)


if __name__ == "__main__":
    main()
