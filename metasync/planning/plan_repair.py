"""Planning a repair: what metasync itself imposes on a ref's mirrors, and nothing that anybody else may have set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metasync.model.hms import Table, TableName
from metasync.model.lakefs import RefType
from metasync.planning.changes import Change, FinishCreation, MoveDatabase, RepairMirror
from metasync.planning.draft import Draft
from metasync.planning.observed import Observed, Pinned, RefView, SourceTable
from metasync.planning.pauses import hold_back
from metasync.planning.plan import Notice, Plan
from metasync.planning.plan_creation import create_pinned, plan_creation
from metasync.planning.plan_types import plan_types
from metasync.planning.rules import RuleSet
from metasync.planning.table_type import UNKNOWN_TYPE, has_type
from metasync.settings.models import Safety


@dataclass(frozen=True)
class MadeMirror:
    """A mirror that was made once. `table` is what stands at its name, None where nothing does.

    `is_of_ref`: whether that is a table of the ref. `marks` are those that it lacks; `own` is the type of the table
    that it mirrors, with that type's parameters, UNKNOWN where nobody knows or somebody else set the mirror's;
    `outside` a location that keeps it from having that type. `last`: what was last known of one that was dropped, or
    that was to come back and is only `half_made`.
    """

    pinned: Pinned
    table: Table | None
    is_of_ref: bool = False
    marks: Mapping[str, str] = field(default_factory=dict)
    own: tuple[str, Mapping[str, str]] = (UNKNOWN_TYPE, {})
    outside: str = ""
    half_made: bool = False
    last: SourceTable | None = None


@dataclass(frozen=True)
class OwnDatabase:
    """A database that metasync made for a ref, and where it should lie, which a metastore may not be able to do."""

    name: str
    location: str
    wanted: str
    can_move: bool


def plan_repair(
    observed: Observed,
    view: RefView,
    mirrors: Sequence[MadeMirror],
    databases: Sequence[OwnDatabase],
    rules: RuleSet,
    safety: Safety,
    again: Iterable[TableName] = (),
) -> Plan:
    """The repair of one ref; `again` are the tables that are to be created though somebody dropped them.

    `view` is the ref as one that is being created, so that it has the tables that it could have mirrors of.
    """
    draft = Draft(observed, rules, safety, dict(observed.claims), [])
    wanted = set(again)
    for database in databases:
        _plan_database(draft, view, database)
    plan_types(draft, view)
    for mirror in mirrors:
        if mirror.table is None:
            _plan_dropped(draft, view, mirror, again=mirror.half_made or mirror.pinned.logical in wanted)
        else:
            _plan_mirror(draft, view, mirror)
    plan_creation(draft, view)
    plan = Plan(
        repository=draft.repository,
        changes=_in_order(draft.changes, keeps_state=view.state not in ("new", "making")),
        refusals=tuple(draft.refusals),
        notices=tuple(draft.notices),
        failures=tuple(draft.failures),
        not_mirrored=tuple(draft.not_mirrored),
    )
    return hold_back(plan, observed.pauses)


def _in_order(changes: Iterable[Change], *, keeps_state: bool) -> tuple[Change, ...]:
    """The changes; a ref whose creation is finished already is not finished again."""
    return tuple(change for change in changes if not (keeps_state and isinstance(change, FinishCreation)))


def _plan_database(draft: Draft, view: RefView, database: OwnDatabase) -> None:
    if database.can_move:
        draft.changes.append(MoveDatabase(view.id, view.ref, database.name, database.location, database.wanted))
        return
    message = f"{database.name} lies at {database.location}, the ref's root, and this metastore moves no database"
    hint = f"never DROP DATABASE {database.name} CASCADE: engines would delete the whole branch; create the ref anew"
    draft.notices.append(_not_repaired(view, database.name, message, hint))


def _plan_dropped(draft: Draft, view: RefView, mirror: MadeMirror, *, again: bool) -> None:
    pin, last = mirror.pinned, mirror.last
    if not again:
        hint = f"metasync repair {draft.repository} {view.ref.name} --recreate {pin.logical}"
        draft.notices.append(_not_repaired(view, str(pin.logical), "it was dropped on this ref", hint))
    elif last is None:
        draft.notices.append(_not_repaired(view, str(pin.logical), "nothing is known of what it was", ""))
    else:
        as_it_was = replace(
            pin,
            version=last.version,
            definition=last.definition,
            copy_of=None,
            partitions=last.partitions,
            columns=len(last.header.sd.cols),
        )
        draft.changes.append(create_pinned(view, as_it_was, draft.rules))


def _plan_mirror(draft: Draft, view: RefView, mirror: MadeMirror) -> None:
    pin, table = mirror.pinned, mirror.table
    if not mirror.is_of_ref or table is None:
        message = f"what stands at {pin.physical} is no table of this ref; it is left alone"
        draft.notices.append(_not_repaired(view, str(pin.logical), message, ""))
        return
    kind, own = mirror.own
    retypes = view.ref.type is RefType.BRANCH and kind != UNKNOWN_TYPE and not has_type(table, kind, own)
    if retypes and mirror.outside:
        message = f"it stays EXTERNAL and is never purged, as {mirror.outside} is not on {view.ref}"
        draft.notices.append(_not_repaired(view, str(pin.logical), message, ""))
        retypes = False
    if retypes or mirror.marks:
        draft.changes.append(
            RepairMirror(
                view.id,
                view.ref,
                pin.logical,
                pin.physical,
                marks=dict(mirror.marks),
                table_type=kind if retypes else "",
                type_parameters=dict(own) if retypes else {},
                rule=pin.rule,
            )
        )


def _not_repaired(view: RefView, subject: str, message: str, hint: str) -> Notice:
    return Notice("not-repaired", f"{view.ref} {subject}", message, hint, view.id)


def only(view: RefView, name: TableName | None) -> RefView:
    """The view with one of its tables alone, called by its own or its mirror's name; all of it for None."""
    if name is None:
        return view
    return replace(
        view,
        tables=tuple(t for t in view.tables if name in (t.logical, t.physical)),
        pinned=tuple(p for p in view.pinned if name in (p.logical, p.physical)),
        to_create=tuple(t for t in view.to_create if t.logical == name),
        failed={logical: why for logical, why in view.failed.items() if logical == name},
    )


def mentions(view: RefView, name: TableName) -> bool:
    """Whether a ref has, had, or could have a table of this name."""
    part = only(view, name)
    return bool(part.tables or part.pinned or part.to_create or part.failed)
