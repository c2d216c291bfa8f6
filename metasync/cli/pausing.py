"""pause, resume, wait: requests of people and pipelines to a running service."""

from __future__ import annotations

import sys
import time
from getpass import getuser
from typing import TYPE_CHECKING

import click

from metasync.cli.context import Context, output_option, pass_context

if TYPE_CHECKING:
    from metasync.application.answers import Pause, Pauses, Readiness
    from metasync.application.interface import TakesRequests

_EVERY = 0.25
_PRINT_EVERY = 15.0
_EXIT_CODES = {"ready": 0, "refused": 4}


def seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """An option's duration, as people write it, in seconds."""
    from metasync.settings.durations import parse_duration

    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--rule", help="Only this rule; default: all.")
@click.option("--reason", required=True, help="The reason; shown wherever something is paused.")
@click.option("--for", "duration", callback=seconds, help="How long, for example 2h; default: until resumed.")
@output_option
@pass_context
def pause(context: Context, rule: str | None, reason: str, duration: float | None) -> None:
    """Stop writing to the metastore, for one rule or for all.

    Events are still accepted and changes still observed; `metasync resume` then applies everything that is pending.
    """
    with context.requests() as requests:
        found = requests.pause(rule, reason, person(), duration)
    if not _show(context, found):
        context.output.say(
            "what is in hand is finished; to go on: metasync resume" + (f" --rule {rule}" if rule else "")
        )


@click.command()
@click.option("--rule", help="Only the pause of this rule; default: every pause.")
@output_option
@pass_context
def resume(context: Context, rule: str | None) -> None:
    """End a pause and apply what is pending."""
    with context.requests() as requests:
        ended = requests.resume(rule)
    if not _show(context, ended) and not ended.items:
        context.output.say("nothing was paused")


@click.command()
@click.argument("repository")
@click.argument("ref")
@click.option("--timeout", callback=seconds, default="5m", show_default=True, help="How long to wait.")
@output_option
@pass_context
def wait(context: Context, repository: str, ref: str, timeout: float) -> None:
    """Wait until a running service has created the mirrors of a branch or tag and applied the merges into it.

    Exit code 0: they are ready. 4: a problem must be fixed first. 1: no such ref, a failure, or the time is over.
    """
    with context.requests() as requests:
        event = requests.queue_sync(repository, ref)
        if not requests.is_served():
            context.output.say("no service works on this store; start one: metasync serve")
        found = _wait(context, requests, repository, ref, event, timeout)
    if not context.output.answer(found):
        context.output.print(f"{found.ref}: {found.state}, {found.made} of {found.planned} mirrors")
        for reason in found.reasons:
            context.output.line("!", reason)
        for table in found.not_mirrored:
            context.output.line(" ", f"not mirrored: {table}")
    if not found.over:
        context.output.say(f"not ready after {timeout:.0f} s")
    sys.exit(_EXIT_CODES.get(found.state, 1))


def _wait(
    context: Context, requests: TakesRequests, repository: str, ref: str, event: int, timeout: float
) -> Readiness:
    start = printed = time.monotonic()
    while True:
        found = requests.readiness(repository, ref, event)
        now = time.monotonic()
        if found.over or now - start > timeout:
            return found
        if now - printed > _PRINT_EVERY:
            context.output.say(f"{found.state}: {found.made} of {found.planned} mirrors {'; '.join(found.reasons)}")
            printed = now
        time.sleep(_EVERY)  # the store does not signal its changes


def person() -> str:
    """Who types this, as far as the system knows: a container's user may have no name."""
    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _show(context: Context, pauses: Pauses) -> bool:
    """Prints pauses; whether as JSON."""
    if context.output.answer(pauses):
        return True
    if pauses.items:
        context.output.rows([_row(pause) for pause in pauses.items], empty="")
    return False


def _row(pause: Pause) -> dict[str, object]:
    rule = pause.rule or "(everything)"
    return {"rule": rule, "reason": pause.reason, "by": pause.by, "since": pause.since, "until": pause.until}


COMMANDS = (pause, resume, wait)
