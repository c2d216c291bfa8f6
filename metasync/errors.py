"""The one tree of exceptions.

    MetasyncError                    anything that metasync itself raises; `exit_code` is the command line's
    ├── ConfigurationError           the YAML, a flag, the environment: the user must change something (exit 2)
    ├── UsageError                   a command's arguments name something that does not exist (exit 2)
    │   └── NotAllowed               it exists, and may not be done now: the mode, a pause, a blocked store
    ├── TemporaryError               worth trying again: an outage, a time-out, a busy lock
    │   ├── LakeFSUnavailable
    │   ├── MetastoreUnavailable
    │   ├── ServiceUnavailable       no running service answers at --server
    │   ├── ChannelUnavailable       a channel of notifications did not take a message
    │   ├── StoreUnavailable         what is raised when the database is locked, full or away
    │   ├── Busy                     somebody else works on the repository, longer than a person waits
    │   ├── Stopping                 the process is asked to end: what was begun is left to the next
    │   ├── LeaseLost                another process works on this by now, or may: nothing more is written
    │   └── ObservationMoved         a ref's head moved while its tables were being read
    └── PermanentError               trying again would not help
        ├── LakeFSError              lakeFS refused the request
        ├── MetastoreError           the metastore refused the request
        │   ├── AlreadyExists
        │   ├── NotFound
        │   └── Incompatible         the metastore would refuse this change of a table
        ├── StoreRefused             metasync's database will not take a value: its length, its characters
        ├── ForeignTable             a table that is not ours stands where we would write
        ├── ChangedMeanwhile         what is there now is not what the plan was made for
        └── BadEvent                 a webhook that cannot be used, `status` is the HTTP answer

Foreign exceptions stop at the adapter that caught them, which raises one of these `from` it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from metasync.redaction import redact


class MetasyncError(Exception):
    """Base of every error that metasync raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, without any secret that the error of somebody else brought along."""
        return redact(super().__str__())


class ConfigurationError(MetasyncError):
    """The configuration cannot be used; the message names file and line where it can."""

    exit_code = 2


class UsageError(MetasyncError):
    """A command was asked about something that does not exist."""

    exit_code = 2


class NotAllowed(UsageError):
    """What was asked for may not be done now: metasync only observes, is paused, or does not write here yet."""


class TemporaryError(MetasyncError):
    """A failure that is expected to pass; the worker tries again with backoff."""


class LakeFSUnavailable(TemporaryError):
    """lakeFS did not answer, or answered that it cannot now."""


class MetastoreUnavailable(TemporaryError):
    """No metastore of the configured URIs answered."""


class ServiceUnavailable(TemporaryError):
    """The service that `--server` names did not answer."""


class ChannelUnavailable(TemporaryError):
    """A channel of notifications, or a webhook after a change, did not take the message."""


class StoreUnavailable(TemporaryError):
    """metasync's own database did not take the statement."""


class LeaseLost(TemporaryError):
    """The lease on a repository is over or somebody else's; whoever held it must write nothing more."""


class Busy(TemporaryError):
    """Somebody else works on the repository; the message says who."""


class Stopping(TemporaryError):
    """The process is asked to end while it reads; nothing was half done."""


class ObservationMoved(TemporaryError):
    """A ref's head moved while its tables were read, several times in a row."""


class PermanentError(MetasyncError):
    """A failure that a retry does not fix."""


class LakeFSError(PermanentError):
    """lakeFS refused a request."""


class MetastoreError(PermanentError):
    """The metastore refused a request."""


class AlreadyExists(MetastoreError):
    """The database or table exists."""


class NotFound(MetastoreError):
    """The database, table or partition does not exist."""


class Incompatible(MetastoreError):
    """The metastore refuses this change of an existing table."""


class StoreRefused(PermanentError):
    """metasync's own database refused a statement for what it holds."""


class ForeignTable(PermanentError):
    """A table that is not metasync's stands at a name that metasync would write."""


class ChangedMeanwhile(PermanentError):
    """The table is neither as the plan found it nor as the plan would leave it."""


class BadEvent(PermanentError):
    """A webhook that cannot be accepted."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def code_of(kind: type[MetasyncError]) -> str:
    """The word for programs, in JSON and logs: `store-unavailable` of StoreUnavailable; docs/errors.md has them all."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.replace("FS", "fs")).lower()


def every(kind: type[MetasyncError] = MetasyncError) -> Iterator[type[MetasyncError]]:
    """The tree, from its root down."""
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)
