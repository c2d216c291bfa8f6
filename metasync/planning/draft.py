"""A plan in the making, which the modules `plan_creation`, `plan_merge`, `plan_partitions` and `plan_deletion` fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref
from metasync.planning.changes import Change, TableFailure
from metasync.planning.observed import Observed
from metasync.planning.plan import Notice, NotMirrored
from metasync.planning.rules import RuleSet
from metasync.settings.models import Safety


@dataclass
class Draft:
    """What is planned from, and what is planned so far. `claims`: the names that are taken, and by which ref's id."""

    observed: Observed
    rules: RuleSet
    safety: Safety
    claims: dict[TableName, int]
    notices: list[Notice]
    changes: list[Change] = field(default_factory=list)
    refusals: list[Notice] = field(default_factory=list)
    failures: list[TableFailure] = field(default_factory=list)
    not_mirrored: list[NotMirrored] = field(default_factory=list)
    more: bool = False

    @cached_property
    def being_deleted(self) -> frozenset[Ref]:
        """The refs of which an incarnation is over, with tables that are not dropped yet."""
        return frozenset(view.ref for view in self.observed.refs if view.ended and view.state != "gone")

    @cached_property
    def canonical_databases(self) -> frozenset[str]:
        """The databases of the tables that people registered on canonical branches."""
        return frozenset(name.database for name in self.observed.canonical)

    @property
    def repository(self) -> str:
        return self.observed.repository.name

    @contextmanager
    def one_table(self, logical: TableName, where: str, ref_id: int = 0, merge_id: int = 0) -> Iterator[None]:
        """Makes whatever goes wrong inside a failure of that one table."""
        try:
            yield
        except Exception as error:  # a table that nobody foresaw must not keep the others from their plan
            why = f"planning failed: {type(error).__name__}: {error}"
            self.failures.append(TableFailure(logical, where, why, ref_id, merge_id))
