"""Connections to the metastore: the C codec, several URIs, and a pool that threads share."""

from __future__ import annotations

import contextlib
import getpass
import logging
import threading
from collections.abc import Iterator
from typing import Any

from hmsclient.genthrift.hive_metastore import ThriftHiveMetastore
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TException
from thrift.transport import TTransport

from metasync.errors import ConfigurationError, MetastoreUnavailable
from metasync.metastore import hive3_fields
from metasync.metastore.catalog import DEFAULT, InCatalog, check
from metasync.metastore.transport import open_transport
from metasync.settings.models import Metastore as MetastoreSettings

_LARGEST_STRING = 256 * 1024 * 1024
UNANSWERED = (TTransport.TTransportException, TProtocolException, OSError, EOFError, UnicodeDecodeError)
"""What is raised where no answer came, or something that is none: nobody knows whether the call was done."""

hive3_fields.apply()
# thrift logs every refused connection by itself; we raise and name the URI instead.
logging.getLogger("thrift").setLevel(logging.CRITICAL)


class Connection:
    """One open connection; not shared between threads at a time."""

    def __init__(self, uri: str, settings: MetastoreSettings) -> None:
        user = settings.user or _system_user()
        self.uri = uri
        self._transport = open_transport(uri, settings, user)
        try:
            self.client: Any = self._introduced(settings, user)
        except BaseException:
            self.close()
            raise

    def _introduced(self, settings: MetastoreSettings, user: str) -> Any:
        """The bindings' client, once the metastore knows who we are and has our catalog."""
        protocol = TBinaryProtocolAccelerated(self._transport, string_length_limit=_LARGEST_STRING, fallback=False)
        if not hasattr(protocol, "_fast_decode"):
            raise ConfigurationError("thrift's C codec is missing: reinstall thrift where a wheel or a compiler is")
        client = ThriftHiveMetastore.Client(protocol)
        if settings.auth.type == "none":
            # With a ticket or a token the server knows who we are.
            with contextlib.suppress(TApplicationException):
                client.set_ugi(user, [user])
        if settings.catalog == DEFAULT:
            return client
        check(client, settings.catalog)
        return InCatalog(client, settings.catalog)

    def close(self) -> None:
        self._transport.close()


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "metasync"


class ConnectionPool:
    """At most `pool` connections; idle ones are kept, broken ones thrown away."""

    def __init__(self, settings: MetastoreSettings) -> None:
        self._settings = settings
        self._free: list[Connection] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(settings.pool)
        self._preferred = 0
        self._busy = 0
        self.size = settings.pool

    def counts(self) -> tuple[int, int]:
        """How many connections are in use, and how many are open and idle."""
        with self._lock:
            return self._busy, len(self._free)

    @contextlib.contextmanager
    def connection(self, *, fresh: bool = False) -> Iterator[Connection]:
        """A connection of our own for a while. With `fresh`, not an idle one, which may be dead.

        Raises MetastoreUnavailable where none of the URIs answers. A connection whose call was not answered is closed:
        what it would answer next belongs to the call before.
        """
        with self._slots, self._counted():
            connection = self._take(fresh)
            healthy = False
            try:
                yield connection
                healthy = True
            except UNANSWERED:
                raise
            except TException:
                # The metastore answered: that it will not.
                healthy = True
                raise
            finally:
                if healthy:
                    with self._lock:
                        self._free.append(connection)
                else:
                    connection.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def close(self) -> None:
        with self._lock:
            idle, self._free = self._free, []
        for connection in idle:
            connection.close()

    def _take(self, fresh: bool) -> Connection:
        with self._lock:
            if self._free and not fresh:
                return self._free.pop()
            if fresh:
                stale, self._free = self._free, []
            else:
                stale = []
        for connection in stale:
            connection.close()
        return self._open()

    def _open(self) -> Connection:
        uris, failures = self._settings.uris, []
        for offset in range(len(uris)):
            index = (self._preferred + offset) % len(uris)
            try:
                connection = Connection(uris[index], self._settings)
            except (TTransport.TTransportException, OSError) as error:
                # thrift's own message names the address only; what it caught says why.
                failures.append(f"{uris[index]}: {getattr(error, 'inner', None) or error}")
                continue
            self._preferred = index
            return connection
        raise MetastoreUnavailable(f"no metastore answers: {'; '.join(failures)}")
