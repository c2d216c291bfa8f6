"""One logical table through a life of branches and merges, without a server: the planning under test does the rest.

What a merge does to the version graph and to the destination is taken from the plan and from `planning.edges`, as the
engine takes it; so a history that holds here holds there, as far as the engine does what the plan says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import MergeTable, PartitionChange
from metasync.planning.item_tree import Definition, Partial
from metasync.planning.kinds.partitions import partition_key
from metasync.planning.merge import Choice, MergeInput
from metasync.planning.observed import MergeTableView, MergeView
from metasync.planning.table_merges import plan_table_merge, undo_change
from metasync.planning.version_edges import new_versions
from metasync.planning.version_graph import bases_needed
from metasync.settings.models import Rule

LOGICAL = TableName("sales", "t")


def a_rule(**options: Any) -> Rule:
    return Rule(name="dev", repository="lake", branches=["*"], tables=["sales.*"], **options)


@dataclass
class Lake:
    """Refs by name, each with the number of its newest version of the table."""

    versions: dict[int, Definition] = field(default_factory=dict)
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)
    refs: dict[str, int] = field(default_factory=dict)
    waiting: dict[tuple[str, str], MergeTable] = field(default_factory=dict)

    def _add(self, content: Definition, parents: tuple[int, ...]) -> int:
        number = len(self.versions) + 1
        self.versions[number], self.parents[number] = content, parents
        return number

    def __getitem__(self, ref: str) -> Definition:
        return self.versions[self.refs[ref]]

    def ddl(self, ref: str, content: Definition) -> None:
        """Somebody changes the table, and metasync sees it."""
        if ref not in self.refs:
            self.refs[ref] = self._add(content, ())
        elif content != self[ref]:
            self.refs[ref] = self._add(content, (self.refs[ref],))

    def branch(self, name: str, source: str = "main") -> None:
        self.refs[name] = self.refs[source]

    def plan(self, source: str, destination: str, rule: Rule, **options: Any) -> MergeTable | None:
        """The change that merging needs, as the engine would plan it; None where there is nothing to merge."""
        theirs, ours = self.refs[source], self.refs[destination]
        if theirs == ours or bases_needed(self.parents, theirs, ours) == {theirs}:
            return None
        choose: Choice | None = options.pop("choose", None)
        strategy = options.pop("strategy", "")
        branch = Ref(RefType.BRANCH, destination)
        merge = MergeView(1, "c0ffee", f"branch/{source}", 1, branch, 2, strategy=strategy)
        view = MergeTableView(
            LOGICAL, rule.name, LOGICAL, MergeInput(self.parents, self.versions, theirs, ours), **options
        )
        return plan_table_merge(merge, view, rule, choose)

    def merge(self, source: str, destination: str, rule: Rule, **options: Any) -> MergeTable | None:
        """Merges and records, as the engine would."""
        change = self.plan(source, destination, rule, **options)
        if change is not None and not change.conflicts:
            self.record(change, source, destination)
        return change

    def record(self, change: MergeTable, source: str, destination: str) -> None:
        made: dict[str, int] = {}
        for version in new_versions(change, self.refs[source]):
            content = {
                "after": lambda: applied(self[destination], change.after, change.partitions),
                "remainder": lambda: applied(
                    self.versions[change.source_version or 0], change.remainder, change.remainder_partitions
                ),
                "source": lambda: self.versions[change.source_version or 0],
                "newest": lambda: self[source],
            }[version.content]()
            parents = tuple(made[p] if isinstance(p, str) else p for p in version.parents)
            made[version.content] = self._add(content, parents)
            self.refs[source if version.on == "source" else destination] = made[version.content]
        if change.waiting is not None and not change.undoes:
            kept = replace(change.waiting, source_version=made.get("source", change.source_version), withheld=())
            self.waiting[source, destination] = kept

    def approve(self, source: str, destination: str) -> MergeTable:
        """`metasync apply`: what the policy withheld."""
        kept = self.waiting.pop((source, destination))
        assert not kept.conflicts, "the plan cannot be applied as it is"
        now = self[destination]
        assert (now.header if now else None) == kept.before, "the plan is stale"
        change = replace(kept, destination_version=self.refs[destination], edge=True)
        self.record(change, source, destination)
        return change

    def undo(self, change: MergeTable, destination: str) -> MergeTable:
        current = self[destination]
        if current is not None and change.before is not None and change.after is not None:
            touched = {partition_key(p.values) for p in change.partitions}
            current = Partial(current.header, {k: p for k, p in current.partitions.items() if k in touched})
        turned = undo_change(change, current, self.refs[destination], column_check="4.0")
        if not turned.conflicts:
            self.record(turned, destination, destination)
        return turned


def applied(before: Definition, after: Any, changes: tuple[PartitionChange, ...]) -> Definition:
    """What a table is once a change was made to it; partitions that the change does not name stay."""
    if after is None:
        return None
    partitions = dict(before.partitions) if before is not None else {}
    for change in changes:
        if change.after is None:
            partitions.pop(partition_key(change.values), None)
        else:
            partitions[partition_key(change.values)] = change.after
    return Partial(after, partitions)
