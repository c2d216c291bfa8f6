"""The metastore adapter on a real metastore: errors, batches, odd values, outages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hmsclient.genthrift.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.Thrift import TType

from metasync.errors import AlreadyExists, Incompatible, MetastoreError, MetastoreUnavailable, NotFound
from metasync.metastore import ConnectionPool, Metastore, hive3_fields
from metasync.model.hms import Database, FieldSchema, Partition, SkewedInfo, StorageDescriptor, TableName
from metasync.planning.accepted_types import metastore_accepts
from metasync.planning.partition_names import partition_name, values_of_name
from metasync.settings.models import Metastore as MetastoreSettings
from tests.conftest import World

ODD = ["/", "%", ":", "=", "'", '"', "a b", "ü表😀", "__HIVE_DEFAULT_PARTITION__", "%2F", "\t", "#?*", "[{^\\}]", ".."]


def client(*uris: str, **options: float) -> Metastore:
    return Metastore(ConnectionPool(MetastoreSettings(uris=list(uris), **options)))  # type: ignore[arg-type]


@contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"thrift://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


def test_missing_things_are_none_or_not_found(world: World) -> None:
    store = world.tables.metastore
    nothing = TableName("nowhere", "nothing")
    assert store.get_table(nothing) is None and store.get_database("nowhere") is None
    assert store.get_tables("nowhere", ["nothing"]) == () and store.get_all_tables("nowhere") == ()
    assert store.drop_table(nothing) is False and store.drop_empty_database("nowhere") is False
    with pytest.raises(NotFound, match=r"nowhere\.nothing"):
        store.get_partition_names(nothing)
    with pytest.raises(NotFound):
        store.alter_table(
            replace(world.tables.create_table(world.name("t"), world.location("wh/t"), [("a", "int")]), name="u")
        )


def test_what_exists_is_not_made_again(world: World) -> None:
    world.create_table("t")
    with pytest.raises(AlreadyExists):
        world.create_table("t")
    with pytest.raises(AlreadyExists):
        world.tables.create_database(world.database, world.location("x"))


def test_odd_partition_values_and_batches_that_are_too_large(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create_table("t", "id:bigint", "p:string")
    world.tables.add_partitions(world.name("t"), *((value,) for value in ODD))
    name = TableName.parse(world.name("t"))
    store = world.tables.metastore
    names = store.get_partition_names(name)
    keys = (FieldSchema("p", "string"),)
    assert sorted(values_of_name(n)[0] for n in names) == sorted(ODD)
    assert sorted(partition_name(keys, (value,)) for value in ODD) == sorted(names)
    sizes: list[int] = []
    real = Metastore.write

    def limited(self: Metastore, call: str, subject: str, do: object) -> object:
        if call == "alter_partitions":
            captured = do.__closure__  # type: ignore[attr-defined]
            size = next(len(c.cell_contents) for c in captured if isinstance(c.cell_contents, list))
            sizes.append(size)
            if size > 4:
                raise MetastoreError("too large")
        return real(self, call, subject, do)  # type: ignore[arg-type]

    monkeypatch.setattr(Metastore, "write", limited)
    altered = [replace(p, parameters={"k": "v"}) for p in store.iter_partitions(name, keys)]
    store.alter_partitions(name, altered)
    monkeypatch.undo()
    assert max(sizes) == len(ODD) and [s for s in sizes if s <= 4]
    assert all(p.parameters["k"] == "v" for p in store.iter_partitions(name, keys))
    store.drop_partitions(name, keys, [(value,) for value in ODD])
    assert store.get_partition_names(name) == ()


TYPES = (
    "tinyint", "smallint", "int", "bigint", "float", "double", "decimal(10,2)", "decimal(5,1)", "boolean", "string",
    "varchar(10)", "char(5)", "binary", "date", "timestamp", "timestamp with local time zone", "interval_year_month",
    "interval_day_time", "void", "array<int>", "array<string>", "map<string,int>", "struct<a:int>",
    "struct<a:int,b:int>", "uniontype<int,string>",
)  # fmt: skip


def test_which_changes_of_type_the_metastore_accepts(world: World) -> None:
    """`metastore_accepts` against the server, pair by pair."""
    store = world.tables.metastore
    check = store.column_check()
    assert check == ("2.3" if not store.has_catalogs else "4.0" if store.ping().startswith("4") else "3.1")
    made = world.tables.create_table(world.name("t"), world.location("wh/t"), [("a", "int")])
    wrong = []
    for old in TYPES:
        fresh = False
        for new in TYPES:
            if not fresh:
                store.drop_table(made.table_name)
                store.create_table(replace(made, sd=replace(made.sd, cols=(FieldSchema("a", old),))))
            try:
                store.alter_table(replace(made, sd=replace(made.sd, cols=(FieldSchema("a", new),))))
            except (Incompatible, MetastoreError):  # 2.3 has not heard of zoned timestamps
                fresh = True
            else:
                fresh = old == new
            accepted = not fresh or old == new
            if accepted is not metastore_accepts(old, new, check):
                wrong.append((old, new, accepted))
    assert wrong == []


def test_list_bucketing_survives(world: World) -> None:
    made = world.tables.create_table(world.name("t"), world.location("wh/t"), [("a", "int"), ("b", "string")])
    skew = SkewedInfo(("a",), (("1",), ("2",)), ((("1",), world.location("wh/t/a=1")),))
    world.tables.metastore.alter_table(replace(made, sd=replace(made.sd, skewed_info=skew)))
    assert world.tables.table(world.name("t")).sd.skewed_info == skew


def test_the_overlay_is_on_and_doing_it_again_changes_nothing() -> None:
    before = ttypes.Table.thrift_spec
    hive3_fields.apply()
    assert ttypes.Table.thrift_spec == before and before[18][2] == "ownerType"
    for call in ("create_table", "alter_table_with_environment_context", "get_table_req", "add_partitions_req"):
        for field in getattr(ThriftHiveMetastore, f"{call}_args").thrift_spec:
            if field and field[1] == TType.STRUCT:
                assert field[3][1] is field[3][0].thrift_spec, f"{call} would not send what {field[3][0]} got"


def test_the_next_uri_is_tried_and_a_dead_connection_replaced(world: World) -> None:
    real = world.sandbox.metastore.uri
    store = client("thrift://127.0.0.1:1", real)
    assert "default" in store.get_all_databases()
    idle = store._pool._free[-1]
    idle._transport.close()
    assert "default" in store.get_all_databases()


def test_a_metastore_that_is_down_or_silent_is_unavailable() -> None:
    with pytest.raises(MetastoreUnavailable, match="no metastore answers"):
        client("thrift://127.0.0.1:1").get_all_databases()
    with silent_server() as uri, pytest.raises(MetastoreUnavailable):
        client(uri, read_timeout=0.2, connect_timeout=0.5).get_all_databases()


def test_a_database_comes_without_a_directory_where_one_is(world: World) -> None:
    (world.sandbox.metastore.lake / world.repository / "main/wh/x.db").mkdir()
    before = world.directories()
    made = Database(
        f"{world.database}_x", world.location("wh/x.db"), parameters={"k": "v"}, owner_name="ana", owner_type=1
    )
    world.tables.metastore.create_database(made)
    found = world.tables.metastore.get_database(made.name)
    assert found is not None and found.parameters == {"k": "v"} and found.owner_name == "ana"
    assert world.directories() == before


def test_dropping_keeps_the_data(world: World) -> None:
    world.create_table("t", "id:int", "p:string")
    world.tables.add_partitions(world.name("t"), ("1",))
    folder = world.sandbox.metastore.lake / world.repository / "main/wh/t/p=1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "f").write_text("x")
    name = TableName.parse(world.name("t"))
    world.tables.metastore.drop_partitions(name, (FieldSchema("p", "string"),), [("1",)])
    world.tables.metastore.drop_table(name)
    assert (folder / "f").exists()


def test_definitions_with_missing_parts_are_read(world: World) -> None:
    world.create_table("t")
    table = world.tables.table(world.name("t"))
    bare = replace(table, sd=StorageDescriptor(location=table.sd.location), owner=None, parameters={})
    world.tables.metastore.alter_table(bare)
    found = world.tables.table(world.name("t"))
    assert found.sd.cols == () and found.sd.input_format is None
    world.branch("dev-1")
    assert not world.sync().failures
    assert world.tables.table(world.name("t", "dev-1")).sd.cols == ()
    assert Partition(("1",), found.sd).sd.location == table.sd.location
