"""config init, check, show, schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from metasync.cli.context import Context, pass_context
from metasync.errors import ConfigurationError, UsageError
from metasync.planning.rules import problems
from metasync.settings import Settings, parse_settings

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
@click.option("--lakefs", prompt="lakeFS address", default="http://127.0.0.1:8000")
@click.option("--metastore", prompt="Hive Metastore", default="thrift://127.0.0.1:9083")
@click.option("--repository", prompt="lakeFS repository", default="lake")
@pass_context
def init(context: Context, lakefs: str, metastore: str, repository: str) -> None:
    """Write a first configuration file; an existing one is never overwritten."""
    if context.path.exists():
        raise UsageError(f"{context.path} exists already; it is left as it is")
    text = _START.format(lakefs=lakefs, metastore=metastore, repository=repository)
    parse_settings(text, str(context.path), {})
    Path(context.path).write_text(text, encoding="utf-8")
    context.output.say(f"wrote {context.path}; next: edit its rule, then metasync doctor, then metasync plan")


@config.command("check")
@pass_context
def check(context: Context) -> None:
    """Say what is wrong with the file, line by line. Exit 2 where anything is."""
    found = problems(context.settings.rules)
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
    click.echo(json.dumps(Settings.model_json_schema(), indent=2))


COMMANDS = (config,)
