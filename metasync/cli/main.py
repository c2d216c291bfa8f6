"""`metasync`: the group, its options, and how errors become exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metasync import __version__
from metasync.cli import books, configuration, merging, operations, pausing, running, sandbox
from metasync.cli.context import Context
from metasync.cli.output import Output
from metasync.errors import MetasyncError
from metasync.service import configure_logging


class Group(click.Group):
    """Turns our errors into lines on stderr and the exit code that their class has."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetasyncError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), default=Path("metasync.yaml"), envvar="METASYNC_CONFIG",
    show_default=True, help="The configuration file.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.version_option(__version__)
@click.pass_context
def main(ctx: click.Context, path: Path, output: str) -> None:
    """Keeps a Hive Metastore in step with the branches, tags and merges of lakeFS."""
    configure_logging(None)
    ctx.obj = Context(path, Output(output))


for module in (running, pausing, merging, books, operations, configuration, sandbox):
    for command in module.COMMANDS:
        main.add_command(command)
