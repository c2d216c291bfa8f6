"""explain: what the rules say, without asking anybody."""

from __future__ import annotations

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.errors import UsageError
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType, Repository
from metasync.planning.names import physical_name
from metasync.planning.rules import RuleSet, ref_patterns, takes_table


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.argument("table")
@output_option
@pass_context
def explain(context: Context, repository: str, ref: str, table: str) -> None:
    """Why a table is, or is not, mirrored for a ref: every rule in turn. Asks no server."""
    try:
        logical = TableName.parse(table)
        wanted = Ref.parse(ref) if ref.startswith(("branch/", "tag/")) else Ref(RefType.BRANCH, ref)
    except ValueError as error:
        raise UsageError(str(error)) from error
    rules = RuleSet.of(context.settings)
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
        steps.append({"rule": rule.name, "why": why})
    target = str(physical_name(chosen.target, repository, wanted, logical)) if chosen else None
    canonical = rules.canonical_branches(Repository(repository, 0, "", "<the default branch>"))
    if context.output.is_json:
        body = {"rule": chosen.name if chosen else None, "mirror": target, "steps": steps}
        context.output.json("explanation", body)
        return
    for step in steps:
        context.output.line("+" if step["why"] == "matches" else " ", f"rule {step['rule']}: {step['why']}")
    if wanted.type is RefType.BRANCH and wanted.name in canonical:
        context.output.print(f"{wanted} is canonical: people register its tables; only merges change them")
    elif chosen is None:
        context.output.print(f"{logical} is not mirrored for {wanted}")
    else:
        context.output.print(f"{logical} of {wanted} is mirrored as {target}; merges: {chosen.merge}")


COMMANDS = (explain,)
