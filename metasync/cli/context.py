"""What every command gets: the configuration or a running service, and where to print.

Modules of commands are read whenever somebody asks for help or types TAB: what runs a command is imported when it runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metasync.errors import UsageError

if TYPE_CHECKING:
    from metasync.application.answers import Explanation, Results
    from metasync.application.interface import AnswersQueries, CarriesOutOrders, TakesRequests
    from metasync.application.remote import RemoteApplication
    from metasync.cli.output import Output
    from metasync.cli.progress import ProgressPrinter
    from metasync.settings import Settings


class Context:
    """The configuration is read when it is first asked for: some commands need none."""

    def __init__(self, path: Path, form: str, server: str | None = None, token_file: Path | None = None) -> None:
        self.path = path
        self.form = form
        self._server = server
        self._token_file = token_file
        self._settings: Settings | None = None

    @cached_property
    def output(self) -> Output:
        """Where and how to print; nothing is printed before."""
        from metasync.cli.logs import configure_logging
        from metasync.cli.output import Output

        configure_logging(None)
        return Output(self.form)

    def progress(self) -> ProgressPrinter:
        """Prints the changes of an order as they are made."""
        from metasync.cli.progress import ProgressPrinter

        return ProgressPrinter(self.output)

    def report(self, results: Results, *, conflicts_are_stored: bool = True) -> int:
        """Prints what was done; gives the exit code."""
        from metasync.cli.progress import report

        return report(self.output, results, conflicts_are_stored=conflicts_are_stored)

    @property
    def settings(self) -> Settings:
        """Raises UsageError for a command that works here and cannot be sent to a service."""
        if self._server is not None:
            raise UsageError("this command works where the service runs, not over --server: run it there")
        if self._settings is None:
            from metasync.cli.logs import configure_logging
            from metasync.settings import load_settings

            configure_logging(None)
            self._settings = load_settings(self.path)
            configure_logging(self._settings)
        return self._settings

    @contextmanager
    def queries(self) -> Iterator[AnswersQueries]:
        """Questions, to the store or to the service."""
        if self._server is not None:
            with self._remote(self._server) as remote:
                yield remote
            return
        from metasync.application.queries import Queries
        from metasync.store.stores import open_stores

        with open_stores(self.settings.store) as stores:
            yield Queries(self.settings, stores)

    def explain(self, repository: str, ref: str, table: str) -> Explanation:
        """What the rules of the configuration, or of the service, say, and the store of the table; the rules alone
        where there is no store yet."""
        if self._server is None:
            from metasync.application.explain import explain
            from metasync.store.database import is_there

            if not is_there(self.settings.store.url):
                return explain(self.settings, repository, ref, table)
        with self.queries() as queries:
            return queries.explain(repository, ref, table)

    @contextmanager
    def requests(self) -> Iterator[TakesRequests]:
        """What services are asked to do, through the store or one of them."""
        if self._server is not None:
            with self._remote(self._server) as remote:
                yield remote
            return
        from metasync.application.requests import Requests
        from metasync.store.stores import open_stores

        with open_stores(self.settings.store) as stores:
            yield Requests(self.settings, stores)

    @contextmanager
    def orders(self) -> Iterator[CarriesOutOrders]:
        """Orders, carried out here or by the service."""
        if self._server is not None:
            with self._remote(self._server) as remote:
                yield remote
            return
        from metasync.wiring import parts

        with parts(self.settings) as built:
            yield built.orders

    @contextmanager
    def _remote(self, server: str) -> Iterator[RemoteApplication]:
        from metasync.application.remote import RemoteApplication

        remote = RemoteApplication(server, self._token())
        try:
            yield remote
        finally:
            remote.close()

    def _token(self) -> str | None:
        if self._token_file is None:
            return os.environ.get("METASYNC_TOKEN")
        try:
            return self._token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"{self._token_file}: the token cannot be read ({error.strerror})") from error


pass_context = click.make_pass_decorator(Context)


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--output` after the command's name, too."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        context = ctx.find_object(Context)
        if value is not None and context is not None:
            context.form = value

    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), expose_value=False, callback=remember,
        help="How to print: for people, or JSON.",
    )(function)  # fmt: skip
