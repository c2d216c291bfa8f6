"""What every command gets: the configuration, and where to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from metasync.cli.logs import configure_logging
from metasync.cli.output import Output
from metasync.settings import Settings, load_settings


class Context:
    """The configuration is read when it is first asked for: some commands need none."""

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


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--output` after the command's name, too."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        context = ctx.find_object(Context)
        if value is not None and context is not None:
            context.output.form = value

    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), expose_value=False, callback=remember,
        help="How to print: for people, or JSON.",
    )(function)  # fmt: skip
