"""prune, adopt, hooks, doctor, db."""

from __future__ import annotations

import sys

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import change_lines
from metasync.cli.running import report
from metasync.doctor import diagnose
from metasync.errors import MetasyncError
from metasync.lakefs import LakeFS
from metasync.lakefs.actions import action_file, install
from metasync.service import parts
from metasync.store import open_database


@click.command()
@click.option("--yes", is_flag=True, help="Drop them; without it they are only listed.")
@output_option
@pass_context
def prune(context: Context, yes: bool) -> None:
    """Drop orphans: mirrors that no rule wants any more. Metadata only."""
    with parts(context.settings) as built:
        if yes:
            sys.exit(report(context, built.resolver.prune(context.output.outcome)))
        found = built.resolver.orphans()
    rows = [
        {"repository": name, "orphan": text.removeprefix("mirror ").partition(":")[0]}
        for name, changes in found.items()
        for change in changes
        if change.kind == "drop-table"
        for _, text in change_lines(change)
    ]
    context.output.rows("orphans", rows, empty="no orphans")
    if rows and not context.output.is_json:
        context.output.say("to drop their metadata: metasync prune --yes")


@click.command()
@click.argument("repository")
@click.option("--yes", is_flag=True, help="Take them over; without it they are only listed.")
@output_option
@pass_context
def adopt(context: Context, repository: str, yes: bool) -> None:
    """Take over the mirrors of a lost store, or of the time after a backup that was restored.

    Say so only where no other metasync of this instance's name runs. What the old store knew is forgotten: merges of
    tables that differ on both sides are conflicts until somebody resolves them.
    """
    with parts(context.settings) as built:
        found = built.adopter.adopt(repository) if yes else built.adopter.found(repository)
    rows = [
        {"name": m.marks.name, "of": m.marks.table, "ref": m.marks.ref, "store": m.marks.store, "rule": m.marks.rule}
        for m in found
    ]
    context.output.rows("adopted" if yes else "adoptable", rows, empty="nothing bears our marks")
    if not context.output.is_json:
        context.output.say(
            f"{len(rows)} taken over" if yes else f"to take them over: metasync adopt {repository} --yes"
        )


@click.group()
def hooks() -> None:
    """lakeFS's action file, which tells metasync where to look."""


@hooks.command("print")
@click.option("--url", required=True, help="How lakeFS reaches metasync, for example http://metasync:8765")
@click.option("--lakefs-version", default="", help="Leave out events that this version does not know.")
def hooks_print(url: str, lakefs_version: str) -> None:
    """Print the action file."""
    click.echo(action_file(url, lakefs_version), nl=False)


@hooks.command("install")
@click.argument("repository")
@click.option("--branch", help="Default: the repository's default branch.")
@click.option("--url", required=True, help="How lakeFS reaches metasync, for example http://metasync:8765")
@pass_context
def hooks_install(context: Context, repository: str, branch: str | None, url: str) -> None:
    """Commit the action file, after a throw-away branch has shown that lakeFS takes it."""
    lakefs = LakeFS(context.settings.lakefs)
    found = lakefs.get_repository(repository)
    if found is None:
        raise MetasyncError(f"lakeFS has no repository {repository!r}, or does not show it to this user")
    content = action_file(url, lakefs.version())
    context.output.say(install(lakefs, repository, branch or found.default_branch, content))
    context.output.say("lakeFS reads the token from its environment variable LAKEFSACTION_METASYNC_TOKEN")


@click.command()
@output_option
@pass_context
def doctor(context: Context) -> None:
    """Check what can be checked, and say what to do."""
    checks = diagnose(context.settings)
    if context.output.is_json:
        context.output.json("checks", [check.__dict__ for check in checks])
    else:
        for check in checks:
            context.output.line("+" if check.ok else "x", f"{check.subject}: {check.finding}")
            if check.help:
                context.output.line(" ", f"    {check.help}")
    sys.exit(0 if all(check.ok for check in checks) else 1)


@click.group()
def db() -> None:
    """metasync's own database."""


@db.command("upgrade")
@pass_context
def db_upgrade(context: Context) -> None:
    """Run the migrations that are missing."""
    database = open_database(context.settings.store.url, upgrade=False)
    if database.is_current():
        context.output.say("the store is up to date")
    else:
        database.upgrade()
        context.output.say("the store is migrated")
    database.close()


COMMANDS = (prune, adopt, hooks, doctor, db)
