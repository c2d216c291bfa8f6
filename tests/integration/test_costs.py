"""What a pass asks for follows what changed, and not how many refs there are; counted, as time is not for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from metasync.engine.scope import Scope
from metasync.wiring import Parts, parts
from tests.conftest import World


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements to stores while it lasts."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def cost(built: Parts, world: World) -> int:
    """How many statements a pass takes in which nothing is to be done, but that a head moved where one did."""
    with statements() as found:
        result = built.controller.sync(Scope(world.repository))
    assert not result.failures and not result.plans[0].pending
    return len(found)


@pytest.mark.parametrize("moves", [False, True], ids=["nothing moved", "one head moved"])
def test_a_pass_costs_the_same_whatever_the_number_of_refs(world: World, moves: bool) -> None:
    world.create_table("t")
    for number in range(2):
        world.branch(f"dev-{number}")
    found = []
    for upto in (2, 14):
        for number in range(2, upto):
            world.branch(f"dev-{number}")
        with parts(world.settings()) as built:
            built.controller.sync(Scope(world.repository, full=True))
            built.controller.sync(Scope(world.repository))
            if moves:
                world.lake.write("dev-1", f"wh/t/{upto}")
            found.append(cost(built, world))
    assert found[0] == found[1], found
