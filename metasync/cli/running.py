"""serve, plan, apply, reconcile."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import summary
from metasync.engine.controller import Result
from metasync.engine.scheduler import repositories
from metasync.engine.scope import Scope
from metasync.planning.plan import Applied, plan_to_json
from metasync.service import Parts, parts
from metasync.serving import serve

_EVERY = 15.0


@click.command("serve")
@pass_context
def serve_command(context: Context) -> None:
    """Run the service: webhook, poller, schedule, metrics. SIGTERM finishes the change in hand."""
    sys.exit(serve(context.settings))


@click.command()
@click.argument("repository", required=False)
@click.option("--check", is_flag=True, help="Exit with 3 where changes are pending.")
@output_option
@pass_context
def plan(context: Context, repository: str | None, check: bool) -> None:
    """Show what a reconcile would do. Nothing is written to the metastore."""
    with parts(context.settings) as built:
        results = [built.controller.plan(Scope(name, full=True)) for name in _named(built, repository)]
    plans = [p for result in results for p in result.plans]
    if context.output.is_json:
        context.output.json("plans", [plan_to_json(p) for p in plans])
    else:
        for one in plans:
            context.output.plan(one)
            context.output.print(f"{one.repository}: {summary(one.counts())}")
            if one.more:
                context.output.say("more follows once this is done")
            if one.pending:
                context.output.say(f"to do it: metasync reconcile {one.repository}")
    if any(p.refusal for p in plans):
        sys.exit(5)
    if check and any(p.pending for p in plans):
        sys.exit(3)


@click.command()
@click.argument("repository", required=False)
@output_option
@pass_context
def reconcile(context: Context, repository: str | None) -> None:
    """Bring every mirror and merge up to date now, and exit."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with parts(context.settings) as built:
        results = []
        for name in _named(built, repository):
            with _Progress(context) as progress:
                scope = Scope(name, full=True)
                results.append(built.controller.sync(scope, stop=stopping.is_set, told=progress))
                while results[-1].more and not stopping.is_set():
                    results.append(built.controller.sync(Scope(name), stop=stopping.is_set, told=progress))
    sys.exit(report(context, results))


@click.command()
@click.argument("plan_id", metavar="PLAN", type=int)
@output_option
@pass_context
def apply(context: Context, plan_id: int) -> None:
    """Execute a stored plan exactly as it was shown, or refuse because the state moved."""
    with parts(context.settings) as built, _Progress(context) as progress:
        result = built.resolver.apply_plan(plan_id, progress)
    sys.exit(report(context, [result]))


def report(context: Context, results: Sequence[Result]) -> int:
    """Prints what was done; gives the exit code."""
    output = context.output
    if output.is_json:
        output.json("results", [_as_json(result) for result in results])
    else:
        for result in results:
            for plan in result.plans:
                for notice in (*plan.refusals, *(n for n in plan.notices if n.help)):
                    output.line("!", f"{notice.subject}: {notice.message}; {notice.help}")
            done = sum(o.state == "done" for o in result.outcomes if o.change.kind not in ("end-ref", "finish-merge"))
            output.print(
                f"{result.repository}: {done} done, {result.conflicts} in conflict, {len(result.failures)} failed"
            )
            for failure in result.failures:
                output.line("!", failure.message)
            if result.refused:
                purpose = f"; on purpose: metasync apply {result.plan_id}" if result.plan_id else ""
                output.line("!", f"refused: {result.refused}{purpose}")
            if result.conflicts:
                output.say("see: metasync conflicts")
    if any(result.refused for result in results):
        return 5
    failed = [o for result in results for o in result.failures]
    if failed:
        partly = any(o.state == "done" for result in results for o in result.outcomes)
        return 4 if partly else 1
    return 4 if any(result.conflicts for result in results) else 0


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "repository": result.repository,
        "refused": result.refused,
        "plan_id": result.plan_id,
        "plans": [plan_to_json(p) for p in result.plans],
        "outcomes": [
            {
                "change": o.change.kind,
                "subject": str(getattr(o.change, "physical", getattr(o.change, "name", getattr(o.change, "ref", "")))),
                "state": o.state,
                "message": o.message,
            }
            for o in result.outcomes
        ],
    }


def _named(built: Parts, repository: str | None) -> list[str]:
    return [repository] if repository else repositories(built.rules, built.lakefs)


class _Progress:
    """A bar on a terminal, a line every 15 seconds elsewhere; both on stderr."""

    def __init__(self, context: Context) -> None:
        self._output = context.output
        self._terminal = sys.stderr.isatty()
        self._done = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not self._terminal)

    def __enter__(self) -> _Progress:
        self._bar.start()
        self._task = self._bar.add_task("changes", total=None)
        if not self._terminal:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._bar.stop()
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, outcome: Applied) -> None:
        self._done += 1
        self._bar.advance(self._task)
        self._output.outcome(outcome)

    def _tell(self) -> None:
        while not self._over.wait(_EVERY):
            self._output.say(f"{self._done} changes so far")


COMMANDS = (serve_command, plan, reconcile, apply)
