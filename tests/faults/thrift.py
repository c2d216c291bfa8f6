"""A proxy before a real metastore that reads every message whole, and can cut, delay or garble it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from hmsclient.genthrift.hive_metastore import ThriftHiveMetastore
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase

Fault = Literal["before", "after", "middle", "garbage", "slow"]
FAULTS: tuple[Fault, ...] = ("before", "after", "middle", "garbage", "slow")
READS = ("get_", "set_ugi", "getVersion", "partition_")
_SLOW = 0.2


@dataclass(frozen=True)
class Call:
    """A request that came: its place in the order of all, its method, and its arguments."""

    number: int
    method: str
    arguments: Any

    @property
    def is_write(self) -> bool:
        return not self.method.startswith(READS)


def calm(_call: Call) -> Fault | None:
    return None


def at_random(seed: int, share: float, kinds: tuple[Fault, ...] = FAULTS) -> Callable[[Call], Fault | None]:
    """Fails a share of all calls; the same seed fails the same ones."""
    dice = random.Random(seed)

    def choose(call: Call) -> Fault | None:
        fault = dice.choice(kinds) if dice.random() < share else None
        # Before 4.0 a metastore cannot compare and set: DDL between the last look at a table and its alter is not seen,
        # and a wire that holds the alter back makes much of that moment.
        return None if fault == "slow" and call.method.startswith("alter_table") else fault

    return choose


class _Tap(TTransportBase):
    """A socket as thrift reads it, which remembers the bytes of the message."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")
        self.bytes = bytearray()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        self.bytes += data
        return data

    readAll = read

    def take(self) -> bytes:
        taken, self.bytes = bytes(self.bytes), bytearray()
        return taken

    def close(self) -> None:
        self._file.close()


@dataclass
class ThriftProxy:
    """Listens on `uri`. `choose` names a call's fault; `before` is called with each call that goes through, before it.

    before: nothing reaches the metastore. after: it is done, and the answer is lost. middle: half of the answer comes.
    garbage: something else comes. slow: it takes its time. `refuse` gives an exception that the metastore declares, and
    which is answered in its stead.
    """

    upstream: int
    choose: Callable[[Call], Fault | None] = calm
    before: Callable[[Call], None] = lambda call: None
    calls: list[Call] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    down: bool = False
    refuse: Callable[[Call], Exception | None] = lambda call: None

    def __post_init__(self) -> None:
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"thrift://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.is_write]

    def close(self) -> None:
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Closes every connection."""
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.upstream))
        request, answer = _Tap(client), _Tap(server)
        with self._guard:
            self._open |= {client, server}
        try:
            while self._exchange(client, server, request, answer):
                pass
        except (OSError, EOFError, ValueError):
            pass
        finally:
            with self._guard:
                self._open -= {client, server}
            for one in (request, answer, client, server):
                with contextlib.suppress(OSError):
                    one.close()

    def _exchange(self, client: socket.socket, server: socket.socket, request: _Tap, answer: _Tap) -> bool:
        """One request and its answer; False where the connection is to end."""
        call = self._read_call(request)
        message = request.take()
        fault = self.choose(call)
        if self.down or fault == "before":
            self._count(call, fault)
            return False
        if (error := self.refuse(call)) is not None:
            client.sendall(_answer_with(call, error))
            return True
        self.before(call)
        if fault == "slow":
            threading.Event().wait(_SLOW)
        server.sendall(message)
        _skip(answer)
        back = answer.take()
        self._count(call, fault)
        if fault == "after":
            return False
        if fault == "middle":
            client.sendall(back[: len(back) // 2])
            return False
        if fault == "garbage":
            client.sendall(random.Random(call.number).randbytes(len(back)))
            return False
        client.sendall(back)
        return True

    def _read_call(self, request: _Tap) -> Call:
        protocol = TBinaryProtocol(request)
        method, _, _ = protocol.readMessageBegin()
        kind = getattr(ThriftHiveMetastore, f"{method}_args", None)
        arguments = kind() if kind is not None else None
        if arguments is not None:
            arguments.read(protocol)
        else:
            protocol.skip(TType.STRUCT)
        protocol.readMessageEnd()
        with self._guard:
            call = Call(len(self.calls), method, arguments)
            self.calls.append(call)
            if _deletes_data(arguments):
                self.violations.append(f"{method} asks for data to be deleted")
        return call

    def _count(self, call: Call, fault: Fault | None) -> None:
        if fault is not None:
            with self._guard:
                self.faults.append((call.method, fault))


def _answer_with(call: Call, error: Exception) -> bytes:
    """The bytes of an answer that raises."""
    kind = getattr(ThriftHiveMetastore, f"{call.method}_result")
    name = next(field[2] for field in kind.thrift_spec if field and field[3] and field[3][0] is type(error))
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer)
    protocol.writeMessageBegin(call.method, TMessageType.REPLY, 0)
    kind(**{name: error}).write(protocol)
    protocol.writeMessageEnd()
    return bytes(buffer.getvalue())


def _skip(tap: _Tap) -> None:
    protocol = TBinaryProtocol(tap)
    protocol.readMessageBegin()
    protocol.skip(TType.STRUCT)
    protocol.readMessageEnd()


def _deletes_data(arguments: Any) -> bool:
    request = getattr(arguments, "req", None)
    asked = [getattr(one, "deleteData", None) for one in (arguments, request)]
    # An absent flag of drop_partitions_req means that data is deleted.
    absent = hasattr(request, "deleteData") and request.deleteData is None
    return True in asked or absent
