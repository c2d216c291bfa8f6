"""Printing: tables and lines for people, JSON for programs, one place for both.

Data goes to stdout. What is meant for a person goes to stderr, and hints only where a person sits at a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metasync.application.answers import Answer
from metasync.application.plan_text import Line, change_lines, plan_lines, summary
from metasync.cli.when import when
from metasync.planning.changes import Bookkeeping, subject_of
from metasync.planning.plan import Applied, Plan

_STYLES = {"+": "green", "~": "yellow", "-": "red", "x": "bold red", "!": "magenta"}


class Output:
    """Prints data on stdout in the chosen form and all else on stderr. Colours by the terminal, and NO_COLOR."""

    def __init__(self, form: str = "table") -> None:
        self.form = form
        width = None if sys.stdout.isatty() else 160
        self._out = Console(highlight=False, soft_wrap=True, width=width)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._person = sys.stderr.isatty()

    @property
    def is_json(self) -> bool:
        return self.form == "json"

    def answer(self, answer: Answer) -> bool:
        """Prints an answer as JSON if that is the form; whether it was."""
        if self.is_json:
            click.echo(answer.model_dump_json(indent=2))
        return self.is_json

    def json(self, kind: str, value: Any) -> None:
        """One JSON document that is no answer of the application, its kind and version first."""
        body = value if isinstance(value, Mapping) else {"items": value}
        click.echo(json.dumps({"kind": f"metasync.{kind}/v1", **body}, indent=2, ensure_ascii=False, default=str))

    def rows(self, rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        """Rows of the same keys, as a table."""
        if not rows:
            if empty:
                self.say(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for key in rows[0]:
            table.add_column(key.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row.values()))
        self._out.print(table)

    def print(self, text: str, style: str = "") -> None:
        self._out.print(Text(text, style=style))

    def say(self, text: str) -> None:
        """A word to the person, on stderr."""
        self._err.print(Text(text))

    def confirm(self, question: str) -> bool:
        """Whether the person at the terminal says yes; False where nobody sits at one."""
        return self.asks and click.confirm(question, default=False, err=True)

    @property
    def asks(self) -> bool:
        """Whether somebody sits at a terminal who can be asked."""
        return sys.stdin.isatty() and self._person

    def hint(self, text: str) -> None:
        """What to type next; only where a person sits at a terminal."""
        if self._person:
            self._err.print(Text(text, style="dim"))

    def plan(self, plan: Plan) -> None:
        """A plan in its groups, counts last."""
        for line in plan_lines(plan):
            self._line(line)
        self._out.print(Text(f"{plan.repository}: {summary(plan.counts())}", style="bold"))

    def line(self, sign: str, text: str) -> None:
        line = Text(f"{sign} ", style=_STYLES.get(sign, ""))
        line.append(text, style="")
        self._out.print(line)

    def _line(self, line: Line) -> None:
        if line.depth == 0:
            self._out.print(Text(line.text, style="bold"))
            return
        text = Text("  " if line.depth == 1 else "      ")
        text.append(f"{line.sign} ", style=_STYLES.get(line.sign, ""))
        self._out.print(text.append(line.text, style="" if line.depth == 1 else "dim"))

    def outcome(self, outcome: Applied) -> None:
        """One change as it is made, on stderr."""
        if isinstance(outcome.change, Bookkeeping):
            return
        if outcome.state == "done":
            for line in list(change_lines(outcome.change))[:1]:
                self._err.print(Text(f"{line.sign} {line.text}", style=_STYLES.get(line.sign, "")))
        else:
            subject = subject_of(outcome.change)
            self._err.print(Text(f"! {subject}: {outcome.state}: {outcome.message}", style="magenta"))


def _cell(value: Any) -> str:
    return "" if value is None else when(value) if isinstance(value, datetime) else str(value)
