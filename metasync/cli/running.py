"""serve, plan, apply, reconcile."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Container

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metasync.application.answers import Result, Results
from metasync.application.plan_text import notice_text
from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import Output
from metasync.planning.changes import BOOKKEEPING
from metasync.planning.plan import Applied, Plan

_EVERY = 15.0


@click.command("serve")
@pass_context
def serve_command(context: Context) -> None:
    """Run the service: webhook, poller, schedule, status page, metrics. SIGTERM finishes the change in hand."""
    from metasync.daemon import serve

    sys.exit(serve(context.settings))


@click.command()
@click.argument("repository", required=False)
@click.option("--check", is_flag=True, help="Exit with 3 where changes are pending.")
@output_option
@pass_context
def plan(context: Context, repository: str | None, check: bool) -> None:
    """Show what a reconcile would change. It writes nothing to the metastore."""
    with context.orders() as orders:
        found = orders.plan(repository)
    if not context.output.answer(found):
        for one in found.items:
            context.output.plan(one)
            if one.more:
                context.output.say("more follows once this is done")
            if one.pending:
                context.output.hint(f"to do it: metasync reconcile {one.repository}")
        _waiting(context, {one.repository for one in found.items})
    if any(p.refusal for p in found.items):
        sys.exit(5)
    if check and any(p.pending for p in found.items):
        sys.exit(3)


def _waiting(context: Context, repositories: Container[str]) -> None:
    """Lists what a reconcile would not do by itself: plans and conflicts that wait for a person."""
    with context.queries() as queries:
        plans = [one for one in queries.plans().items if one.repository in repositories]
        conflicts = [one for one in queries.conflicts().items if one.repository in repositories]
    for one in plans:
        context.output.line("!", f"plan {one.id} waits: {one.subject}: {one.reason}; see: metasync show {one.id}")
    tables = Counter(f"{one.repository} {one.table}" for one in conflicts)
    for table, number in tables.items():
        context.output.line("x", f"{table}: {number} in conflict; see: metasync conflicts")


@click.command()
@click.argument("plan_id", metavar="PLAN", type=int)
@output_option
@pass_context
def show(context: Context, plan_id: int) -> None:
    """Print a stored plan: what `metasync apply` would do."""
    with context.queries() as queries:
        found = queries.stored_plan(plan_id)
    if context.output.answer(found):
        return
    context.output.print(f"plan {found.about.id}, {found.about.state}: {found.about.reason}")
    context.output.plan(found.plan)
    if found.about.state == "waiting":
        context.output.hint(f"to do it: metasync apply {plan_id}")


@click.command()
@click.argument("repository", required=False)
@output_option
@pass_context
def reconcile(context: Context, repository: str | None) -> None:
    """Bring every mirror and merge up to date now, and exit."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with context.orders() as orders, ProgressPrinter(context) as watcher:
        results = orders.reconcile(repository, watcher=watcher, stop=stopping.is_set)
    sys.exit(report(context, results))


@click.command()
@click.argument("plan_id", metavar="PLAN", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_context
def apply(context: Context, plan_id: int, yes: bool) -> None:
    """Apply a stored plan exactly as it was shown; it is refused where the state has changed since.

    It prints the plan and asks on a terminal, as a stored plan drops, narrows or repoints something. Drops that the
    safety limits held back are refused where a table of their refs was added, removed or recreated since.
    """
    if not context.output.is_json:
        with context.queries() as queries:
            found = queries.stored_plan(plan_id)
        if found.about.state != "applied":
            context.output.plan(found.plan)
            if not yes and context.output.asks and not context.output.confirm("Apply this?"):
                context.output.say("nothing is changed")
                return
    with context.orders() as orders, ProgressPrinter(context) as watcher:
        results = orders.apply(plan_id, watcher)
    sys.exit(report(context, results))


def report(context: Context, results: Results, *, conflicts_are_stored: bool = True) -> int:
    """Prints what was done; gives the exit code."""
    if not context.output.answer(results):
        for result in results.items:
            _print_result(context.output, result, conflicts_are_stored=conflicts_are_stored)
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

    def __init__(self, context: Context) -> None:
        self._output = context.output
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


COMMANDS = (serve_command, plan, show, reconcile, apply)
