"""status, refs, conflicts, history, events: what the books say."""

from __future__ import annotations

import json
from typing import Any

import click

from metasync.cli.context import Context, output_option, pass_context
from metasync.cli.output import when
from metasync.errors import UsageError
from metasync.model.hms import TableName
from metasync.planning.conflicts import REASONS
from metasync.planning.words import describe, item_name
from metasync.store.stores import open_stores


@click.command()
@output_option
@pass_context
def status(context: Context) -> None:
    """What waits, what needs somebody, and how many refs are mirrored."""
    with open_stores(context.settings.store) as built:
        depth, age = built.queue.depth()
        open_conflicts, _ = built.decisions.counts()
        dead = built.queue.list(["dead"])
        plans = built.decisions.waiting_plans()
        refs = built.refs.every()
        value: dict[str, Any] = {
            "mode": context.settings.mode,
            "refs": len(refs),
            "mirrors": sum(pin.made for _, row in refs for pin in built.refs.pinned(row.id)),
            "queued_events": depth,
            "oldest_event_seconds": round(age, 1),
            "dead_events": len(dead),
            "open_conflicts": open_conflicts,
            "merges_with_unknown_source": built.ledger.count_unknown(),
            "paused": [
                {"rule": p.rule or "all", "reason": p.reason, "by": p.by, "until": when(p.until)}
                for p in built.pauses.in_force()
            ],
            "working": [{"on": row.name, "who": row.holder} for row in built.leases.rows()],
            "notices": [
                {
                    "repository": row.repository,
                    "kind": row.notice.kind,
                    "subject": row.notice.subject,
                    "message": row.notice.message,
                    "help": row.notice.help,
                    "since": when(row.since),
                }
                for row in built.notices.standing()
            ],
            "waiting_plans": [
                {"id": p.id, "made": when(p.made_at), "subject": p.subject, "reason": p.reason} for p in plans
            ],
        }
    if context.output.is_json:
        context.output.json("status", value)
        return
    for key, item in value.items():
        if not isinstance(item, list):
            context.output.print(f"{key.replace('_', ' '):28} {item}")
    for p in value["paused"]:
        until = f" until {p['until']}" if p["until"] else ""
        context.output.line("!", f"paused{until}: {p['rule']}, by {p['by']}: {p['reason']}; metasync resume")
    for row in value["working"]:
        context.output.line(" ", f"{row['who']} has {row['on']}")
    for n in value["notices"]:
        hint = f"; {n['help']}" if n["help"] else ""
        context.output.line("!", f"{n['repository']} {n['subject']}: {n['message']}{hint} (since {n['since']})")
    for p in plans:
        context.output.line("!", f"plan {p.id} waits: {p.subject}: {p.reason}; metasync apply {p.id}")
    if dead:
        context.output.line("!", "dead events: metasync events list --state dead")
    if open_conflicts:
        context.output.line("!", "conflicts: metasync conflicts")


@click.command()
@click.argument("repository", required=False)
@output_option
@pass_context
def refs(context: Context, repository: str | None) -> None:
    """The refs that metasync knows, with where they came from and how many mirrors they have."""
    with open_stores(context.settings.store) as built:
        rows = []
        for name, row in built.refs.every(repository):
            pins = built.refs.pinned(row.id)
            rows.append(
                {
                    "repository": name,
                    "ref": str(row.ref),
                    "incarnation": row.incarnation,
                    "life": "ending" if row.missed_since else row.life,
                    "from": row.source,
                    "head": row.head[:12],
                    "mirrors": f"{sum(p.made for p in pins)}/{len(pins)}",
                    "first_seen": when(row.first_seen),
                }
            )
    context.output.rows("refs", rows, empty="no refs are known yet; run: metasync reconcile")


@click.command()
@click.argument("repository", required=False)
@click.option("--table", help="Only this logical database.table.")
@click.option("--limit", default=50, show_default=True)
@output_option
@pass_context
def history(context: Context, repository: str | None, table: str | None, limit: int) -> None:
    """What was done, the newest first; with --table, that table's log on every ref: who changed what, from where."""
    if table and not repository:
        raise UsageError("say the REPOSITORY too: metasync history REPOSITORY --table DATABASE.TABLE")
    if table and repository:
        context.output.rows("log", _log(context, repository, table, limit), empty=f"{table} was never seen")
        return
    with open_stores(context.settings.store) as built:
        found = built.history.rows(repository, None, limit)
    rows = [
        {
            "at": when(h.at),
            "repository": h.repository,
            "ref": h.ref,
            "table": h.physical,
            "action": h.action,
            "detail": h.detail,
            "cause": h.cause,
        }
        for h in found
    ]
    context.output.rows("history", rows, empty="nothing was done yet")


