"""What waits for a person, read from the store: one list for the command line, the page, metrics and notifications.

An item is a level: it is there as long as its reason is, under the same key.
"""

from __future__ import annotations

import hashlib

from metasync.application.answers import Attention, moment
from metasync.planning.conflicts import REASONS
from metasync.planning.descriptions import item_name
from metasync.settings.models import Settings
from metasync.store.decisions import ConflictRow
from metasync.store.notices import NoticeRow
from metasync.store.stores import Stores

NOTES = frozenset(
    {
        "paused", "catching-up", "drop-grace", "waiting", "skipped", "merge-note", "partitions-discovered",
        "probable-rename", "type-not-merged", "names-another-place",
        "belongs", "unaddressable-tag", "delayed", "history-rewritten", "reverted", "cherry-picked",
    }
)  # fmt: skip
"""Kinds of notices that need nobody's attention: they are not wrong, or pass by themselves."""
MOVED = ("history-rewritten", "reverted", "cherry-picked")
"""Noticed by one sync only, and kept in the history: data moved, definitions did not."""
_DAYS_SAID = 3 * 86400.0
_STALE = 5
"""Intervals of the poller without a finished poll, after which something is wrong."""
_LEAST_STALE = 300.0
_MOST = 200
_LONGEST_KEY = 300


def collect(stores: Stores, settings: Settings) -> tuple[Attention, ...]:
    """Every item, the gravest kinds first: nothing works, then what is refused, then what is to decide."""
    notices = [_of_notice(row) for row in stores.notices.standing() if row.notice.kind not in NOTES]
    found = (*_stale(stores, settings), *_dead(stores), *notices, *_plans(stores), *_conflicts(stores))
    return tuple({item.key: item for item in reversed(found)}.values())[::-1]


def notes(stores: Stores) -> tuple[Attention, ...]:
    """What is worth knowing of each repository; what moved data without definitions, for some days."""
    found = [_of_notice(row) for row in stores.notices.standing() if row.notice.kind in NOTES]
    since = stores.database.now() - _DAYS_SAID
    known = {(item.kind, item.repository, item.subject.partition(" ")[0]) for item in found}
    for row in stores.history.since(MOVED, since):
        if (row.action, row.repository, row.ref) not in known:
            found.append(
                Attention(
                    key=f"{row.action}/{row.id}", kind=row.action, repository=row.repository,
                    subject=f"{row.ref} {row.cause}", message=row.detail, help="", since=moment(row.at), ref=row.ref,
                )
            )  # fmt: skip
    return (*found, *_not_mirrored(stores))


def _not_mirrored(stores: Stores) -> list[Attention]:
    """Each table that is on no branch or tag, once, however many they are."""
    return [
        Attention(
            key=_key("not-mirrored", repository, logical), kind="not-mirrored", repository=repository, subject=logical,
            message=f"is not mirrored on {refs} ref{'s' if refs > 1 else ''}: {reason}", help="",
            since=moment(since), table=logical,
        )
        for repository, logical, reason, refs, since in stores.overview.not_mirrored()[:_MOST]
    ]  # fmt: skip


def _stale(stores: Stores, settings: Settings) -> tuple[Attention, ...]:
    """A poll that is overdue: no service runs, or it cannot reach lakeFS or the metastore."""
    finished = [at for kind, at in stores.overview.finished().items() if kind in ("poll", "start", "schedule")]
    if not finished:
        return ()
    last, patience = max(finished), max(settings.events.poll.interval * _STALE, _LEAST_STALE)
    if stores.database.now() - last < patience:
        return ()
    message = f"nothing was synced for more than {patience / 60:.0f} minutes"
    return (
        Attention(
            key="stale", kind="stale", repository="", subject="metasync", message=message,
            help="is a service running, and can it reach lakeFS and the metastore? metasync doctor", since=moment(last),
        ),
    )  # fmt: skip


def _dead(stores: Stores) -> list[Attention]:
    return [
        Attention(
            key=f"dead-event/{event.id}", kind="dead-event", repository=event.repository,
            subject=f"event {event.id} ({event.payload.get('type', event.kind)})", message=event.error or "",
            help=f"fix the reason, then: metasync events replay {event.id}", since=moment(event.received_at),
            ref=event.payload.get("ref", ""), number=event.id,
        )
        for event in stores.queue.list(["dead"], _MOST)
    ]  # fmt: skip


def _of_notice(row: NoticeRow) -> Attention:
    notice = row.notice
    return Attention(
        key=_key(notice.kind, row.repository, notice.subject), kind=notice.kind, repository=row.repository,
        subject=notice.subject, message=notice.message, help=notice.help, since=moment(row.since),
    )  # fmt: skip


def _plans(stores: Stores) -> list[Attention]:
    return [
        Attention(
            key=f"plan/{row.id}", kind=row.kind, repository=row.repository, subject=f"plan {row.id}: {row.subject}",
            message=row.reason, help=f"to do it: metasync apply {row.id}", since=moment(row.made_at), number=row.id,
        )
        for row in stores.decisions.waiting_plans()
    ]  # fmt: skip


def _conflicts(stores: Stores) -> list[Attention]:
    """One item a table and merge, however many of its items are in conflict."""
    tables: dict[tuple[int, str], list[ConflictRow]] = {}
    for row in stores.decisions.conflicts():
        tables.setdefault((row.merge_id, str(row.logical)), []).append(row)
    return [_conflict(rows) for rows in list(tables.values())[:_MOST]]


def _key(*words: str) -> str:
    """The same for the same words, and never too long for the store."""
    key = "/".join(words)
    return key if len(key) <= _LONGEST_KEY else f"{words[0]}/{hashlib.sha256(key.encode()).hexdigest()}"


def _conflict(rows: list[ConflictRow]) -> Attention:
    first = rows[0]
    items = ", ".join(item_name(row.path) for row in rows[:4]) + (f" and {len(rows) - 4} more" if rows[4:] else "")
    return Attention(
        key=_key("conflict", str(first.merge_id), str(first.logical)), kind="conflict", repository=first.repository,
        subject=f"{first.logical}: {first.source} -> {first.destination}",
        message=f"{items}: {REASONS.get(first.reason, first.reason)}",
        help=f"metasync conflicts, then: metasync resolve {first.id} --ours | --theirs",
        since=moment(first.found_at), ref=first.destination, table=str(first.logical), number=first.id,
    )  # fmt: skip
