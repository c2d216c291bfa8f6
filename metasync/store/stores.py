"""Everything in one store, opened once: what the commands that only read the store need, and the service builds on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from metasync.settings.models import Store
from metasync.store.database import Database, open_database
from metasync.store.decisions import Decisions
from metasync.store.event_queue import EventQueue
from metasync.store.history import History
from metasync.store.leases import Leases
from metasync.store.ledger import Ledger
from metasync.store.mirrors import MirrorStore
from metasync.store.notices import Notices
from metasync.store.overview import Overview
from metasync.store.pauses import Pauses
from metasync.store.readings import Readings
from metasync.store.refs import RefStore
from metasync.store.repositories import RepositoryStore
from metasync.store.sent_notifications import SentNotifications
from metasync.store.versions import VersionStore


@dataclass(frozen=True)
class Stores:
    """One database and each kind of thing in it."""

    database: Database
    leases: Leases
    queue: EventQueue
    repositories: RepositoryStore
    refs: RefStore
    mirrors: MirrorStore
    versions: VersionStore
    readings: Readings
    ledger: Ledger
    decisions: Decisions
    history: History
    pauses: Pauses
    notices: Notices
    sent: SentNotifications
    overview: Overview


@contextmanager
def open_stores(settings: Store) -> Iterator[Stores]:
    """Opens and migrates the store, and closes it. Raises ConfigurationError, StoreUnavailable."""
    database = open_database(settings.url)
    try:
        yield Stores(
            database=database,
            leases=Leases(database, settings.lease),
            queue=EventQueue(database),
            repositories=RepositoryStore(database),
            refs=RefStore(database),
            mirrors=MirrorStore(database),
            versions=VersionStore(database),
            readings=Readings(database),
            ledger=Ledger(database),
            decisions=Decisions(database),
            history=History(database),
            pauses=Pauses(database),
            notices=Notices(database),
            sent=SentNotifications(database),
            overview=Overview(database),
        )
    finally:
        database.close()
