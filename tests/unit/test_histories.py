"""Laws of merging over random histories: branches off branches, criss-crosses, drops, partial merges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metasync.model.hms import FieldSchema
from metasync.planning.changes import MergeTable
from metasync.planning.item_tree import Definition
from metasync.planning.merge import MergeInput, merge_table
from tests.hypothesis_examples import examples
from tests.unit.random_definitions import WHERE, header, partial, partition
from tests.unit.simulation import Lake, a_rule, applied

REFS = ("main", "dev", "two")
COLUMNS = ("a", "b", "c", "d")
FULL = a_rule(merge="full")
ADDITIVE = a_rule()


def edit(content: Definition, what: str, name: str, value: str) -> Definition:  # noqa: C901  a case a kind of edit
    """One thing that somebody does to a table."""
    if what == "drop table":
        return None
    if content is None:
        content = partial(header("id:int"))
    head = content.header
    columns = {c.name: c for c in head.sd.cols}
    parameters = dict(head.parameters)
    partitions = dict(content.partitions)
    match what:
        case "add column":
            columns.setdefault(name, FieldSchema(name, "int", value))
        case "drop column":
            columns.pop(name, None)
        case "comment":
            if name in columns:
                columns[name] = replace(columns[name], comment=value)
        case "parameter":
            parameters[name] = value
        case "no parameter":
            parameters.pop(name, None)
        case "partition":
            made = partition(name, location=f"{WHERE}/{value}/{name}")
            partitions |= partial(head, made).partitions
        case "no partition":
            partitions = {key: p for key, p in partitions.items() if p.values != (name,)}
    head = replace(head, sd=replace(head.sd, cols=tuple(columns.values())), parameters=parameters)
    return replace(content, header=head, partitions=partitions)


EDITS = st.tuples(
    st.sampled_from(
        ["add column", "drop column", "comment", "parameter", "no parameter", "partition", "no partition", "drop table"]
    ),
    st.sampled_from(COLUMNS),
    st.sampled_from(["x", "y"]),
)
STEPS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(REFS), EDITS),
    st.tuples(st.just("branch"), st.sampled_from(REFS[1:]), st.sampled_from(REFS)),
    st.tuples(st.just("merge"), st.sampled_from(REFS), st.sampled_from(REFS)),
)
HISTORIES = st.lists(STEPS, min_size=4, max_size=16)


def begun() -> Lake:
    lake = Lake()
    lake.ddl("main", partial(header("id:int a:int"), partition("a")))
    for ref in REFS[1:]:
        lake.branch(ref)
    return lake


def played(lake: Lake, history: list[Any], rule: Any = FULL) -> list[tuple[str, str, MergeTable]]:
    """Plays a history; gives its merges."""
    merges = []
    for kind, one, other in history:
        if kind == "edit":
            lake.ddl(one, edit(lake[one], *other))
        elif kind == "branch" and one != other:
            lake.branch(one, other)
        elif kind == "merge" and one != other:
            change = lake.merge(one, other, rule)
            if change is not None:
                merges.append((one, other, change))
    return merges


def same(one: Definition, other: Definition) -> bool:
    """Equal but for the order of columns, which nobody's data depends on."""
    if one is None or other is None:
        return one is other

    def loose(content: Any) -> Any:
        head = content.header
        return replace(
            head, sd=replace(head.sd, cols=tuple(sorted(head.sd.cols, key=lambda c: c.name)))
        ), content.partitions

    return bool(loose(one) == loose(other))


@examples(300)
@given(HISTORIES)
def test_merging_twice_is_empty_and_merging_back_does_not_undo(history: list[Any]) -> None:
    lake = begun()
    played(lake, history)
    change = lake.merge("dev", "main", FULL)
    again = lake.plan("dev", "main", FULL)
    if change is not None and change.conflicts:
        assert again is not None and again.conflicts == change.conflicts
        return
    assert again is None or not (again.writes or again.withheld or again.conflicts)
    merged = lake["main"]
    back = lake.merge("main", "dev", FULL)
    assert lake["main"] == merged
    if back is None or not back.conflicts:
        assert same(lake["dev"], merged)


@examples(300)
@given(HISTORIES)
def test_a_merge_changes_its_destination_alone_and_a_conflict_changes_nothing(history: list[Any]) -> None:
    lake = begun()
    played(lake, history, ADDITIVE)
    before = {ref: lake[ref] for ref in REFS}
    change = lake.merge("dev", "main", ADDITIVE)
    assert lake["dev"] == before["dev"] and lake["two"] == before["two"]
    if change is None or change.conflicts:
        assert lake["main"] == before["main"]
    else:
        assert lake["main"] == applied(before["main"], change.after, change.partitions)


@examples(300)
@given(HISTORIES, st.lists(EDITS, max_size=4))
def test_what_was_withheld_is_offered_again_and_what_was_carried_is_not(history: list[Any], later: list[Any]) -> None:
    lake = begun()
    played(lake, history, ADDITIVE)
    first = lake.merge("dev", "main", ADDITIVE)
    if first is None or first.conflicts:
        return
    again = lake.plan("dev", "main", ADDITIVE)
    assert {c.path for c in again.withheld} == {c.path for c in first.withheld} if again else not first.withheld
    assert again is None or not again.writes
    if first.withheld and not first.waiting.conflicts:  # type: ignore[union-attr]
        # What main withheld does not come back to dev as something that main changed.
        back = lake.plan("main", "dev", FULL)
        assert back is None or not {c.path for c in back.items} & {c.path for c in first.withheld}
        lake.approve("dev", "main")
        assert lake.plan("dev", "main", ADDITIVE) is None


@examples(300)
@given(HISTORIES)
def test_an_undone_merge_leaves_what_was_and_is_not_offered_again(history: list[Any]) -> None:
    lake = begun()
    played(lake, history)
    before = lake["main"]
    change = lake.merge("dev", "main", FULL)
    if change is None or change.conflicts or not change.writes:
        return
    undone = lake.undo(change, "main")
    if not undone.conflicts:
        assert same(lake["main"], before)
        again = lake.plan("dev", "main", FULL)
        assert again is None or not again.writes


@examples(200)
@given(HISTORIES, EDITS, EDITS)
def test_disjoint_edits_commute(history: list[Any], one: Any, other: Any) -> None:
    lake = begun()
    played(lake, history)
    if one[0] == "drop table" or other[0] == "drop table" or one[1] == other[1]:
        return
    root = lake["main"]
    left, right = edit(root, *one), edit(root, *other)
    graph = {1: (), 2: (1,), 3: (1,)}
    there = merge_table(MergeInput(graph, {1: root, 2: left, 3: right}, 2, 3))
    here = merge_table(MergeInput(graph, {1: root, 2: right, 3: left}, 2, 3))
    if root is not None and not (there.withheld or here.withheld):
        assert not there.conflicts and not here.conflicts
        assert same(there.after, here.after)


@examples(200)
@given(HISTORIES)
def test_what_was_merged_is_a_parent_whatever_lakefs_says_of_ancestry(history: list[Any]) -> None:
    lake = begun()
    merges = played(lake, history)
    for source, destination, change in merges:
        if not change.conflicts and change.edge and not change.withheld:
            assert any(change.source_version in found for found in lake.parents.values()), (source, destination)
