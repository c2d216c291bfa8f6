"""config init, check, show, schema; notify test; completion."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from metasync.cli.context import Context, pass_context
from metasync.errors import ConfigurationError, MetasyncError, UsageError

_START = """\
# metasync's configuration. All keys: metasync config schema
lakefs:
  endpoint_url: {lakefs}
  # access_key_id and secret_access_key default to lakectl's environment variables and ~/.lakectl.yaml
metastore:
  uris: [{metastore}]
rules:
  - name: dev
    repository: {repository}
    branches: ["dev-*"]
    tables: ["sales.*"]
"""


@click.group()
def config() -> None:
    """The configuration file."""


@config.command("init")
@click.option(
    "--lakefs", prompt="lakeFS address", default="http://127.0.0.1:8000", envvar="LAKECTL_SERVER_ENDPOINT_URL"
)
@click.option("--metastore", prompt="Hive Metastore", default="thrift://127.0.0.1:9083")
@click.option("--repository", prompt="lakeFS repository", default="lake")
@pass_context
def init(context: Context, lakefs: str, metastore: str, repository: str) -> None:
    """Write a first configuration file; an existing one is never overwritten."""
    if context.path.exists():
        raise UsageError(f"{context.path} exists already; it is left as it is")
    from metasync.settings import parse_settings

    text = _START.format(lakefs=lakefs, metastore=metastore, repository=repository)
    parse_settings(text, str(context.path), {})
    Path(context.path).write_text(text, encoding="utf-8")
    context.output.say(f"wrote {context.path}; next: edit its rule, then metasync doctor, then metasync plan")


@config.command("check")
@pass_context
def check(context: Context) -> None:
    """Say what is wrong with the file, line by line. Exit 2 where anything is."""
    from metasync.planning.rules import problems_of
    from metasync.store.database import check_url

    found = problems_of(context.settings)
    check_url(context.settings.store.url)
    if found:
        raise ConfigurationError("\n".join(f"{context.path}: {problem}" for problem in found))
    context.output.say(f"{context.path}: good, {len(context.settings.rules)} rules")


@config.command("show")
@pass_context
def show(context: Context) -> None:
    """Print the configuration with every default filled in and every secret hidden."""
    click.echo(json.dumps(context.settings.model_dump(mode="json"), indent=2))


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file."""
    from metasync.settings import Settings

    click.echo(json.dumps(Settings.model_json_schema(), indent=2))


@click.group()
def notify() -> None:
    """Who is notified of what needs a person's attention."""


@notify.command("test")
@click.argument("channel", required=False)
@pass_context
def notify_test(context: Context, channel: str | None) -> None:
    """Send a test message over a channel of `notifications`, or over all of them."""
    from metasync.application.notifications import test_message
    from metasync.channels import sender_of

    channels = [one for one in context.settings.notifications if channel in (None, one.name)]
    if not channels:
        known = ", ".join(one.name for one in context.settings.notifications) or "none is configured"
        raise UsageError(f"there is no channel {channel or ''}".rstrip() + f"; notifications: {known}")
    failed = False
    for one in channels:
        try:
            sender_of(one)(test_message(context.settings))
        except MetasyncError as error:
            failed = True
            context.output.line("x", str(error))
        else:
            context.output.line("+", f"channel {one.name}: took it")
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete metasync's commands; for bash: eval "$(metasync completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choice above has them
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "metasync", "_METASYNC_COMPLETE").source())


COMMANDS = (config, notify, completion)
