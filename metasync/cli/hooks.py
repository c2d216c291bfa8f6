"""hooks print, install, status: lakeFS's action file."""

from __future__ import annotations

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.errors import MetasyncError


@click.group()
def hooks() -> None:
    """lakeFS's action file, which notifies metasync."""


@hooks.command("print")
@click.option("--url", required=True, help="How lakeFS reaches metasync, for example http://metasync:8765")
@click.option("--lakefs-version", default="", help="Leave out events that this version does not know.")
def hooks_print(url: str, lakefs_version: str) -> None:
    """Print the action file."""
    from metasync.lakefs.actions import action_file

    click.echo(action_file(url, lakefs_version), nl=False)


@hooks.command("install")
@click.argument("repository")
@click.option("--branch", help="Default: the repository's default branch.")
@click.option("--url", required=True, help="How lakeFS reaches metasync, for example http://metasync:8765")
@pass_context
def hooks_install(context: Context, repository: str, branch: str | None, url: str) -> None:
    """Commit the action file, after a throw-away branch has shown that lakeFS takes it."""
    from metasync.lakefs import LakeFS
    from metasync.lakefs.actions import action_file, install

    lakefs = LakeFS(context.settings.lakefs)
    found = lakefs.get_repository(repository)
    if found is None:
        raise MetasyncError(f"lakeFS has no repository {repository!r}, or does not show it to this user")
    content = action_file(url, lakefs.version())
    context.output.say(install(lakefs, repository, branch or found.default_branch, content))
    context.output.say("lakeFS sends the value of its environment variable LAKEFSACTION_METASYNC_TOKEN")
    context.output.say("it must be server.webhook_token, or server.token where that is not set")
    context.output.hint(f"see which branches have it: metasync hooks status {repository}")


@hooks.command("status")
@click.argument("repository")
@output_option
@pass_context
def hooks_status(context: Context, repository: str) -> None:
    """Which watched branches have the action file; the others are seen by the poller alone."""
    from metasync.lakefs import LakeFS
    from metasync.lakefs.actions import installed_on
    from metasync.planning.rules import RuleSet

    lakefs, rules = LakeFS(context.settings.lakefs), RuleSet.of(context.settings)
    found = lakefs.get_repository(repository)
    if found is None:
        raise MetasyncError(f"lakeFS has no repository {repository!r}, or does not show it to this user")
    watched = [ref for ref in lakefs.list_refs(repository) if rules.is_watched(found, ref)]
    states = installed_on(lakefs, repository, sorted(ref.name for ref in watched if ref.type.value == "branch"))
    rows = [{"branch": branch, "action_file": state} for branch, state in states.items()]
    if context.output.is_json:
        context.output.json("hooks", rows)
        return
    context.output.rows(rows, empty="no branch is watched")
    if any(state != "installed" for state in states.values()):
        context.output.say(f"to install it: metasync hooks install {repository} --url URL [--branch BRANCH]")


COMMANDS = (hooks,)
