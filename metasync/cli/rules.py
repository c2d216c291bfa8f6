"""explain: what the rules say of a table, and what the store knows of it."""

from __future__ import annotations

import click

from metasync.cli.context import Context, output_option, pass_context


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.argument("table")
@output_option
@pass_context
def explain(context: Context, repository: str, ref: str, table: str) -> None:
    """Explain why a table is mirrored for a ref or not, rule by rule. It asks neither lakeFS nor the metastore."""
    found = context.explain(repository, ref, table)
    if context.output.answer(found):
        return
    for step in found.steps:
        context.output.line("+" if step.why == "matches" else " ", f"rule {step.rule}: {step.why}")
    context.output.print(found.sentence)


COMMANDS = (explain,)
