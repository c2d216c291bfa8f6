"""Printing: tables for people, JSON for programs, one place for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metasync.planning.plan import (
    Applied,
    Change,
    CopyStatistics,
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    EndRef,
    FinishMerge,
    MergeTable,
    Plan,
)
from metasync.planning.words import describe_item, item_name

_STYLES = {"+": "green", "~": "yellow", "-": "red", "x": "bold red", "!": "magenta"}


class Output:
    """Prints data on stdout in the chosen form and all else on stderr."""

    def __init__(self, form: str = "table") -> None:
        self.form = form
        width = None if sys.stdout.isatty() else 160
        self._out = Console(highlight=False, soft_wrap=True, width=width)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_json(self) -> bool:
        return self.form == "json"

    def json(self, kind: str, value: Any) -> None:
        """One JSON document, its kind and version first."""
        body = value if isinstance(value, Mapping) else {"items": value}
        click.echo(json.dumps({"kind": f"metasync.{kind}/v1", **body}, indent=2, ensure_ascii=False, default=str))

    def rows(self, kind: str, rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        """Rows of the same keys, as a table or as JSON `items`."""
        if self.is_json:
            self.json(kind, list(rows))
            return
        if not rows:
            self.say(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for key in rows[0]:
            table.add_column(key.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(Text(str(value) if value is not None else "") for value in row.values()))
        self._out.print(table)

    def print(self, text: str, style: str = "") -> None:
        self._out.print(Text(text, style=style))

    def say(self, text: str) -> None:
        """A word to the person, on stderr."""
        self._err.print(Text(text))

    def plan(self, plan: Plan) -> None:
        """A plan line by line: `+ ~ -` what will be done, `x` conflicts, `!` what needs somebody."""
        for change in plan.changes:
            for sign, text in change_lines(change):
                self.line(sign, text)
        for notice in plan.refusals:
            self.line("!", f"{notice.subject}: {notice.message}" + (f"; {notice.help}" if notice.help else ""))
        for notice in plan.notices:
            sign = "!" if notice.help else " "
            self.line(sign, f"{notice.subject}: {notice.message}" + (f"; {notice.help}" if notice.help else ""))
        if plan.refusal:
            self.line("!", f"refused as a whole: {plan.refusal}")

    def line(self, sign: str, text: str) -> None:
        line = Text(f"{sign} ", style=_STYLES.get(sign, ""))
        line.append(text, style="")
        self._out.print(line)

    def outcome(self, outcome: Applied) -> None:
        """One change as it is made, on stderr."""
        if isinstance(outcome.change, EndRef | FinishMerge):
            return
        if outcome.state == "done":
            for sign, text in change_lines(outcome.change)[:1]:
                self._err.print(Text(f"{sign} {text}", style=_STYLES.get(sign, "")))
        else:
            subject = getattr(outcome.change, "physical", getattr(outcome.change, "name", ""))
            self._err.print(Text(f"! {subject}: {outcome.state}: {outcome.message}", style="magenta"))


def change_lines(change: Change) -> list[tuple[str, str]]:
    """A change as lines of a sign and a text."""
    match change:
        case CreateMirror():
            note = " (finishing)" if change.resumed else ""
            note += " (as the table is now: the ref's commit is older than what is known)" if change.as_of else ""
            return [
                ("+", f"mirror {change.physical} of {change.logical} for {change.ref}: {change.columns} columns, "
                      f"{change.partitions} partitions{note}")
            ]  # fmt: skip
        case DropTable():
            kind = "mirror" if change.ours else "table"
            return [("-", f"{kind} {change.physical}: {change.ref} is gone")]
        case DropDatabase():
            return [("-", f"database {change.name}, if it is empty")]
        case CopyStatistics():
            return [(" ", f"{change.physical}: the column statistics, if any, of {change.source}, whose data it has")]
        case DiscoverPartitions():
            made = sum(p.after is not None for p in change.partitions)
            counts = f"+{made} -{len(change.partitions) - made} partitions"
            return [
                ("~", f"{change.physical}: {counts}, as directories were filled or emptied by {change.commit[:12]}")
            ]
        case MergeTable():
            return _merge_lines(change)
        case EndRef() | FinishMerge():
            return []


def _merge_lines(change: MergeTable) -> list[tuple[str, str]]:
    way = f"{change.source} -> {change.destination}"
    if change.conflicts:
        return [("x", f"{change.physical}: {len(change.conflicts)} conflicts, nothing is changed ({way})")] + [
            ("x", f"    {item_name(c.path)}: {c.reason}: base {_short(c.base)}, ours {_short(c.ours)}, "
                  f"theirs {_short(c.theirs)}")
            for c in change.conflicts[:20]
        ]  # fmt: skip
    lines: list[tuple[str, str]] = []
    if change.writes:
        sign = "+" if change.before is None else "-" if change.after is None else "~"
        lines.append((sign, f"{change.physical}: {_deed(change)} ({way})"))
        lines += [(" ", f"    {describe_item(item)}") for item in change.items[:20]]
        lines += [(" ", f"    probably a rename: {old} -> {new}") for old, new in change.renames]
        if len(change.items) > 20:
            lines.append((" ", f"    and {len(change.items) - 20} more"))
    if change.books_only and change.items:
        lines.append((" ", f"{change.physical}: will be made with {len(change.items)} changes merged ({way})"))
    if change.withheld:
        lines.append(("!", f"{change.physical}: waits for `metasync apply`, as it is destructive ({way})"))
        lines += [("!", f"    {describe_item(item)}") for item in change.withheld[:20]]
    return lines


def _deed(change: MergeTable) -> str:
    commit = change.merge_commit[:12]
    return f"undo of merge {commit}" if change.undoes else f"merge {commit}" if commit else "merge"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 60 else text[:57] + "..."


def when(at: float | None) -> str:
    """Unix seconds as UTC, for people and programs."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else ""


def summary(counts: Mapping[str, int]) -> str:
    """`2 to create, 1 to alter, ...`, only what there is."""
    words = {
        "create": "to create",
        "alter": "to alter",
        "drop": "to drop",
        "withheld": "waiting for apply",
        "conflict": "in conflict",
        "refused": "refused",
    }
    found = [f"{number} {words[key]}" for key, number in counts.items() if number]
    return ", ".join(found) or "nothing to do"
