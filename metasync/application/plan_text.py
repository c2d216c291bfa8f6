"""A plan in lines of words, the same on a terminal and on the status page: `+ ~ -` what will be done, `x` conflicts,
`!` what needs somebody. Groups say why: the creation or deletion of a ref, a merge, directories that were filled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from metasync.application.answers import Sign
from metasync.planning.changes import (
    Change,
    CopyStatistics,
    CreateMirror,
    DiscoverPartitions,
    DropDatabase,
    DropTable,
    FinishCreation,
    FinishDeletion,
    FinishDiscovery,
    FinishMerge,
    MakeExternal,
    MergeTable,
    MoveDatabase,
    PlacePartitions,
    RepairMirror,
    subject_of,
)
from metasync.planning.conflicts import REASONS
from metasync.planning.descriptions import describe_item, item_name, repair_words
from metasync.planning.plan import Notice, Plan

_MOST = 20
_COUNTS = {
    "create": "to create",
    "alter": "to alter",
    "drop": "to drop",
    "withheld": "waiting for apply",
    "conflict": "in conflict",
    "refused": "refused",
    "held": "held back",
    "failed": "failed",
}


@dataclass(frozen=True)
class Line:
    """One line. `depth` 0 is a group's title, 1 a change, 2 an item of it."""

    sign: Sign
    text: str
    depth: int = 1


def plan_lines(plan: Plan) -> Iterator[Line]:
    """Every change in its group, then what is held back, then what failed, is refused, or is to be known."""
    title = ""
    for change in plan.changes:
        lines = _readable(change)
        if lines and (group := _group(change)) != title:
            title = group
            yield Line(" ", title, 0)
        yield from lines
    asking = [notice for notice in plan.notices if notice.help]
    plain = [notice for notice in plan.notices if not notice.help]
    yield from _held_lines(plan)
    if plan.failures:
        yield Line(" ", "tables that failed; everything else goes on", 0)
    for failure in plan.failures:
        yield Line("x", f"{failure.subject}: {failure.message}")
    yield from _not_mirrored_lines(plan)
    if plan.refusals or asking or plain:
        yield Line(" ", "notices", 0)
    for notice in (*plan.refusals, *asking):
        yield Line("!", notice_text(notice))
    for notice in plain:
        yield Line(" ", notice_text(notice))
    if plan.refusal and not plan.held:
        yield Line("!", f"nothing is written: {plan.refusal}")


def _not_mirrored_lines(plan: Plan) -> Iterator[Line]:
    """Each table once, however many refs are without it."""
    refs: dict[tuple[str, str], list[str]] = {}
    for one in plan.not_mirrored:
        refs.setdefault((str(one.logical), one.reason), []).append(str(one.ref))
    if refs:
        yield Line(" ", "not mirrored", 0)
    for (logical, reason), names in sorted(refs.items()):
        yield Line(" ", f"{logical} on {names[0] if len(names) == 1 else f'{len(names)} refs'}: {reason}")


def _held_lines(plan: Plan) -> Iterator[Line]:
    """What the safety limits hold back; the reason first, and no more of it than a person reads."""
    drops = [change for change in plan.held if isinstance(change, DropTable)]
    if not drops:
        return
    yield Line(" ", "held back by the safety limits until: metasync apply", 0)
    yield Line("!", plan.refusal)
    for change in drops[:_MOST]:
        yield Line("!", f"drop {'mirror' if change.ours else 'table'} {change.physical}")
    if len(drops) > _MOST:
        yield Line("!", f"and {len(drops) - _MOST} more")


def _readable(change: Change) -> list[Line]:
    """The lines of a change; one that cannot be put into words does not hide the others."""
    try:
        return list(change_lines(change))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return [Line("!", f"{subject_of(change)}: {change.kind}, which cannot be shown ({type(error).__name__})")]


def notice_text(notice: Notice) -> str:
    return f"{notice.subject}: {notice.message}" + (f"; {notice.help}" if notice.help else "")


def summary(counts: Mapping[str, int]) -> str:
    """`2 to create, 1 to alter, ...`, only what there is."""
    found = [f"{number} {_COUNTS[key]}" for key, number in counts.items() if number]
    return ", ".join(found) or "nothing to do"


