"""pause, resume, wait: what people and pipelines say to a running service, through its store."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from getpass import getuser

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import when
from metasync.engine.waiting import Readiness, Waiter
from metasync.errors import UsageError
from metasync.planning.pauses import Pause
from metasync.planning.rules import RuleSet
from metasync.settings.durations import parse_duration
from metasync.store.stores import open_stores

_EVERY = 0.25
_TELL_EVERY = 15.0
_EXIT_CODES = {"ready": 0, "refused": 4}


def seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """An option's duration, as people write it, in seconds."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--rule", help="Only this rule; default: all.")
@click.option("--reason", required=True, help="Why; shown wherever something waits for the pause.")
@click.option("--for", "duration", callback=seconds, help="How long, for example 2h; default: until resumed.")
@output_option
@pass_context
def pause(context: Context, rule: str | None, reason: str, duration: float | None) -> None:
    """Write nothing to the metastore for a rule, or for any, for a while.

    Events are still taken and what happens is still seen and noted: after `metasync resume` all is done that waited.
    """
    names = [one.name for one in context.settings.rules]
    if rule is not None and rule not in names:
        raise UsageError(f"there is no rule {rule!r}; the rules are: {', '.join(names)}")
    with open_stores(context.settings.store) as built:
        made = built.pauses.begin(rule, reason, person(), duration)
    _show(context, [made])
    if not context.output.is_json:
        context.output.say(
            "what is in hand is finished; to go on: metasync resume" + (f" --rule {rule}" if rule else "")
        )


@click.command()
@click.option("--rule", help="Only the pause of this rule; default: every pause.")
@output_option
@pass_context
def resume(context: Context, rule: str | None) -> None:
    """Go on with what was paused."""
    with open_stores(context.settings.store) as built:
        ended = built.pauses.end(rule)
        for repository in built.refs.names() if ended else ():
            built.queue.put_once(repository, "resume", {})
    _show(context, ended)
    if not ended:
        context.output.say("nothing was paused")


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.option("--timeout", callback=seconds, default="5m", show_default=True, help="How long to wait.")
@output_option
@pass_context
def wait(context: Context, repository: str, ref: str, timeout: float) -> None:
    """Wait until a running service has made the tables of a branch or tag, and done the merges into it.

    Exit 0: they are there. 4: somebody must mend something first. 1: no such ref, a failure, or the time was over.
    """
    with open_stores(context.settings.store) as stores:
        waiter = Waiter(RuleSet.of(context.settings), stores)
        event = waiter.ask(repository, ref)
        if not waiter.is_served():
            context.output.say("no service works on this store; start one: metasync serve")
        found = _wait(context, waiter, repository, ref, event, timeout)
    if context.output.is_json:
        context.output.json("wait", asdict(found))
    else:
        context.output.print(f"{found.ref}: {found.state}, {found.made} of {found.planned} mirrors")
        for reason in found.reasons:
            context.output.line("!", reason)
    if not found.over:
        context.output.say(f"not ready after {timeout:.0f} s")
    sys.exit(_EXIT_CODES.get(found.state, 1))


def _wait(context: Context, waiter: Waiter, repository: str, ref: str, event: int, timeout: float) -> Readiness:
    start = told = time.monotonic()
    while True:
        found = waiter.look(repository, ref, event)
        now = time.monotonic()
        if found.over or now - start > timeout:
            return found
        if now - told > _TELL_EVERY:
            context.output.say(f"{found.state}: {found.made} of {found.planned} mirrors {'; '.join(found.reasons)}")
            told = now
        time.sleep(_EVERY)  # the store does not tell when it changes


def person() -> str:
    """Who types this, as far as the system knows: a container's user may have no name."""
    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _show(context: Context, pauses: list[Pause] | tuple[Pause, ...]) -> None:
    rows = [
        {"rule": p.rule or "all", "reason": p.reason, "by": p.by, "since": when(p.since), "until": when(p.until)}
        for p in pauses
    ]
    context.output.rows("pauses", rows, empty="")


COMMANDS = (pause, resume, wait)
