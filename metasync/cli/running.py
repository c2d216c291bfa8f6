"""serve, plan, apply, reconcile."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Container

import click

from metasync.cli.context import Context, output_option, pass_context


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
    with context.orders() as orders, context.progress() as watcher:
        results = orders.reconcile(repository, watcher=watcher, stop=stopping.is_set)
    sys.exit(context.report(results))


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
    with context.orders() as orders, context.progress() as watcher:
        results = orders.apply(plan_id, watcher)
    sys.exit(context.report(results))


COMMANDS = (serve_command, plan, show, reconcile, apply)
