"""repair, prune, adopt, doctor, db."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from metasync.cli.context import Context, output_option, pass_context

if TYPE_CHECKING:
    from metasync.application.answers import Adoptable, Adopted


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.argument("table", default="")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--recreate", "again", multiple=True, metavar="TABLE", help="Create TABLE again, which somebody dropped on REF."
)
@output_option
@pass_context
def repair(
    context: Context, repository: str, ref: str, table: str, dry_run: bool, yes: bool, again: tuple[str, ...]
) -> None:
    """Put right what metasync imposes on the mirrors of REF, or on TABLE's: marks, type, the database's location.

    Mirrors that were never created are made. Columns, parameters and partitions stay as their users set them, and what
    somebody dropped stays away but for --recreate. Metadata only; it shows the plan and asks.
    """
    with context.orders() as orders:
        if dry_run or not yes:
            plans = orders.preview_repair(repository, ref, table, again)
            if context.output.answer(plans):
                return
            for plan in plans.items:
                context.output.plan(plan)
            if dry_run or not any(plan.changes for plan in plans.items):
                return
            if not context.output.confirm("Do this?"):
                context.output.say(f"nothing is changed; without a question: metasync repair {repository} {ref} --yes")
                return
        with context.progress() as watcher:
            results = orders.repair(repository, ref, table, again, watcher)
    sys.exit(context.report(results))


@click.command()
@click.option("--yes", is_flag=True, help="Drop them; without it they are only listed.")
@output_option
@pass_context
def prune(context: Context, yes: bool) -> None:
    """Drop orphans: mirrors that no rule wants any more. Metadata only."""
    with context.orders() as orders, context.progress() as watcher:
        if yes:
            results = orders.prune(watcher)
            if not results.items:
                context.output.say("no orphans")
            sys.exit(context.report(results))
        found = orders.orphans()
    if not context.output.answer(found):
        context.output.rows([one.model_dump() for one in found.items], empty="no orphans")
        if found.items:
            context.output.say("to drop their metadata: metasync prune --yes")


@click.command()
@click.argument("repository")
@click.option("--yes", is_flag=True, help="Take them over; without it they are only listed.")
@click.option("--force", is_flag=True, help="Forget the merge bases of a healthy store, too.")
@output_option
@pass_context
def adopt(context: Context, repository: str, yes: bool, force: bool) -> None:
    """Take over mirrors that this store does not know: after the store was lost, or restored from a backup.

    Say so only where no other metasync of this instance's name runs. What the old store knew is forgotten: merges of
    tables that differ on both sides are conflicts until somebody resolves them. On a healthy store nothing is changed.
    """
    found: Adoptable | Adopted
    with context.orders() as orders:
        found = orders.adopt(repository, force) if yes else orders.adoptable(repository)
    if context.output.answer(found):
        return
    context.output.rows([one.model_dump() for one in found.items], empty="" if yes else "nothing bears our marks")
    if yes and not found.items:
        context.output.say("nothing is changed: all that bears our marks is this store's; to forget its bases: --force")
    elif yes:
        context.output.say(f"{len(found.items)} taken over")
    else:
        context.output.say(f"to take them over: metasync adopt {repository} --yes")


@click.command()
@output_option
@pass_context
def doctor(context: Context) -> None:
    """Check the configuration and every system, and say what to do."""
    from metasync.doctor import diagnose

    found = diagnose(context.settings)
    if not context.output.answer(found):
        for check in found.items:
            sign = "x" if not check.ok else "!" if check.help else "+"
            context.output.line(sign, f"{check.subject}: {check.finding}")
            if check.help:
                context.output.line(" ", f"    {check.help}")
        wrong = sum(not check.ok for check in found.items)
        context.output.print(f"{len(found.items)} checks, {wrong} found something wrong", "bold")
        if not wrong:
            context.output.hint("next: metasync plan")
    sys.exit(0 if all(check.ok for check in found.items) else 1)


@click.group()
def db() -> None:
    """metasync's own database."""


@db.command("upgrade")
@pass_context
def db_upgrade(context: Context) -> None:
    """Run the migrations that are missing."""
    from metasync.store import open_database

    database = open_database(context.settings.store.url, upgrade=False)
    if database.is_current():
        context.output.say("the store is up to date")
    else:
        database.upgrade()
        context.output.say("the store is migrated")
    database.close()


COMMANDS = (repair, prune, adopt, doctor, db)
