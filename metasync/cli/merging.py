"""diff, merge, resolve, undo: what people do about the definitions of two refs."""

from __future__ import annotations

import sys

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.pausing import person
from metasync.cli.running import ChangesTold, report
from metasync.desk.answers import Plans, Results
from metasync.errors import UsageError
from metasync.planning.merge import Side


@click.command()
@click.argument("repository")
@click.argument("ref1")
@click.argument("ref2")
@click.option("--merge", is_flag=True, help="What merging REF1 into REF2 would do, three ways, instead.")
@output_option
@pass_context
def diff(context: Context, repository: str, ref1: str, ref2: str, merge: bool) -> None:
    """What leads from the tables of REF1 to those of REF2. Nothing is written to the metastore."""
    with context.orders() as orders:
        if merge:
            _show(context, orders.preview_merge(repository, ref1, ref2))
            return
        found = orders.diff(repository, ref1, ref2)
    if context.output.answer(found):
        return
    for table in found.items:
        whole = len(table.items) == 1 and not table.items[0].path
        context.output.line(table.items[0].words[0] if whole else "~", table.table)
        for item in () if whole else table.items:
            context.output.line(item.words[0], f"    {item.words[1:]}")
    context.output.print(f"{ref1} -> {ref2}: {len(found.items)} tables differ", "bold")


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
    with context.orders() as orders, ChangesTold(context) as telling:
        if commit and told and not source:
            orders.tell_source(repository, commit, told)
            context.output.say(f"noted; the next reconcile merges it: metasync reconcile {repository}")
            return
        if not source or not destination or commit or told:
            raise UsageError("say SOURCE and DESTINATION, or --commit COMMIT --source REF")
        results = orders.merge(repository, source, destination, by=person(), told=telling)
    sys.exit(report(context, results))


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
    chosen: Side = "ours" if side == "ours" else "theirs"
    with context.orders() as orders, ChangesTold(context) as told:
        results = orders.resolve(conflict_id, chosen, items, told)
    if results.undecided and not context.output.is_json:
        context.output.rows([{"open": name} for name in results.undecided], empty="")
        context.output.say("noted; the table is merged once each of its items has a choice")
        return
    sys.exit(report(context, results))


@click.command()
@click.argument("name", metavar="MERGE|PLAN")
@click.option("--dry-run", is_flag=True, help="Only show what would be taken back.")
@output_option
@pass_context
def undo(context: Context, name: str, dry_run: bool) -> None:
    """Take back what a merge (by its commit) or an applied plan (by its number) did to the metadata.

    The same merge turned round: what somebody changed since is a conflict and stays. lakeFS is not touched.
    """
    with context.orders() as orders, ChangesTold(context) as told:
        results = orders.undo(name, dry_run, told)
    if dry_run:
        _show(context, results)
        return
    sys.exit(report(context, results))


def _show(context: Context, found: Plans | Results) -> None:
    if context.output.answer(found):
        return
    plans = found.items if isinstance(found, Plans) else [p for result in found.items for p in result.plans]
    for plan in plans:
        context.output.plan(plan)


COMMANDS = (diff, merge, resolve, undo)
