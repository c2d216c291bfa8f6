"""diff, merge, resolve, undo: what people do about the definitions of two refs."""

from __future__ import annotations

import sys

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import summary
from metasync.cli.pausing import person
from metasync.cli.running import report
from metasync.errors import UsageError
from metasync.planning.merge import Side
from metasync.planning.plan import Plan, plan_to_json
from metasync.planning.words import describe_item, item_name
from metasync.service import parts


@click.command()
@click.argument("repository")
@click.argument("ref1")
@click.argument("ref2")
@click.option("--merge", is_flag=True, help="What merging REF1 into REF2 would do, three ways, instead.")
@output_option
@pass_context
def diff(context: Context, repository: str, ref1: str, ref2: str, merge: bool) -> None:
    """What leads from the tables of REF1 to those of REF2. Nothing is written to the metastore."""
    with parts(context.settings) as built:
        if merge:
            _show(context, built.comparer.merge(repository, ref1, ref2))
            return
        found = built.comparer.diff(repository, ref1, ref2)
    if context.output.is_json:
        items = [
            {
                "table": str(table.logical),
                "items": [
                    {"path": list(i.path), "words": describe_item(i), "before": i.before, "after": i.after}
                    for i in table.items
                ],
            }
            for table in found
        ]
        context.output.json("diff", items)
        return
    for table in found:
        whole = len(table.items) == 1 and not table.items[0].path
        sign = describe_item(table.items[0])[0] if whole else "~"
        context.output.line(sign, str(table.logical))
        for item in () if whole else table.items:
            words = describe_item(item)
            context.output.line(words[0], f"    {words[1:]}")
    context.output.print(f"{ref1} -> {ref2}: {len(found)} tables differ")


@click.command()
@click.argument("repository")
@click.argument("source", required=False)
@click.argument("destination", required=False)
@click.option("--commit", help="A merge commit that waits as `source unknown`, or its beginning; needs --source.")
@click.option("--source", "told", help="The branch or tag that the merge commit was made from.")
@output_option
@pass_context
def merge(
    context: Context, repository: str, source: str | None, destination: str | None, commit: str | None, told: str | None
) -> None:
    """Merge the metadata of SOURCE into DESTINATION alone, where lakeFS has no data to merge.

    With --commit and --source instead: tell what a merge commit was made from that waits as `source unknown`. See first
    what would happen: metasync diff REPOSITORY SOURCE DESTINATION --merge
    """
    with parts(context.settings) as built:
        if commit and told and not source:
            built.resolver.tell_source(repository, commit, told)
            context.output.say(f"noted; the next reconcile merges it: metasync reconcile {repository}")
            return
        if not source or not destination or commit or told:
            raise UsageError("say SOURCE and DESTINATION, or --commit COMMIT --source REF")
        result = built.resolver.merge_metadata(
            repository, source, destination, by=person(), told=context.output.outcome
        )
    sys.exit(report(context, [result]))


@click.command()
@click.argument("conflict_id", metavar="CONFLICT", type=int)
@click.option("--ours", "side", flag_value="ours", help="Keep the destination's items.")
@click.option("--theirs", "side", flag_value="theirs", help="Take the source's items.")
@click.option("--item", "items", multiple=True, help="Only this item, as `metasync conflicts` names it; repeatable.")
@output_option
@pass_context
def resolve(context: Context, conflict_id: int, side: str | None, items: tuple[str, ...]) -> None:
    """Settle a table's conflicts for one side; once all of them are, everything else of its merge is applied too."""
    if side not in ("ours", "theirs"):
        raise UsageError("say --ours (keep the destination) or --theirs (take the source)")
    with parts(context.settings) as built:
        chosen: Side = "ours" if side == "ours" else "theirs"
        result = built.resolver.resolve(conflict_id, chosen, items, context.output.outcome)
        still = built.decisions.conflicts()
    table = next(((c.merge_id, c.logical) for c in still if c.id == conflict_id), None)
    left = [item_name(c.path) for c in still if (c.merge_id, c.logical) == table and c.choice is None]
    if left and not result.plans:
        context.output.rows("open", [{"item": name} for name in left], empty="")
        context.output.say("noted; the table is merged once each of its items has a choice")
        return
    sys.exit(report(context, [result]))


@click.command()
@click.argument("name", metavar="MERGE|PLAN")
@click.option("--dry-run", is_flag=True, help="Only show what would be taken back.")
@output_option
@pass_context
def undo(context: Context, name: str, dry_run: bool) -> None:
    """Take back what a merge (by its commit) or an applied plan (by its number) did to the metadata.

    The same merge turned round: what somebody changed since is a conflict and stays. lakeFS is not touched.
    """
    with parts(context.settings) as built:
        if dry_run:
            _show(context, built.undoer.plan(name)[1])
            return
        result = built.undoer.undo(name, context.output.outcome)
    sys.exit(report(context, [result]))


def _show(context: Context, plan: Plan) -> None:
    if context.output.is_json:
        context.output.json("plans", [plan_to_json(plan)])
        return
    context.output.plan(plan)
    context.output.print(f"{plan.repository}: {summary(plan.counts())}")


COMMANDS = (diff, merge, resolve, undo)
