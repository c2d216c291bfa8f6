"""One bad table stops only itself: what goes wrong with one becomes its failure, by name, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import structlog

from metasync.errors import MetasyncError, TemporaryError
from metasync.metastore import Metastore
from metasync.model.hms import Table, TableName
from metasync.redaction import redact

K = TypeVar("K")
log = structlog.get_logger()


@contextmanager
def one_table(name: K, failures: MutableMapping[K, str], doing: str) -> Iterator[None]:
    """Notes what goes wrong inside as a failure of one table, and goes on after it.

    An outage is no failure of a table: TemporaryError passes.
    """
    try:
        yield
    except TemporaryError:
        raise
    except Exception as error:  # whatever it is, the other tables must not wait for it
        failures.setdefault(name, reason(error, doing, str(name)))


def reason(error: Exception, doing: str, subject: str) -> str:
    """What went wrong, in a sentence; what nobody foresaw is logged with its traceback."""
    if isinstance(error, MetasyncError):
        return f"{doing} failed: {error}"
    log.error("unexpected error with one table", table=subject, doing=doing, exc_info=error)
    return redact(f"{doing} failed: unexpected {type(error).__name__}: {error}")


def readable_tables(
    metastore: Metastore, database: str, names: Sequence[str], unread: dict[TableName, str]
) -> list[Table]:
    """The tables of those names that exist, read in bulk, else one by one; `unread` gets those that cannot be read."""
    try:
        return list(metastore.get_tables(database, list(names)))
    except TemporaryError:
        raise
    except Exception:  # some table of them; which one is found out below, and reported by name
        found = []
        for name in (TableName(database, one) for one in names):
            with one_table(name, unread, f"reading {name}"):
                if (table := metastore.get_table(name)) is not None:
                    found.append(table)
        return found
