"""The exit code of what was done."""

from __future__ import annotations

import pytest

from metasync.application.answers import Outcome, Result, Results
from metasync.cli.progress import exit_code


@pytest.mark.parametrize(
    ("outcomes", "refused", "code"),
    [
        ((), "", 0),
        (("create-mirror done", "finish-creation done"), "", 0),
        (("create-mirror failed",), "", 1),
        (("create-mirror waiting",), "", 1),
        (("create-mirror failed", "finish-creation done"), "", 1),
        (("merge-table failed", "finish-merge done"), "", 1),
        (("create-mirror failed", "create-mirror done"), "", 4),
        (("merge-table conflict", "finish-merge done"), "", 4),
        (("merge-table conflict", "merge-table failed"), "", 1),
        (("create-mirror done",), "too many drops", 5),
    ],
)
def test_the_exit_code_of_outcomes(outcomes: tuple[str, ...], refused: str, code: int) -> None:
    made = [Outcome(change=change, subject="t", state=state) for change, state in (o.split() for o in outcomes)]
    assert exit_code(Results(items=(Result(repository="lake", refused=refused, outcomes=tuple(made)),))) == code
