"""What every call to a metastore has in common: the pool, retries where these are safe, metrics, errors translated.

Reads are tried again on a fresh connection; a write whose answer was lost is not, as nobody can know whether it was
done: the engine reads again instead.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import stamina
from hmsclient.genthrift.hive_metastore import ttypes
from thrift.Thrift import TApplicationException, TException

from metasync.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    Incompatible,
    MetastoreError,
    MetastoreUnavailable,
    NotFound,
)
from metasync.metastore.collector import held_off
from metasync.metastore.connection import UNANSWERED, ConnectionPool

T = TypeVar("T")
R = TypeVar("R")
_READ_ATTEMPTS = 3
_READ_FACTOR = 2
"""Partitions in one read, for each in one write. In batches of 100, 4.x takes 4 to 6 times as long as in batches of
1,000 (seen on 4.0.1 to 4.2.1)."""


class CallObserver(Protocol):
    """Watcher about every call, for metrics."""

    def __call__(self, call: str, seconds: float, ok: bool) -> None: ...


class BaseClient:
    """One metastore through a pool of connections.

    `may_write` is asked before each call that changes something, `may_go_on` before each other: they raise where this
    process must not, or is asked to end.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        partition_batch: int = 500,
        observe_call: CallObserver | None = None,
        may_write: Callable[[], None] = lambda: None,
        may_go_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self.batch = partition_batch
        self.read_batch = _READ_FACTOR * partition_batch
        self._may_write = may_write
        self._may_go_on = may_go_on
        self._observe = observe_call or (lambda call, seconds, ok: None)
        self.parallel = pool.size

    def close(self) -> None:
        """Closes every connection that is not in use."""
        self._pool.close()

    def connections(self) -> tuple[int, int]:
        """How many connections are in use, and how many are open and idle."""
        return self._pool.counts()

    def read(self, call: str, subject: str, do: Callable[[Any], R]) -> R:
        """A call that changes nothing: tried again on a fresh connection where the transport failed."""
        for attempt in stamina.retry_context(
            on=MetastoreUnavailable, attempts=_READ_ATTEMPTS, timeout=None,
            wait_initial=0.05, wait_max=1.0, wait_jitter=0.05,
        ):  # fmt: skip
            with attempt:
                self._may_go_on()
                return self.call(call, subject, do, fresh=attempt.num > 1)
        raise AssertionError("unreachable")

    def write(self, call: str, subject: str, do: Callable[[Any], R]) -> R:
        """A call that changes something: made once. Raises what `may_write` raises where this process must not."""

        def last_look(client: Any) -> R:
            self._may_write()
            return do(client)

        return self.call(call, subject, last_look, fresh=False)

    def call(self, call: str, subject: str, do: Callable[[Any], R], *, fresh: bool) -> R:
        start, ok = time.perf_counter(), False
        try:
            with _translated(call, subject), self._pool.connection(fresh=fresh) as connection:
                result = do(connection.client)
                ok = True
                return result
        except (NotFound, AlreadyExists):
            ok = True
            raise
        finally:
            self._observe(call, time.perf_counter() - start, ok)

    def batched(self, items: Sequence[T], do: Callable[[Sequence[T]], R], size: int | None = None) -> Iterator[R]:
        """Calls `do` on batches; one that the server fails is halved until a single item fails."""
        size = size or self.batch
        pending = [items[start : start + size] for start in range(0, len(items), size)]
        pending.reverse()
        while pending:
            batch = pending.pop()
            try:
                with held_off():
                    done = do(batch)
                yield done
            except (NotFound, AlreadyExists, Incompatible):
                raise
            except MetastoreError:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                pending += [batch[half:], batch[:half]]


@contextlib.contextmanager
def _translated(call: str, subject: str) -> Iterator[None]:  # noqa: C901  a clause an exception of thrift
    """Turns what thrift and the metastore raise into our errors, naming call and subject."""
    try:
        yield
    except UNANSWERED as error:
        raise MetastoreUnavailable(f"{subject}: {call}: the metastore did not answer ({error})") from error
    except (ttypes.NoSuchObjectException, ttypes.UnknownDBException, ttypes.UnknownTableException) as error:
        raise NotFound(f"{subject}: {call}: {error.message}") from error
    except ttypes.AlreadyExistsException as error:
        raise AlreadyExists(f"{subject}: {call}: {error.message}") from error
    except ttypes.InvalidOperationException as error:
        message = error.message or ""
        if re.search(r"doesn't exist|does not exist|not found", message, re.I):
            raise NotFound(f"{subject}: {call}: {message}") from error
        raise Incompatible(f"{subject}: {call}: {message}") from error
    except ttypes.MetaException as error:
        message = error.message or ""
        if "has been modified. The parameter value for key" in message:
            raise ChangedMeanwhile(f"{subject}: was changed by somebody just before it was written") from error
        raise MetastoreError(f"{subject}: {call}: {message.splitlines()[0] if message else 'MetaException'}") from error
    except TApplicationException as error:
        if call == "get_partitions_by_names" and int(error.type) == TApplicationException.MISSING_RESULT:
            raise NotFound(f"{subject}: {call}: the table is gone") from error
        raise MetastoreError(f"{subject}: {call}: {error.message}") from error
    except TException as error:
        raise MetastoreError(f"{subject}: {call}: {getattr(error, 'message', error)}") from error
