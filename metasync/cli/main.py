"""`metasync`: the group, its options, and how errors become exit codes."""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from metasync import __version__
from metasync.errors import MetasyncError, code_of

_MODULES = {
    "running": ("serve", "plan", "show", "reconcile", "apply"),
    "pausing": ("pause", "resume", "wait"),
    "merging": ("diff", "merge", "resolve", "undo", "recreate"),
    "queries": ("status", "refs", "conflicts", "history", "search", "events"),
    "rules": ("explain",),
    "operations": ("repair", "prune", "adopt", "doctor", "db"),
    "hooks": ("hooks",),
    "configuration": ("config", "notify", "completion"),
    "sandbox": ("sandbox", "demo"),
}
"""Module of `metasync.cli` -> its commands. A module is loaded when one of its commands is asked for."""


class Group(click.Group):
    """Loads commands as they are needed; turns our errors into lines on stderr and their class's exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in _MODULES.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in _MODULES.items():
            if cmd_name in names:
                commands: Sequence[click.Command] = importlib.import_module(f"metasync.cli.{module}").COMMANDS
                return next(command for command in commands if command.name == cmd_name)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetasyncError as error:
            _tell(ctx, code_of(type(error)), str(error))
            ctx.exit(error.exit_code)
        except click.UsageError as error:
            if not _in_json(ctx):
                raise
            _tell(ctx, "usage-error", error.format_message())
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


def _in_json(ctx: click.Context) -> bool:
    return ctx.obj is not None and bool(ctx.obj.form == "json")


def _tell(ctx: click.Context, code: str, message: str) -> None:
    """An error, on stderr: a line for people each, or the document that the API answers with."""
    if _in_json(ctx):
        click.echo(
            json.dumps({"kind": "metasync.error/v1", "code": code, "error": message}, ensure_ascii=False), err=True
        )
        return
    for line in message.splitlines():
        click.echo(f"error: {line}", err=True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), default=Path("metasync.yaml"), envvar="METASYNC_CONFIG",
    show_default=True, help="The configuration file.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--server",
    metavar="URL",
    envvar="METASYNC_SERVER",
    help="Ask a running service instead of the store; its token is taken from METASYNC_TOKEN.",
)
@click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the service's token.")
@click.version_option(__version__)
@click.pass_context
def main(ctx: click.Context, path: Path, output: str, server: str | None, token_file: Path | None) -> None:
    """Keeps a Hive Metastore in step with the branches, tags and merges of lakeFS."""
    from metasync.cli.context import Context

    ctx.obj = Context(path, output, server, token_file)
