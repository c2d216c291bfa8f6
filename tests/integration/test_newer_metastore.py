"""What a metastore of 3.1 or later has that 2.3 has not, in a database of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from metasync.errors import ChangedMeanwhile, Incompatible, MetastoreUnavailable
from metasync.metastore import ConnectionPool, Metastore, TableBuilder
from metasync.metastore.builder import Blueprint
from metasync.model.hms import (
    CheckConstraint,
    Constraints,
    Database,
    DefaultConstraint,
    FieldSchema,
    NotNullConstraint,
    Partition,
    PrimaryKeyColumn,
    SerDeInfo,
    StorageDescriptor,
    Table,
    TableName,
    TableType,
    UniqueColumn,
)
from metasync.model.marks import MAKING
from metasync.planning.kinds.constraints import at_home
from metasync.sandbox.stack import Sandbox
from metasync.settings.models import Metastore as MetastoreSettings
from tests.conftest import SPARES, World

WHERE = f"s3a://{SPARES[0]}/main/newer"


@pytest.fixture
def store(sandbox: Sandbox) -> Iterator[Metastore]:
    if sandbox.metastore.server.version < "3":
        pytest.skip("2.3 has none of this; METASYNC_TEST_SERVER names a newer one (make test-metastores)")
    found = Metastore(ConnectionPool(MetastoreSettings(uris=[sandbox.metastore.uri])))
    if found.get_database("newer") is None:
        found.create_database(Database("newer", WHERE))
    for name in found.get_all_tables("newer"):
        found.drop_table(TableName("newer", name))
    yield found
    found.close()


def table(name: str, kind: str = "bigint") -> Table:
    sd = StorageDescriptor(
        cols=(FieldSchema("id", "bigint"), FieldSchema("a", kind)), location=f"{WHERE}/{name}",
        input_format="org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        output_format="org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        serde_info=SerDeInfo(serialization_lib="org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"),
    )  # fmt: skip
    return Table("newer", name, sd, parameters={"EXTERNAL": "TRUE"}, table_type=TableType.EXTERNAL)


CONSTRAINTS = Constraints(
    primary_key=(PrimaryKeyColumn("id", 1, "", rely=True),),
    unique=(UniqueColumn("a", 1, "1"), UniqueColumn("id", 1, "2"), UniqueColumn("a", 2, "2")),
    not_null=(NotNullConstraint("a", "", enable=True), NotNullConstraint("id", "")),
    default=(DefaultConstraint("a", "7", ""),),
    check=(CheckConstraint("a", "a > 1", "", rely=True),),
)


def test_constraints_of_every_kind_are_built_read_and_dropped(store: Metastore) -> None:
    made = table("t")
    TableBuilder(store).build(Blueprint(made, lambda: iter(()), "test", {}, CONSTRAINTS))
    found = store.get_constraints(made.table_name)
    assert at_home(found, {}) == CONSTRAINTS
    TableBuilder(store).add_constraints(made.table_name, CONSTRAINTS)
    assert store.get_constraints(made.table_name) == found
    for kind in (found.not_null, found.default, found.check):
        store.drop_constraint(made.table_name, kind[0].name)
    left = at_home(store.get_constraints(made.table_name), {})
    assert (len(left.unique), len(left.not_null), len(left.default), len(left.check)) == (3, 1, 0, 0)
    assert store.get_constraints(TableName("newer", "t")).primary_key


def test_a_table_that_somebody_changed_is_not_written_over(store: Metastore) -> None:
    """Compare and set is 4.0's; 3.1 does not look."""
    made = table("cas")
    store.create_table(made)
    live = store.get_table(made.table_name)
    assert live is not None
    stamp = live.parameters["transient_lastDdlTime"]
    store.alter_table(replace(live, owner="bo"), expected=("transient_lastDdlTime", stamp))
    if store.ping().startswith("4"):
        with pytest.raises(ChangedMeanwhile):
            store.alter_table(replace(live, owner="cy"), expected=("transient_lastDdlTime", "1"))


