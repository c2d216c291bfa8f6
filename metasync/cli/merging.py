"""diff, merge, resolve, undo: what people do about the definitions of two refs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.pausing import person
from metasync.errors import UsageError

if TYPE_CHECKING:
    from metasync.application.answers import Plans, Results
    from metasync.planning.merge import Side


@click.command()
@click.argument("repository")
@click.argument("ref1")
@click.argument("ref2")
@click.option("--merge", is_flag=True, help="Show what a three-way merge of REF1 into REF2 would change instead.")
@output_option
@pass_context
def diff(context: Context, repository: str, ref1: str, ref2: str, merge: bool) -> None:
    """Show how the tables of REF2 differ from those of REF1. It writes nothing to the metastore."""
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
@click.option("--source", "merge_source", help="The branch or tag that the merge commit was made from.")
@click.option("--no-source", is_flag=True, help="The merge commit was made from nothing that has tables here.")
@output_option
@pass_context
def merge(
    context: Context,
    repository: str,
    source: str | None,
    destination: str | None,
    commit: str | None,
    merge_source: str | None,
    no_source: bool,
) -> None:
    """Merge the metadata of SOURCE into DESTINATION alone, where lakeFS has no data to merge.

    With --commit and --source instead: name the source of a merge commit that is pending as `source unknown`; with
    --no-source, that there is nothing to merge. See first what would happen: metasync diff REPOSITORY SOURCE
    DESTINATION --merge
    """
    with context.orders() as orders, context.progress() as watcher:
        if commit and no_source and not (source or merge_source):
            orders.no_source(repository, commit, person())
            context.output.say("noted; nothing is merged for this commit")
            return
        if commit and merge_source and not (source or no_source):
            orders.name_source(repository, commit, merge_source)
            context.output.say(f"noted; the next reconcile merges it: metasync reconcile {repository}")
            return
        if not source or not destination or commit or merge_source or no_source:
            raise UsageError("say SOURCE and DESTINATION, or --commit COMMIT with --source REF or --no-source")
        results = orders.merge(repository, source, destination, by=person(), watcher=watcher)
    sys.exit(context.report(results))


@click.command()
@click.argument("conflict_id", metavar="CONFLICT", type=int)
@click.option("--ours", is_flag=True, help="Keep the destination's items.")
@click.option("--theirs", is_flag=True, help="Take the source's items.")
@click.option("--item", "items", multiple=True, help="Only this item, as `metasync conflicts` names it; repeatable.")
@output_option
@pass_context
def resolve(context: Context, conflict_id: int, ours: bool, theirs: bool, items: tuple[str, ...]) -> None:
    """Resolve a table's conflicts for one side; once all are resolved, the rest of the table's merge is applied too."""
    if ours is theirs:
        raise UsageError("say one of --ours (keep the destination) and --theirs (take the source)")
    chosen: Side = "ours" if ours else "theirs"
    with context.orders() as orders, context.progress() as watcher:
        results = orders.resolve(conflict_id, chosen, items, watcher)
    if results.undecided and not context.output.is_json:
        context.output.rows([{"open": name} for name in results.undecided], empty="")
        context.output.say("noted; the table is merged once each of its items has a choice")
        return
    sys.exit(context.report(results))


@click.command()
@click.argument("name", metavar="MERGE|PLAN")
@click.option("--dry-run", is_flag=True, help="Only show what would be undone.")
@output_option
@pass_context
def undo(context: Context, name: str, dry_run: bool) -> None:
    """Undo the metadata changes of a merge (by its commit) or of an applied plan (by its number).

    It is a merge in the other direction: what was changed since is a conflict and stays. lakeFS is not changed.
    """
    with context.orders() as orders, context.progress() as watcher:
        results = orders.undo(name, dry_run, watcher)
    if dry_run:
        _show(context, results)
        return
    sys.exit(context.report(results, conflicts_are_stored=False))


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--keep", is_flag=True, help="It is the same branch: everything stays as it is, and the notice goes away."
)
@output_option
@pass_context
def recreate(context: Context, repository: str, ref: str, yes: bool, keep: bool) -> None:
    """Treat the branch REF as deleted and created again: its tables are dropped, and its mirrors created anew.

    For a branch of which an event says so and lakeFS has no record. Metadata only; it shows the plan and asks.
    """
    with context.orders() as orders:
        if keep:
            orders.keep(repository, ref, person())
            context.output.say(f"noted: {ref} is the branch that it was")
            return
        if not yes:
            for plan in orders.preview_recreate(repository, ref).items:
                context.output.plan(plan)
            if not context.output.confirm("Drop these, and create the mirrors anew?"):
                context.output.say(
                    f"nothing is changed; without a question: metasync recreate {repository} {ref} --yes"
                )
                return
        with context.progress() as watcher:
            results = orders.recreate(repository, ref, person(), watcher)
    sys.exit(context.report(results))


def _show(context: Context, found: Plans | Results) -> None:
    if context.output.answer(found):
        return
    from metasync.application.answers import Plans

    plans = found.items if isinstance(found, Plans) else [p for result in found.items for p in result.plans]
    for plan in plans:
        context.output.plan(plan)


COMMANDS = (diff, merge, resolve, undo, recreate)
