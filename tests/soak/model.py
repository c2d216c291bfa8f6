"""What people did, in its order, and what must and may therefore be in the end.

Things are named so that no two are alike: columns `t0.c7`, partitions `t1/p7`, tables `born7`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

STABLE = ("t0", "t1")
"""Tables that nobody drops."""
TABLES = (*STABLE, "dropped")
POISONED = "odd"
"""A table that people write nonsense into; what becomes of it does not matter, as long as all else goes on."""


@dataclass(eq=False)
class Incarnation:
    """One incarnation of a branch or tag.

    `own`: what people made on it. `dropped`: mirrors that they dropped. `mirror_incarnation`: the incarnation in the
    marks of the mirrors on which they worked, None before they saw any. `stale_incarnation`: that of an earlier
    incarnation's, which may still stand; `?` where people cannot tell, and then nobody works on them.
    """

    name: str
    own: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    mirror_incarnation: str | None = None
    stale_incarnation: str | None = None


@dataclass(frozen=True)
class Merged:
    """A merge: how much the source had of its own by then, and of the merges before."""

    destination: Incarnation
    source: Incarnation
    commit: str
    own: int


@dataclass
class Lake:
    """One repository."""

    repository: str
    database: str
    branches: dict[str, Incarnation] = field(default_factory=dict)
    tags: dict[str, Incarnation] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    incarnations: list[Incarnation] = field(default_factory=list)
    merges: list[Merged] = field(default_factory=list)
    born_of: list[tuple[Incarnation, Incarnation]] = field(default_factory=list)
    """(source, incarnation)"""
    altered: list[tuple[str, float]] = field(default_factory=list)
    """(table, Unix seconds) of DDL that reads a whole table and writes it back."""

    @property
    def main(self) -> Incarnation:
        return self.branches["main"]

    def mirrored(self) -> list[Incarnation]:
        """The branches that a rule mirrors."""
        return [incarnation for name, incarnation in self.branches.items() if name.startswith("dev-")]

    def must(self, lost: Collection[str] = (), held: Collection[tuple[str, str]] = ()) -> dict[Incarnation, set[str]]:
        """What every incarnation has for certain: what was made on it, and what was merged into it.

        `lost` are merge commits whose source nobody could tell. `held` are tables of merges, (commit, table), that were
        in conflict: what they brought came when somebody had decided, and merges from there may have been too early.
        """
        found: dict[Incarnation, set[str]] = {incarnation: set() for incarnation in self.incarnations}
        late: dict[Incarnation, set[str]] = {incarnation: set() for incarnation in self.incarnations}
        for merge in self.merges:
            if merge.commit in lost:
                continue
            brought = found[merge.source] | set(merge.source.own[: merge.own])
            waited = {thing for thing in brought if (merge.commit, table_of(thing)) in held}
            found[merge.destination] |= brought - waited
            late[merge.destination] |= waited
        return {incarnation: things | late[incarnation] | set(incarnation.own) for incarnation, things in found.items()}

    def may(self, incarnation: Incarnation) -> set[str]:
        """What an incarnation can have at all: what was made wherever something came from, and later, too."""
        came: dict[str, set[str]] = {}
        for source, made in self.born_of:
            came.setdefault(made.name, set()).add(source.name)
        for merge in self.merges:
            came.setdefault(merge.destination.name, set()).add(merge.source.name)
        names, pending = {incarnation.name}, [incarnation.name]
        while pending:
            new = came.get(pending.pop(), set()) - names
            names |= new
            pending += new
        return {thing for one in self.incarnations if one.name in names for thing in one.own}


def table_of(thing: str) -> str:
    """`t0.c7`, `t0/p7` -> `t0`; `born7` -> `born7`."""
    return thing.partition("/")[0].partition(".")[0]
