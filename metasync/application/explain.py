"""Why a table is, or is not, mirrored for a ref; and what people mean by the names that they type."""

from __future__ import annotations

from metasync.application import answers
from metasync.application.readiness import meant_refs
from metasync.errors import UsageError
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.planning.names import physical_name
from metasync.planning.rules import RuleSet, ref_patterns, takes_table
from metasync.settings.models import Settings


def explain(settings: Settings, repository: str, ref: str, table: str) -> answers.Explanation:
    """Why a table is, or is not, mirrored for a ref: every rule in turn. The rules alone are asked."""
    rules, logical, meant = RuleSet.of(settings), parse_table(table), _meant(ref)
    # A name without its kind is the branch's, or the tag's where a rule speaks of that alone.
    wanted = next((one for one in meant if rules.of_ref(repository, one)), meant[0])
    chosen = rules.of_table(repository, wanted, logical)
    steps = []
    for rule in rules.rules:
        if rule not in rules.of_repository(repository):
            why = f"its repository pattern {rule.repository!r} does not match"
        elif rule not in rules.of_ref(repository, wanted):
            why = f"none of its {wanted.type.value} patterns {list(ref_patterns(rule, wanted.type))} matches"
        elif not takes_table(rule, logical):
            why = f"none of its table patterns {rule.tables} matches"
        else:
            why = "matches" if rule is chosen else "matches too, but an earlier rule has it"
        steps.append(answers.Step(rule=rule.name, why=why))
    target = str(physical_name(chosen.target, repository, wanted, logical)) if chosen else None
    canonical = rules.canonical_branches(Repository(repository, 0, "", "<the default branch>"))
    if wanted.type is RefType.BRANCH and wanted.name in canonical:
        sentence = f"{wanted} is canonical: people register its tables; only merges change them"
    elif chosen is None:
        sentence = f"{logical} is not mirrored for {wanted}"
    else:
        sentence = f"{logical} of {wanted} is mirrored as {target}; merges: {chosen.merge}"
    return answers.Explanation(
        rule=chosen.name if chosen else None, mirror=target, sentence=sentence, steps=tuple(steps)
    )


def _meant(text: str) -> tuple[Ref, ...]:
    try:
        return meant_refs(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_table(text: str) -> TableName:
    try:
        return TableName.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
