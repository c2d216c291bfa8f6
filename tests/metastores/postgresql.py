"""A metastore whose database is a real PostgreSQL: pgserver's, which listens on a socket file alone, behind a port."""

from __future__ import annotations

import contextlib
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from metasync.sandbox.metastore import Server


@contextmanager
def on_postgresql(server: Server, folder: Path) -> Iterator[Server]:
    """The server as it is to be started, its PostgreSQL running meanwhile. Needs the driver among its jars."""
    with warnings.catch_warnings():
        # It warns of a runtime directory that nobody set, and uses another.
        warnings.simplefilter("ignore")
        import pgserver

        running = pgserver.get_server(folder)
    try:
        with _port_to(folder / ".s.PGSQL.5432") as port:
            yield replace(
                server,
                settings={
                    **server.settings,
                    "javax.jdo.option.ConnectionURL": f"jdbc:postgresql://127.0.0.1:{port}/postgres",
                    "javax.jdo.option.ConnectionDriverName": "org.postgresql.Driver",
                    "javax.jdo.option.ConnectionUserName": "postgres",
                    "javax.jdo.option.ConnectionPassword": "",
                },
            )
    finally:
        running.cleanup()


@contextmanager
def _port_to(path: Path) -> Iterator[int]:
    """A port of this machine that leads to a socket file."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, path), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, path: Path) -> None:
    with contextlib.suppress(OSError):
        while True:
            taken = listening.accept()[0]
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(str(path))
            for one, other in ((taken, behind), (behind, taken)):
                threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while some := one.recv(1 << 16):
            other.sendall(some)
        other.shutdown(socket.SHUT_WR)
