"""Whether marks and a store belong together."""

from __future__ import annotations

import pytest

from metasync.model.marks import Marks
from metasync.planning.identity import why_not_together
from tests.unit.plans import marks


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([], None),
        ([marks(version=7)], None),
        ([marks(version=0)], None),
        ([marks(version=8)], "older-store"),
        ([marks(incarnation=2)], None),
        ([marks(incarnation=3)], "older-store"),
        ([marks(store="somebody")], "other-store"),
        ([marks(), marks(store="")], "other-store"),
        ([marks(), marks(version=99)], "older-store"),
    ],
)
def test_which_marks_stop_a_store(found: list[Marks], kind: str | None) -> None:
    why = why_not_together(found, "store", 7, 2, {"sales__dev_1.t", *(one.name for one in found)})
    assert (why[0] if why else None) == kind
    if why is not None:
        assert found[-1].name in why[1]


def test_marks_survive_the_metastore() -> None:
    made = marks(version=12)
    assert Marks.from_parameters(made.to_parameters(), made.name) == made
    odd = {**made.to_parameters(), "metasync.version": "many", "metasync.incarnation": "-1"}
    read = Marks.from_parameters(odd, made.name)
    assert read is not None and (read.version, read.incarnation) == (0, 0)
