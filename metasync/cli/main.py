"""`metasync`: the group, its options, and how errors become exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from metasync import __version__
from metasync.cli.output import Output
from metasync.errors import MetasyncError
from metasync.service import configure_logging
from metasync.settings import Settings, load_settings


class Context:
    """What every command gets: the configuration, read when it is first asked for, and where to print."""

    def __init__(self, path: Path, output: Output) -> None:
        self.path = path
        self.output = output
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings(self.path)
            configure_logging(self._settings)
        return self._settings


pass_context = click.make_pass_decorator(Context)


class Group(click.Group):
    """Turns our errors into one line on stderr and the exit code of section 8 of the design."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetasyncError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--output` after the command's name, too."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_object(Context).output.form = value  # type: ignore[union-attr]

    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), expose_value=False, callback=remember,
        help="How to print: for people, or JSON.",
    )(function)  # fmt: skip


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


def _register() -> None:
    from metasync.cli import books, configuration, operations, running, sandbox

    for module in (running, books, operations, configuration, sandbox):
        for command in module.COMMANDS:
            main.add_command(command)


_register()