def change_lines(change: Change) -> Iterable[Line]:
    """A change: first what is done to which table, then its items."""
    match change:
        case CreateMirror():
            note = " (finishing)" if change.resumed else ""
            note += " (as the table is now: the ref's commit is older than what is known)" if change.as_of else ""
            counts = f"{change.columns} columns, {change.partitions} partitions"
            return [Line("+", f"mirror {change.physical} of {change.logical}: {counts}{note}")]
        case DropTable():
            return [Line("-", f"{'mirror' if change.ours else 'table'} {change.physical}")]
        case DropDatabase():
            return [Line("-", f"database {change.name}, if it is empty")]
        case CopyStatistics():
            return [Line(" ", f"{change.physical}: {_statistics(change)}")]
        case DiscoverPartitions() | PlacePartitions() | MakeExternal() | RepairMirror() | MoveDatabase():
            return [Line("~", f"{subject_of(change)}: {_altered(change)}")]
        case MergeTable():
            return list(_merge_lines(change))
        case FinishDeletion() | FinishMerge() | FinishCreation() | FinishDiscovery():
            return []
    assert_never(change)


def _altered(change: DiscoverPartitions | PlacePartitions | MakeExternal | RepairMirror | MoveDatabase) -> str:
    """What is done to a living mirror, or to its database, that is no merge."""
    match change:
        case DiscoverPartitions():
            made = sum(p.after is not None for p in change.partitions)
            return f"+{made} -{len(change.partitions) - made} partitions"
        case PlacePartitions():
            return f"{len(change.partitions)} partitions are put back at their places"
        case MakeExternal():
            return f"becomes EXTERNAL and never purged, as {change.where} is not on its ref"
        case RepairMirror():
            return repair_words(change)
        case MoveDatabase():
            return f"the database moves from {change.was}, its ref's root, to {change.location}"
    assert_never(change)


def _group(change: Change) -> str:  # noqa: C901  a case a kind of change
    match change:
        case CreateMirror():
            return f"creation of {change.ref}"
        case DropTable():
            return f"deletion of {change.ref}"
        case DropDatabase():
            return "databases that are empty then"
        case DiscoverPartitions():
            return f"directories that commit {change.commit[:12]} filled or emptied on {change.ref}"
        case PlacePartitions():
            return f"half-made partitions on {change.ref}"
        case MakeExternal():
            return f"locations that are not on {change.ref}"
        case RepairMirror() | MoveDatabase():
            return f"repair of {change.ref}"
        case MergeTable():
            # One that was not made yet has no number.
            commit = change.merge_commit[:12] if change.merge_commit != "metadata-" else ""
            title = f"undo of merge {commit}" if change.undoes else f"merge {commit}" if commit else "merge"
            return f"{title}: {change.source} -> {change.destination}"
        case CopyStatistics():
            return "statistics"
        case FinishDeletion() | FinishMerge() | FinishCreation() | FinishDiscovery():
            return ""
    assert_never(change)


def _statistics(change: CopyStatistics) -> str:
    if change.mixed:
        return "no statistics of the data that the merge replaced"
    return f"the statistics, if any, of {change.source}, whose data it has"


def _merge_lines(change: MergeTable) -> Iterator[Line]:
    if change.conflicts:
        number = len(change.conflicts)
        yield Line("x", f"{change.physical}: {number} conflict{'s' if number > 1 else ''}, nothing is changed")
        for c in change.conflicts[:_MOST]:
            sides = f"base {short(c.base)}, ours {short(c.ours)}, theirs {short(c.theirs)}"
            yield Line("x", f"{item_name(c.path)}: {sides} ({REASONS.get(c.reason, c.reason)})", 2)
        return
    if change.writes:
        sign: Sign = "+" if change.before is None else "-" if change.after is None else "~"
        yield Line(sign, str(change.physical))
        yield from _items(" ", change.items)
        for old, new in change.renames:
            yield Line(" ", f"probably a rename: {old} -> {new}", 2)
    if change.store_only and change.items:
        yield Line(" ", f"{change.physical}: will be made with {len(change.items)} changes merged")
    if change.withheld:
        yield Line("!", f"{change.physical}: waits for `metasync apply`, as it is destructive")
        yield from _items("!", change.withheld)


def _items(sign: Sign, items: Any) -> Iterator[Line]:
    for item in items[:_MOST]:
        yield Line(sign, describe_item(item), 2)
    if len(items) > _MOST:
        yield Line(sign, f"and {len(items) - _MOST} more", 2)


def short(value: Any) -> str:
    """A side of a conflict in few words."""
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 60 else text[:57] + "..."


def value_text(value: Any) -> str:
    """A side of a conflict in one line."""
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