def _log(context: Context, repository: str, table: str, limit: int) -> list[dict[str, Any]]:
    from metasync.service import parts

    try:
        logical = TableName.parse(table)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with parts(context.settings) as built:
        entries = built.comparer.log(repository, logical, limit)
    return [
        {
            "version": entry.version,
            "at": when(entry.seen_at),
            "ref": entry.ref,
            "commit": entry.commit[:12],
            "changes": describe(entry.items) or "the same on both",
            "merged_from": entry.merged_from,
            "by": entry.by,
        }
        for entry in entries
    ]


@click.command()
@click.option("--all", "every", is_flag=True, help="Resolved and superseded ones too.")
@output_option
@pass_context
def conflicts(context: Context, every: bool) -> None:
    """The items that a person must decide."""
    states = ("open", "resolved", "superseded") if every else ("open",)
    with open_stores(context.settings.store) as built:
        found = built.decisions.conflicts(states)
    rows: list[dict[str, Any]] = [
        {
            "id": c.id,
            "table": str(c.logical),
            "merge": f"{c.source} -> {c.destination}",
            "item": item_name(c.path),
            "reason": c.reason,
            "base": _text(c.base),
            "ours": _text(c.ours),
            "theirs": _text(c.theirs),
            "chosen": c.choice or "",
        }
        | ({"state": c.state} if every else {})
        for c in found
    ]
    context.output.rows("conflicts", rows, empty="no conflicts")
    if rows and not context.output.is_json:
        for reason in sorted({c.reason for c in found}):
            context.output.say(f"{reason}: {REASONS.get(reason, 'see docs/merging.md')}")
        context.output.say("to settle a table: metasync resolve ID --ours | --theirs [--item ITEM ...]")


@click.group()
def events() -> None:
    """The queue of events."""


@events.command("list")
@click.option("--state", type=click.Choice(["queued", "claimed", "done", "dead", "discarded"]), multiple=True)
@click.option("--limit", default=50, show_default=True)
@output_option
@pass_context
def events_list(context: Context, state: tuple[str, ...], limit: int) -> None:
    """Events, the newest first."""
    with open_stores(context.settings.store) as built:
        found = built.queue.list(state, limit)
    rows = [
        {
            "id": e.id,
            "received": when(e.received_at),
            "repository": e.repository,
            "kind": e.payload.get("type", e.kind),
            "ref": e.payload.get("ref", ""),
            "state": e.state,
            "attempts": e.attempts,
            "error": e.error,
        }
        for e in found
    ]
    context.output.rows("events", rows, empty="no events")


@events.command("replay")
@click.argument("event_id", metavar="EVENT", type=int, required=False)
@click.option("--dead", is_flag=True, help="Every dead event.")
@pass_context
def events_replay(context: Context, event_id: int | None, dead: bool) -> None:
    """Queue a dead or done event again, or all that are dead."""
    if (event_id is None) is not dead:
        raise UsageError("say which EVENT, or --dead for all dead ones")
    with open_stores(context.settings.store) as built:
        if event_id is None:
            context.output.say(f"{built.queue.replay_dead()} events are queued again; a running service takes them")
            return
        if not built.queue.replay(event_id):
            raise UsageError(f"there is no event {event_id} that is dead, discarded or done")
    context.output.say(f"event {event_id} is queued again; a running service takes it")


@events.command("discard")
@click.argument("event_id", metavar="EVENT", type=int)
@pass_context
def events_discard(context: Context, event_id: int) -> None:
    """Take a dead event off the list of what needs somebody."""
    with open_stores(context.settings.store) as built:
        if not built.queue.discard(event_id):
            raise UsageError(f"there is no dead event {event_id}")


def _text(value: Any) -> str:
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


COMMANDS = (status, refs, conflicts, history, events)
