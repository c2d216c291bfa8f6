"""One behaviour suite for the store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from metasync.errors import ConfigurationError, StoreUnavailable
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.store import Database, open_database
from metasync.store.ledger import Ledger
from metasync.store.refs import RefRow, RefStore
from metasync.store.repositories import RepositoryStore
from metasync.store.versions import VersionStore
from tests.conftest import fresh_database
from tests.unit.random_definitions import header

T = TableName("sales", "t")


def ref(database: Database, name: str = "main", parent: RefRow | None = None, watermark: int = 0) -> RefRow:
    repository = RepositoryStore(database).id_of(Repository("lake", 1, "local://lake", "main"))
    return RefStore(database).add(
        repository, Ref(RefType.BRANCH, name), head="c1", born_commit="c1", state="live",
        parent_id=parent.id if parent else None, watermark=watermark, source="", as_of="", event_time=None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_of_a_newer_metasync_is_left_alone(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = f"sqlite:///{tmp_path / 'newer.db'}"
    if kind == "postgresql":
        uri = fresh_database(request.getfixturevalue("postgresql"), "newer")
    opened = open_database(uri)
    with opened.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    opened.close()
    with pytest.raises(ConfigurationError, match="newer metasync"):
        open_database(uri)


def test_migrating_twice_changes_nothing(database: Database) -> None:
    assert database.is_current()
    before = database.store_id()
    database.upgrade()
    assert database.store_id() == before


def test_a_fork_reads_its_parents_versions_up_to_the_watermark(database: Database) -> None:
    store = VersionStore(database)
    main = ref(database)
    one, other = (store.put_definition(header(f"id:int c{n}:int"), ()) for n in range(2))
    first = store.add(main.id, T, one, (), "c1")
    dev = ref(database, "dev", main, watermark=first)
    grandchild = ref(database, "dev2", dev, watermark=first)
    second = store.add(main.id, T, other, (first,), "c2")
    assert store.in_force(dev)[T].id == store.in_force(grandchild)[T].id == first
    assert store.in_force(main)[T].id == second and store.in_force(main, first)[T].id == first
    third = store.add(dev.id, T, None, (first,), "c1")
    assert store.in_force(dev)[T].definition is None and store.in_force(grandchild)[T].id == first
    assert store.graph(main.repository_id, T) == {first: (), second: (first,), third: (first,)}
    assert store.definition(one).header == header("id:int c0:int")
    assert store.put_definition(header("id:int c0:int"), ()) == one


def test_a_merge_is_entered_once(database: Database) -> None:
    ledger, main = Ledger(database), ref(database)
    for _ in range(2):
        ledger.add_merge(
            repository_id=main.repository_id, commit="m", destination_ref_id=main.id, parents=["a", "b"], generation=2,
            source="branch/dev", source_commit="b", committed_at=1.0, state="pending",
        )  # fmt: skip
    (merge,) = ledger.open_merges(main.repository_id)
    assert merge.parents == ("a", "b")
    ledger.start_merge(merge.id, [])
    assert ledger.open_merges(main.repository_id)[0].state == "started"
    ledger.finish_merge(merge.id)
    assert ledger.open_merges(main.repository_id) == ()


def test_urls_that_cannot_be_used() -> None:
    for url, words in (
        ("nonsense", "not an SQLAlchemy URL"),
        ("mysql://x/y", "use sqlite or postgresql"),
        ("sqlite:////nowhere/at/all/x.db", "does not exist"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            open_database(url)
    with pytest.raises(StoreUnavailable):
        open_database("postgresql://user:hunter2@127.0.0.1:1/x")
