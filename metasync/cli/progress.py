"""What an order is doing while it lasts, and what it did."""

from __future__ import annotations

import sys
import threading

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metasync.application.answers import Result, Results
from metasync.application.plan_text import notice_text
from metasync.cli.output import Output
from metasync.planning.changes import BOOKKEEPING
from metasync.planning.plan import Applied, Plan

_EVERY = 15.0


def report(output: Output, results: Results, *, conflicts_are_stored: bool = True) -> int:
    """Prints what was done; gives the exit code."""
    if not output.answer(results):
        for result in results.items:
            _print_result(output, result, conflicts_are_stored=conflicts_are_stored)
    return exit_code(results)


def exit_code(results: Results) -> int:
    """0: all is done; 1: nothing is done, as something failed; 4: done in part, or with conflicts; 5: refused."""
    outcomes = [o for result in results.items for o in result.outcomes]
    if any(result.refused for result in results.items):
        return 5
    if any(o.state in ("failed", "waiting") for o in outcomes):
        # That a creation, a merge or a deletion is finished is no part of what was asked for.
        return 4 if any(o.state == "done" and o.change not in BOOKKEEPING for o in outcomes) else 1
    return 4 if any(o.state == "conflict" for o in outcomes) else 0


def _print_result(output: Output, result: Result, *, conflicts_are_stored: bool) -> None:
    for plan in result.plans:
        for notice in (*plan.refusals, *(n for n in plan.notices if n.help)):
            output.line("!", notice_text(notice))
    done = sum(o.state == "done" and o.change not in BOOKKEEPING for o in result.outcomes)
    failed = [o for o in result.outcomes if o.state in ("failed", "waiting")]
    conflicts = [o for o in result.outcomes if o.state == "conflict"]
    for sign, outcome in (*(("!", o) for o in failed), *(("x", o) for o in conflicts)):
        output.line(sign, f"{outcome.subject}: {outcome.message}")
    if result.plan_id:
        output.line("!", f"held back: {result.refused}; to do it: metasync apply {result.plan_id}")
    elif result.refused:
        output.line("!", f"refused: {result.refused}")
    output.print(f"{result.repository}: {done} done, {len(conflicts)} in conflict, {len(failed)} failed", "bold")
    if conflicts and conflicts_are_stored:
        output.say("see: metasync conflicts")


class ProgressPrinter:
    """Changes as they are made, on stderr: with a bar on a terminal, with a line every 15 seconds elsewhere."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._terminal = sys.stderr.isatty()
        self._done = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not self._terminal)

    def __enter__(self) -> ProgressPrinter:
        self._bar.start()
        self._task = self._bar.add_task("reading", total=None)
        if not self._terminal:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._bar.stop()
        if self._thread.is_alive():
            self._thread.join()

    def planned(self, plan: Plan) -> None:
        """So many changes are going to be made."""
        self._bar.update(self._task, description=plan.repository, total=self._done + len(plan.changes))

    def __call__(self, outcome: Applied) -> None:
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        self._output.outcome(outcome)

    def _tell(self) -> None:
        while not self._over.wait(_EVERY):
            total = self._bar.tasks[0].total
            self._output.say(f"{self._done} changes made" + (f" of {total:.0f}" if total else ", still reading"))
