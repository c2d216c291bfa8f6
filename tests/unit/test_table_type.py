"""What a table is to those who drop it: on main, on a branch, on a tag, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import StorageDescriptor, Table, TableType
from metasync.planning.definition import Home, changed_table, content_hash, header_json, header_of, table_from
from metasync.planning.item_tree import Partial, normalised
from metasync.planning.merge import MergeInput, diff, merge_table
from metasync.planning.table_type import (
    IMPOSED,
    UNKNOWN_TYPE,
    as_external,
    deletes_data,
    has_type,
    imposed_on,
    is_imposed,
    of_own_type,
    of_type,
    own_type,
    type_marks,
    without_type,
)
from tests.hypothesis_examples import examples

MAIN, DEV = Home("lake", "main"), Home("lake", "dev")
MARKS = {"metasync.instance": "i", "metasync.name": "d.t", "metasync.ref": "tag/v1"}
TRANSLATED = {"EXTERNAL": "TRUE", "external.table.purge": "TRUE", "TRANSLATED_TO_EXTERNAL": "TRUE"}


def table(kind: str, **parameters: str) -> Table:
    sd = StorageDescriptor(location="s3a://lake/main/wh/t")
    return Table("d", "t", sd, parameters={"k": "v", **parameters}, table_type=kind)


OF_EVERY_TYPE = st.one_of(
    st.builds(lambda p: table(TableType.MANAGED, **p), st.sampled_from([{}, {"discover.partitions": "true"}])),
    st.builds(
        lambda p: table(TableType.EXTERNAL, EXTERNAL="TRUE", **p),
        st.sampled_from(
            [{}, {"external.table.purge": "TRUE"}, {k: v for k, v in TRANSLATED.items() if k != "EXTERNAL"},
             {k: v for k, v in IMPOSED.items() if k != "EXTERNAL"}, {"discover.partitions": "true"}]
        ),
    ),
)  # fmt: skip


def mirror_of(header: Table, ref: str, *, imposed: bool) -> Table:
    made = of_own_type(table_from(header, "d__x", "t", ref))
    made = replace(made, parameters={**made.parameters, **type_marks(header)})
    made = as_external(made) if imposed else made
    return replace(made, parameters={**made.parameters, **MARKS})


@examples(200)
@given(OF_EVERY_TYPE, st.booleans())
def test_a_mirror_has_its_tables_definition_whatever_was_imposed_on_it(one: Table, imposed: bool) -> None:
    header = header_of(one, MAIN)
    mirror = mirror_of(header, "dev", imposed=imposed)
    assert header_of(mirror, DEV) == header
    assert normalised(header) == header and not [key for key in header.parameters if key.startswith("metasync.")]
    if imposed:
        assert not deletes_data(mirror) and dict(IMPOSED).items() <= mirror.parameters.items()
    else:
        assert mirror.table_type == one.table_type and deletes_data(mirror) == deletes_data(one)
        assert {k: v for k, v in mirror.parameters.items() if not k.startswith("metasync.")} == one.parameters
    again = mirror_of(header_of(mirror, DEV), "main", imposed=False)
    assert (again.table_type, own_type(again)) == (one.table_type, own_type(one))


@examples(200)
@given(OF_EVERY_TYPE, OF_EVERY_TYPE)
def test_no_merge_compares_types(one: Table, other: Table) -> None:
    here, there = header_of(one, MAIN), header_of(other, MAIN)
    assert without_type(here) == without_type(there)
    assert diff(Partial(here), Partial(there)) == ()
    merged = merge_table(
        MergeInput({1: (), 2: (1,), 3: (1,)}, {1: Partial(here), 2: Partial(there), 3: Partial(here)}, 2, 3)
    )
    assert not merged.source_changed and merged.after == Partial(here)
    written = changed_table(one, here, replace(there, owner="bo"), "main")
    assert written == replace(one, owner="bo")


def test_a_new_table_comes_with_its_type() -> None:
    header = header_of(table(TableType.EXTERNAL, **TRANSLATED), MAIN)
    merged = merge_table(MergeInput({1: ()}, {1: Partial(header)}, 1, None))
    assert merged.after == Partial(header)


def test_a_mirror_of_a_former_version_does_not_say_what_its_table_is() -> None:
    old = as_external(table(TableType.MANAGED, **MARKS))
    assert own_type(old) == (UNKNOWN_TYPE, {}) and "k" in old.parameters
    assert of_own_type(header_of(old, MAIN)).table_type == TableType.EXTERNAL
    assert not deletes_data(of_own_type(header_of(old, MAIN))) and type_marks(header_of(old, MAIN)) == {}
    # Once a person made it a managed one, that is what it is.
    assert own_type(table(TableType.MANAGED, **MARKS)) == (TableType.MANAGED, {})


def test_what_people_made_of_an_imposed_type_counts() -> None:
    mirror = mirror_of(header_of(table(TableType.MANAGED), MAIN), "v1", imposed=True)
    purging = replace(mirror, parameters={**mirror.parameters, "external.table.purge": "TRUE"})
    assert own_type(purging) == (TableType.EXTERNAL, {"external.table.purge": "TRUE", "discover.partitions": "false"})


def test_a_view_stays_a_view() -> None:
    view = table(TableType.VIEW)
    assert own_type(view) == (TableType.VIEW, {}) and without_type(view) == view


@pytest.mark.parametrize("kind", [TableType.MANAGED, TableType.EXTERNAL])
def test_definitions_of_different_types_differ(kind: TableType) -> None:
    one = header_of(table(kind, EXTERNAL="TRUE"), MAIN)
    unknown = replace(one, table_type=UNKNOWN_TYPE)
    assert content_hash(header_json(one)) != content_hash(header_json(unknown))


@examples(200)
@given(OF_EVERY_TYPE)
def test_what_was_imposed_on_a_mirror_can_be_taken_back(one: Table) -> None:
    mirror = mirror_of(header_of(one, MAIN), "dev", imposed=False)
    imposed = imposed_on(mirror)
    kind, own = own_type(imposed)
    assert is_imposed(imposed) and not deletes_data(imposed)
    assert of_type(imposed, kind, own) == mirror and has_type(mirror, kind, own)
    assert has_type(imposed, kind, own) == (kind == TableType.EXTERNAL and is_imposed(mirror))
