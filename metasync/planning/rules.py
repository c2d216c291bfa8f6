"""Which rule is meant: the first that matches, per repository, ref and table; and what is wrong with a set of rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.planning.patterns import compile_error, covers, lowered, matches
from metasync.settings.models import Rule, Settings

UNADDRESSABLE = "~@$"
"""A tag whose name holds one of these cannot be addressed as a ref (recorded: refs.json)."""


@dataclass(frozen=True)
class RuleSet:
    """The rules in their order."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, settings: Settings) -> RuleSet:
        return cls(tuple(settings.rules))

    def of_repository(self, repository: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if matches(repository, [rule.repository]))

    def of_ref(self, repository: str, ref: Ref) -> tuple[Rule, ...]:
        """The rules that match this ref, whatever the table."""
        return tuple(rule for rule in self.of_repository(repository) if matches(ref.name, ref_patterns(rule, ref.type)))

    def of_table(self, repository: str, ref: Ref, table: TableName) -> Rule | None:
        """The rule for one table on one ref."""
        return next((rule for rule in self.of_ref(repository, ref) if takes_table(rule, table)), None)

    def canonical_branches(self, repository: Repository) -> dict[str, list[Rule]]:
        """Canonical branch -> the rules that name it."""
        found: dict[str, list[Rule]] = {}
        for rule in self.of_repository(repository.name):
            found.setdefault(rule.canonical_branch or repository.default_branch, []).append(rule)
        return found

    def is_watched(self, repository: Repository, ref: Ref) -> bool:
        """Whether merges into the ref are followed."""
        if ref.type is RefType.TAG:
            return False
        return ref.name in self.canonical_branches(repository) or bool(self.of_ref(repository.name, ref))

    def ignored_parameters(self, repository: str) -> tuple[str, ...]:
        """Parameters that are compared on no ref of the repository: refs of two rules are merged with each other."""
        return tuple(pattern for rule in self.of_repository(repository) for pattern in rule.ignore_parameters)

    def named(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.name == name), None)


def ref_patterns(rule: Rule, ref_type: RefType) -> Sequence[str]:
    return rule.branches if ref_type is RefType.BRANCH else rule.tags


def takes_table(rule: Rule, table: TableName) -> bool:
    return matches(str(table), lowered(rule.tables))


def may_take_database(rule: Rule, database: str) -> bool:
    """Whether the rule could take a table of `database`: a cheap test before its tables are listed."""
    takes = [pattern for pattern in rule.tables if not pattern.startswith("!")]
    return not takes or any(
        pattern.startswith("re:") or matches(database, [pattern.split(".")[0]]) for pattern in lowered(takes)
    )


def problems_of(settings: Settings) -> list[str]:
    """As `problems`, and the patterns that say which repositories `after_apply` is notified of."""
    found = problems(settings.rules)
    for hook in settings.after_apply:
        found += [f"after_apply {hook.name!r}: {why}" for one in hook.repositories if (why := compile_error(one))]
    return found


def problems(rules: Sequence[Rule]) -> list[str]:
    """What makes a set of rules unusable: bad patterns, targets without {ref}, rules that another shadows."""
    found = []
    for index, rule in enumerate(rules):
        lists = (rule.branches, rule.tags, rule.tables, rule.protected, rule.ignore_parameters)
        for pattern in (rule.repository, *(pattern for one in lists for pattern in one)):
            if error := compile_error(pattern):
                found.append(f"rule {rule.name!r}: {error}")
        if not _names_ref(rule):
            found.append(
                f"rule {rule.name!r}: the target {rule.target.database}.{rule.target.table} has no {{ref}}, so all "
                "refs of the rule would share one name; add {ref} or name exactly one literal ref"
            )
        if "{table}" not in rule.target.database + rule.target.table:
            found.append(f"rule {rule.name!r}: the target has no {{table}}, so all tables would share one name")
        found += [
            f"rule {rule.name!r} is shadowed by rule {earlier.name!r}: everything that it matches is taken before; "
            "put it first or remove it"
            for earlier in rules[:index]
            if _shadows(earlier, rule)
        ]
    return found


def _names_ref(rule: Rule) -> bool:
    if "{ref}" in rule.target.database + rule.target.table:
        return True
    refs = [*rule.branches, *rule.tags]
    return len(refs) == 1 and not refs[0].startswith(("re:", "!")) and not any(mark in refs[0] for mark in "*?[")


def _shadows(earlier: Rule, later: Rule) -> bool:
    return (
        covers([earlier.repository], [later.repository])
        and covers(earlier.branches, later.branches)
        and covers(earlier.tags, later.tags)
        and covers(lowered(earlier.tables), lowered(later.tables))
    )
