"""Constraints: told apart by what they say, moved from ref to ref, dropped by their names."""

from __future__ import annotations

from dataclasses import replace

from metasync.model.hms import (
    CheckConstraint,
    Constraints,
    DefaultConstraint,
    ForeignKeyColumn,
    NotNullConstraint,
    PrimaryKeyColumn,
    TableName,
    UniqueColumn,
)
from metasync.planning.kinds.constraints import at_home, between, foreign_keys, moved_to, names_gone, parents
from tests.unit.test_kinds import CONSTRAINTS

# Constraints


def live(**names: str) -> Constraints:
    """Constraints as a metastore names them."""
    return Constraints(
        primary_key=(PrimaryKeyColumn("b", 2, "pk_x", rely=True), PrimaryKeyColumn("id", 1, "pk_x", rely=True)),
        foreign_keys=(
            ForeignKeyColumn("id", 1, "fk_b", TableName("else", "where"), "x", "pk_other", delete_rule=2),
            ForeignKeyColumn("id", 2, "fk_a", TableName("sales__dev", "parent"), "qid", "pk_p", enable=True, update_rule=1),
            ForeignKeyColumn("b", 1, "fk_a", TableName("sales__dev", "parent"), "pid", "pk_p", enable=True, update_rule=1),
        ),
        unique=(
            UniqueColumn("b", 2, "uq_2", validate=True), UniqueColumn("id", 1, "uq_2", validate=True),
            UniqueColumn("b", 1, "uq_1"),
        ),
        not_null=(NotNullConstraint("id", "nn_1", enable=True), NotNullConstraint("b", "nn_2")),
        default=(DefaultConstraint("b", "7", "dc", rely=True),),
        check=(CheckConstraint("id", "id > 0", "ck_1", enable=True), CheckConstraint("", "b > 1", "ck_2")),
    )  # fmt: skip


LOGICAL = {TableName("sales__dev", "parent"): TableName("sales", "parent")}


def test_constraints_lose_their_names_and_parents_become_logical() -> None:
    assert at_home(live(), LOGICAL) == CONSTRAINTS
    assert parents(CONSTRAINTS) == {TableName("sales", "parent")}
    assert [len(key) for key in foreign_keys(live())] == [2, 1]
    away = moved_to(CONSTRAINTS, {TableName("sales", "parent"): TableName("sales__two", "parent")}.get)
    assert [str(k.parent) for k in away.foreign_keys] == ["sales__two.parent", "sales__two.parent", "else.where"]
    nowhere = moved_to(CONSTRAINTS, lambda _: None)
    assert [str(k.parent) for k in nowhere.foreign_keys] == ["else.where"]


def test_names_of_constraints_that_went() -> None:
    assert names_gone(live(), LOGICAL, CONSTRAINTS) == ()
    everything = names_gone(live(), LOGICAL, Constraints())
    assert everything == ("pk_x", "fk_a", "fk_b", "uq_1", "uq_2", "nn_1", "nn_2", "dc", "ck_1", "ck_2")
    assert names_gone(live(), LOGICAL, replace(CONSTRAINTS, default=())) == ("dc",)
    changed = replace(CONSTRAINTS, primary_key=(PrimaryKeyColumn("id", 1, ""),))
    assert names_gone(live(), LOGICAL, changed) == ("pk_x",)


def test_a_change_of_constraints_that_was_cut_short_can_be_finished() -> None:
    before = Constraints(primary_key=(PrimaryKeyColumn("a", 1, ""),), not_null=(NotNullConstraint("n", ""),))
    after = Constraints(primary_key=(PrimaryKeyColumn("b", 1, ""),), not_null=(NotNullConstraint("n", ""),))
    halfway = Constraints(not_null=(NotNullConstraint("n", ""),))
    assert between(before, before, after) and between(after, before, after) and between(halfway, before, after)
    assert not between(Constraints(), before, after)
    assert not between(replace(before, not_null=(NotNullConstraint("x", ""),)), before, after)
