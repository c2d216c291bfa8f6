"""status, refs, conflicts, history, events, search: questions that the store answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.when import when
from metasync.errors import UsageError

if TYPE_CHECKING:
    from metasync.application.answers import Attention, Status


@click.command()
@output_option
@pass_context
def status(context: Context) -> None:
    """Show what is pending, what needs attention, and how many refs are mirrored."""
    with context.queries() as queries:
        found = queries.status()
    if context.output.answer(found):
        return
    _numbers(context, found)
    for pause in found.paused:
        until = f" until {when(pause.until)}" if pause.until else ""
        context.output.line(
            "!", f"paused{until}: {pause.rule or 'everything'}, by {pause.by}: {pause.reason}; metasync resume"
        )
    for work in found.working:
        context.output.line(" ", f"{work.who} {work.what}")
    for item in found.attention:
        context.output.line("x" if item.kind == "conflict" else "!", _attention(item))
    for note in found.notes:
        context.output.line(" ", _attention(note))
    if not found.attention:
        context.output.say("nothing needs attention")


def _numbers(context: Context, found: Status) -> None:
    last = found.last
    lines = {
        "mode": found.mode,
        "refs": f"{found.refs}, with {found.mirrors} mirrors",
        "queue": f"{found.queued_events} events, the oldest {found.oldest_event_seconds:.0f} s old"
        if found.queued_events
        else "empty",
        "last webhook": when(last.webhook) or "never",
        "last poll": when(last.poll) or "never",
        "last full sync": when(last.full) or "never",
        "needs attention": len(found.attention),
    }
    for system in found.systems:
        state = "not asked yet" if system.ok is None else "answers" if system.ok else f"fails: {system.message}"
        lines[system.name] = f"{state} {when(system.at)}".rstrip()
    for name, value in lines.items():
        context.output.print(f"{name:16} {value}")


def _attention(item: Attention) -> str:
    hint = f"; {item.help}" if item.help else ""
    return f"{item.repository} {item.subject}: {item.message}{hint} (since {when(item.since)})".lstrip()


@click.command()
@click.argument("repository", required=False)
@output_option
@pass_context
def refs(context: Context, repository: str | None) -> None:
    """List the refs that metasync knows, what each was created from, and how many mirrors it has."""
    with context.queries() as queries:
        found = queries.refs(repository)
    if context.output.answer(found):
        return
    rows = [
        {
            "repository": ref.repository,
            "ref": ref.ref,
            "state": f"{ref.state} ({ref.incarnation})" if ref.incarnation > 1 else ref.state,
            "from": ref.source,
            "head": ref.head,
            "mirrors": f"{ref.mirrors_made}/{ref.mirrors_planned}",
            "not_mirrored": ref.not_mirrored or "",
            "first_seen": ref.first_seen,
            "waits": f"{ref.reason} ({ref.lag_seconds:.0f} s)" if ref.lag_seconds is not None else "",
        }
        for ref in found.items
    ]
    context.output.rows(rows, empty="no refs yet; run: metasync reconcile")


@click.command()
@click.argument("repository", required=False)
@click.option("--table", help="Only this logical database.table.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@output_option
@pass_context
def history(context: Context, repository: str | None, table: str | None, limit: int) -> None:
    """List the changes that metasync made, the newest first; with --table, every change of that table on any ref."""
    if table and not repository:
        raise UsageError("say the REPOSITORY too: metasync history REPOSITORY --table DATABASE.TABLE")
    if table and repository:
        _log(context, repository, table, limit)
        return
    with context.queries() as queries:
        found = queries.history(repository, None, limit)
    if context.output.answer(found):
        return
    rows = [
        {
            "at": entry.at, "repository": entry.repository, "ref": entry.ref, "table": entry.table,
            "action": entry.action, "detail": entry.detail, "cause": entry.cause,
        }
        for entry in found.items
    ]  # fmt: skip
    context.output.rows(rows, empty="no changes yet")


def _log(context: Context, repository: str, table: str, limit: int) -> None:
    with context.queries() as queries:
        found = queries.log(repository, table, limit)
    if not context.output.answer(found):
        context.output.rows([line.model_dump() for line in found.items], empty=f"{table} has no versions")


@click.command()
@click.option("--all", "every", is_flag=True, help="Resolved and superseded ones too.")
@output_option
@pass_context
def conflicts(context: Context, every: bool) -> None:
    """List the conflicts: items that both sides of a merge changed."""
    from metasync.application.plan_text import value_text

    with context.queries() as queries:
        found = queries.conflicts(every)
    if context.output.answer(found):
        return
    rows = [
        {
            "id": c.id, "table": c.table, "merge": c.merge, "item": c.item, "reason": c.reason,
            "base": value_text(c.base), "ours": value_text(c.ours), "theirs": value_text(c.theirs), "chosen": c.chosen,
        }
        | ({"state": c.state} if every else {})
        for c in found.items
    ]  # fmt: skip
    context.output.rows(rows, empty="no conflicts")
    for reason, meaning in sorted({(c.reason, c.meaning) for c in found.items}):
        context.output.say(f"{reason}: {meaning}")
    if rows:
        context.output.say("to resolve a table: metasync resolve ID --ours | --theirs [--item ITEM ...]")


@click.command()
@click.argument("query")
@output_option
@pass_context
def search(context: Context, query: str) -> None:
    """Find tables by logical or physical name, refs, and merges by the beginning of their commit."""
    with context.queries() as queries:
        found = queries.search(query)
    if not context.output.answer(found):
        rows = [
            {"what": one.what, "name": one.name, "repository": one.repository, "detail": one.detail}
            for one in found.items
        ]
        context.output.rows(rows, empty=f"nothing matches {query!r}")


@click.group()
def events() -> None:
    """The queue of events."""


@events.command("list")
@click.option("--state", type=click.Choice(["queued", "claimed", "done", "dead", "discarded"]), multiple=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@output_option
@pass_context
def events_list(context: Context, state: tuple[str, ...], limit: int) -> None:
    """List events, the newest first."""
    with context.queries() as queries:
        found = queries.events(state, limit)
    if not context.output.answer(found):
        context.output.rows([event.model_dump() for event in found.items], empty="no events")


@events.command("replay")
@click.argument("event_id", metavar="EVENT", type=int, required=False)
@click.option("--dead", is_flag=True, help="Every dead event.")
@pass_context
def events_replay(context: Context, event_id: int | None, dead: bool) -> None:
    """Queue a dead or done event again, or every dead one."""
    if (event_id is None) is not dead:
        raise UsageError("say which EVENT, or --dead for all dead ones")
    with context.requests() as requests:
        if event_id is None:
            context.output.say(
                f"{requests.replay_dead().number} events are queued again; a running service processes them"
            )
            return
        requests.replay(event_id)
    context.output.say(f"event {event_id} is queued again; a running service processes it")


@events.command("discard")
@click.argument("event_id", metavar="EVENT", type=int)
@pass_context
def events_discard(context: Context, event_id: int) -> None:
    """Discard a dead event: it needs no attention any more."""
    with context.requests() as requests:
        requests.discard(event_id)


COMMANDS = (status, refs, conflicts, history, search, events)
