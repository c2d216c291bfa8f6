"""The plan: data that a dry run prints and an apply executes, the same in both.

Changes are in the order in which they are applied. Conflicts and refusals are rows of the plan, not exceptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref
from metasync.planning.changes import (
    Bookkeeping,
    Change,
    CopyStatistics,
    Count,
    DropTable,
    MergeTable,
    TableFailure,
    counted_as,
)
from metasync.planning.three_way import ItemConflict


@dataclass(frozen=True)
class Notice:
    """Something that a person should know. `kind` is a stable word; `help` says what to do; `ref_id` whose it is."""

    kind: str
    subject: str
    message: str
    help: str = ""
    ref_id: int = 0


@dataclass(frozen=True)
class NotMirrored:
    """A table that a rule names for a ref and that is of a kind that is never mirrored; `reason` says which."""

    ref_id: int
    ref: Ref
    logical: TableName
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a pass over one repository would do, and what it would not.

    `refusal` is why the safety limits hold back the changes in `held`, or why nothing at all is written. `failures` are
    the tables that are left out because something is wrong with them. `more` says that another pass will follow,
    because something waits for this one (a creation for a merge, a deletion for the ledger).
    """

    repository: str
    changes: tuple[Change, ...] = ()
    refusals: tuple[Notice, ...] = ()
    notices: tuple[Notice, ...] = ()
    refusal: str = ""
    more: bool = False
    held: tuple[Change, ...] = ()
    failures: tuple[TableFailure, ...] = ()
    not_mirrored: tuple[NotMirrored, ...] = ()

    @property
    def merges(self) -> tuple[MergeTable, ...]:
        return tuple(change for change in self.changes if isinstance(change, MergeTable))

    @property
    def conflicts(self) -> tuple[tuple[MergeTable, ItemConflict], ...]:
        return tuple((merge, conflict) for merge in self.merges for conflict in merge.conflicts)

    @property
    def pending(self) -> bool:
        """Whether an apply would change a definition in the metastore; statistics are no change that waits."""
        silent = MergeTable | CopyStatistics | Bookkeeping
        return any(not isinstance(c, silent) for c in self.changes) or any(merge.writes for merge in self.merges)

    def counts(self) -> Mapping[str, int]:
        """How many of each, for the last line of a plan and for metrics."""
        found = Counter(kind for change in self.changes for kind in counted_as(change))
        return {
            **{kind: found[kind] for kind in get_args(Count)},
            "refused": len(self.refusals),
            "held": sum(isinstance(c, DropTable) for c in self.held),
            "failed": len(self.failures),
        }


@cache
def _plan() -> TypeAdapter[Plan]:
    """Built when it is first needed: that takes longer than most commands do."""
    return TypeAdapter(Plan)


_RENAMED = {"end-ref": "finish-deletion"}
"""Kinds of changes in plans of version 1 -> what they are called now."""


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, `kind` and version first."""
    return {"kind": "metasync.plan/v2", **_plan().dump_python(plan, mode="json")}


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """The inverse of `plan_to_json`, for plans of version 1 too. Raises ValueError for another kind or version."""
    kind, found = value.get("kind"), {key: item for key, item in value.items() if key != "kind"}
    if kind == "metasync.plan/v1":
        for changes in (found.get("changes", ()), found.get("held", ())):
            for change in changes:
                change["kind"] = _RENAMED.get(change["kind"], change["kind"])
    elif kind != "metasync.plan/v2":
        raise ValueError(f"not a plan that this version reads: {kind!r}")
    return _plan().validate_python(found)


@dataclass(frozen=True)
class Applied:
    """What became of one change. `state`: done, waiting (to be tried again), conflict or failed."""

    change: Change
    state: Literal["done", "waiting", "conflict", "failed"]
    message: str = ""
    conflicts: tuple[ItemConflict, ...] = field(default_factory=tuple)
