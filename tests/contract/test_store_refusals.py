"""What a database will not take is a failure with a reason, never an outage; what only reads waits for no writer."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert

from metasync.application.queries import Queries
from metasync.errors import StoreRefused, StoreUnavailable, UsageError
from metasync.model.lakefs import Repository
from metasync.model.text import storable
from metasync.planning.plan import Notice
from metasync.settings import parse_settings
from metasync.store import Database, schema
from metasync.store.database import open_database
from metasync.store.ledger import Ledger
from metasync.store.notices import Notices
from metasync.store.repositories import RepositoryStore
from metasync.store.stores import open_stores
from tests.contract.test_store import ref


def test_text_that_postgresql_refuses_is_stored_all_the_same(database: Database) -> None:
    ledger, main = Ledger(database), ref(database)
    ledger.add_merge(
        repository_id=main.repository_id, commit="m", destination_ref_id=main.id, parents=["a"], generation=2,
        source="branch/de\0v", strategy="x" * 400, message="m\0m \ud800", committer="\0", state="source-unknown",
    )  # fmt: skip
    (merge,) = ledger.open_merges(main.repository_id)
    assert merge.message == "m\N{REPLACEMENT CHARACTER}m \N{REPLACEMENT CHARACTER}" and len(merge.strategy) == 400
    assert ledger.find_merges("\0") == () and storable("plain") == "plain"
    notices = Notices(database)
    notices.replace("lake", [Notice("failed", "x", "a\0b")])
    assert notices.standing("lake")[0].notice.message == "a\N{REPLACEMENT CHARACTER}b"


def test_a_repository_made_after_2038(database: Database) -> None:
    store, late = RepositoryStore(database), Repository("lake", 2**40, "local://lake", "main")
    assert store.id_of(late) == store.id_of(late)
    assert store.identities("lake")[0].creation_date == 2**40


def test_what_is_refused_for_its_content_is_no_outage(database: Database) -> None:
    with pytest.raises(StoreRefused, match="refused a statement"), database.transaction() as connection:
        connection.execute(insert(schema.settings).values(key="k", value=None))
    if database.dialect == "postgresql":
        with pytest.raises(StoreRefused), database.transaction() as connection:
            connection.execute(insert(schema.settings).values(key="k" * 500, value="v"))
    with pytest.raises(StoreUnavailable):
        open_database("postgresql://u:p@127.0.0.1:1/x")


def test_questions_take_no_write_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "rules: [{name: a, repository: lake, branches: [b], tables: ['s.*']}]"
    settings = parse_settings(f"store: {{url: 'sqlite:///{tmp_path / 's.db'}'}}\n{rules}")
    with open_stores(settings.store) as stores:
        ref(stores.database)
        stores.database.store_id()
    monkeypatch.setattr("metasync.store.database._PATIENCE", 1.0)
    with open_stores(settings.store) as writer, writer.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE settings SET value = value")
        with open_stores(settings.store) as stores:
            queries = Queries(settings, stores)
            (
                queries.status(),
                queries.refs(),
                queries.conflicts(),
                queries.plans(),
                queries.history(),
                queries.events(),
                queries.search("main"),
            )
            queries.ref("lake", "main"), queries.pauses(), queries.attention()
            for ask in (lambda: queries.table("lake", "s.t"), lambda: queries.log("lake", "s.t")):
                with pytest.raises(UsageError, match="never seen"):
                    ask()