def test_fields_that_the_old_idl_lacks_are_written_and_read(store: Metastore) -> None:
    """An owner that is a role, and what 3.1 added to a SerDe; the description comes back from 4.0 on."""
    made = table("fields")
    serde = replace(
        made.sd.serde_info, description="ours", serializer_class="a.S", deserializer_class="a.D", serde_type=1
    )
    made = replace(made, owner="analysts", owner_type=2, sd=replace(made.sd, serde_info=serde))
    store.create_table(made)
    found = store.get_table(made.table_name)
    assert found is not None and (found.owner, found.owner_type) == ("analysts", 2)
    kept = found.sd.serde_info
    assert (kept.serializer_class, kept.deserializer_class) == ("a.S", "a.D")
    store.alter_table(replace(found, parameters={**found.parameters, "x": "1"}))
    again = store.get_table(made.table_name)
    assert again is not None and again.owner_type == 2 and again.sd.serde_info == kept
    assert [one.owner_type for one in store.get_tables("newer", ["fields"])] == [2]


def test_an_unchecked_error_costs_the_connection_and_nothing_else(store: Metastore) -> None:
    """3.1 closes the connection on it, 4.x answers or even accepts (seen live): either way the next call works."""
    made = table("root")
    store.create_table(made)
    answered = True
    try:
        store.alter_table(replace(made, sd=replace(made.sd, location=f"s3a://{SPARES[0]}")))
    except MetastoreUnavailable:
        answered = False
    assert answered is store.ping().startswith("4")
    assert store.get_table(made.table_name) is not None


def test_a_half_built_table_of_many_partitions_can_be_removed(store: Metastore) -> None:
    """4.x on Derby cannot drop 2,000 partitions without locations at once."""
    made = replace(table("half"), partition_keys=(FieldSchema("p", "string"),))
    view = replace(
        made, sd=replace(made.sd, location=None), table_type=TableType.VIEW, parameters={MAKING: "test"},
        view_original_text="x", view_expanded_text="x",
    )  # fmt: skip
    store.create_table(view)
    bare = replace(made.sd, location=None)
    store.add_partitions(made.table_name, [Partition((f"{n:05}",), bare) for n in range(2000)])
    found = store.get_table(made.table_name)
    assert found is not None
    TableBuilder(store).remove(made.table_name, found)
    assert store.get_table(made.table_name) is None


def test_a_translated_table_is_mirrored_as_it_is_stored_and_purges_on_a_branch_alone(world: World) -> None:
    """4.x makes a managed table EXTERNAL with purge; on a tag nobody may delete data by dropping the mirror."""
    if not world.sandbox.metastore.server.version.startswith("4"):
        pytest.skip("only 4.x translates")
    world.create_table("t")
    original = world.tables.table(world.name("t"))
    assert original.parameters["TRANSLATED_TO_EXTERNAL"] == original.parameters["external.table.purge"] == "TRUE"
    world.branch("dev-1")
    world.tag("v1")
    assert not world.sync().failures
    mirror = world.tables.table(world.name("t", "dev-1"))
    assert mirror.table_type == TableType.EXTERNAL and mirror.parameters["external.table.purge"] == "TRUE"
    assert mirror.parameters["TRANSLATED_TO_EXTERNAL"] == "TRUE"
    tagged = world.tables.table(world.name("t", "v1"))
    assert tagged.table_type == TableType.EXTERNAL and tagged.parameters["external.table.purge"] == "FALSE"
    assert "TRANSLATED_TO_EXTERNAL" not in tagged.parameters


def test_partition_keys_change_only_where_it_is_asked_for(store: Metastore) -> None:
    """4.x takes it with `allow_partition_key_change`, which we never send: to us a changed key is a conflict."""
    made = replace(table("keys"), partition_keys=(FieldSchema("p", "string"),))
    store.create_table(made)
    with pytest.raises(Incompatible):
        store.alter_table(replace(made, partition_keys=(FieldSchema("q", "string"),)))
