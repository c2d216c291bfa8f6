"""The answers, as values and as JSON: each says its kind and version. `docs/schemas/` has their JSON Schemas.

Times are UTC, to the second. A field may be added within a version; a reader must not mind.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field

from metasync.planning.plan import Plan

Sign = Literal["+", "~", "-", "x", "!", " "]

_LAST = 253_402_300_799
"""The last second that a date can say."""


_ATTENTION = AliasChoices("attention", "needs")
_WAS_NEEDS = "Deprecated, as `attention` has the same."
RefState = Literal["creating", "live", "deleting", "deleted"]
_STATES: dict[str, RefState] = {
    "new": "creating",
    "making": "creating",
    "live": "live",
    "ending": "deleting",
    "gone": "deleted",
}


def moment(seconds: float | None) -> datetime | None:
    """Unix seconds as UTC; None stays."""
    return datetime.fromtimestamp(min(int(seconds), _LAST), UTC) if seconds is not None else None


class Part(BaseModel):
    """Something within an answer."""

    # Built when first used: most commands use few.
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, defer_build=True)


class Answer(Part):
    """A whole document; its first field is `kind`."""

    kind: str


# What is


class Attention(Part):
    """Something that needs a person's attention. `key` is the same as long as its reason lasts."""

    key: str
    kind: str
    """conflict, withheld, unsafe, dead-event, stale, or the kind of a notice (docs/operations.md)."""
    repository: str
    subject: str
    message: str
    help: str
    """What to do, most often a command."""
    since: datetime | None
    ref: str = ""
    table: str = ""
    number: int | None = None
    """Of the conflict, plan or event."""


class Pause(Part):
    number: int
    rule: str | None
    """null for every rule."""
    reason: str
    by: str
    since: datetime | None
    until: datetime | None


class Pauses(Answer):
    kind: Literal["metasync.pauses/v1"] = "metasync.pauses/v1"
    items: tuple[Pause, ...]


class Work(Part):
    on: str
    """The lease: `leader`, `serve`, `repository:NAME`."""
    who: str
    what: str
    """In words: `leads`, `serves`, `works on NAME`."""


class System(Part):
    """How the last request to another system went, as this process saw it."""

    name: Literal["lakefs", "metastore", "store"]
    ok: bool | None
    """None: it was not asked yet."""
    at: datetime | None = None
    message: str = ""


class Last(Part):
    """When something of a kind was last worked off."""

    webhook: datetime | None = None
    poll: datetime | None = None
    full: datetime | None = None
    """A sync of every table of every watched ref: at the start, on the schedule, or because somebody asked for it."""


class Rule(Part):
    name: str
    repository: str
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    tables: tuple[str, ...]
    merge: str


class Status(Answer):
    kind: Literal["metasync.status/v1"] = "metasync.status/v1"
    version: str
    instance: str
    mode: Literal["apply", "observe"]
    refs: int
    mirrors: int
    queued_events: int
    oldest_event_seconds: float
    dead_events: int
    open_conflicts: int
    merges_with_unknown_source: int
    last: Last
    systems: tuple[System, ...]
    """Empty where no service was asked."""
    paused: tuple[Pause, ...]
    working: tuple[Work, ...]
    attention: tuple[Attention, ...] = Field(validation_alias=_ATTENTION)
    notes: tuple[Attention, ...]
    """What is worth knowing and is not wrong."""
    rules: tuple[Rule, ...]

    @computed_field(description=_WAS_NEEDS)
    def needs(self) -> tuple[Attention, ...]:
        return self.attention


# Refs and tables


class Ref(Part):
    repository: str
    ref: str
    """`branch/NAME` or `tag/NAME`."""
    incarnation: int
    life: Literal["new", "making", "live", "ending", "gone"]
    """Deprecated, as `state` says it in the words of the documentation."""
    source: str
    """The ref that it was made from, as far as known."""
    head: str
    mirrors_made: int
    mirrors_planned: int
    not_mirrored: int = 0
    """How many tables that its rule names it has no mirror of: views and others that are never mirrored."""
    first_seen: datetime | None
    lag_seconds: float | None = None
    """How long it has waited for its mirrors or for merges into it; null where nothing waits."""
    reason: str = ""

    @computed_field(description="Whether its mirrors are being created, there, being deleted, or deleted.")
    def state(self) -> RefState:
        return _STATES[self.life]


class Refs(Answer):
    kind: Literal["metasync.refs/v1"] = "metasync.refs/v1"
    items: tuple[Ref, ...]


class RefTable(Part):
    logical: str
    physical: str
    rule: str = ""
    """Empty for a table that people registered themselves."""
    state: Literal["mirror", "missing", "dropped", "own", "not-mirrored"]
    """mirror; missing: not made yet; dropped: by somebody, and not made again; own: registered by people; not-mirrored:
    of a kind that never is."""
    reason: str = ""
    """Why it is not mirrored."""
    columns: int = 0
    partitions: int = 0
    as_of: str = ""


class Merge(Part):
    number: int
    repository: str
    commit: str
    source: str
    destination: str
    state: str
    committer: str
    message: str
    seen: datetime | None


class RefPage(Answer):
    kind: Literal["metasync.ref/v1"] = "metasync.ref/v1"
    ref: Ref
    tables: tuple[RefTable, ...]
    merges: tuple[Merge, ...]
    """Into this ref, the newest first."""
    attention: tuple[Attention, ...] = Field(validation_alias=_ATTENTION)

    @computed_field(description=_WAS_NEEDS)
    def needs(self) -> tuple[Attention, ...]:
        return self.attention


class VersionNode(Part):
    """A dot of a table's graph."""

    id: int
    lane: int
    """Index of its ref among `lanes`."""
    parents: tuple[int, ...]
    """The first is what it was before; a second, what was merged."""
    commit: str
    seen: datetime | None
    absent: bool
    changes: tuple[str, ...]
    """What differs from the first parent, in words."""
    merged_from: str = ""
    by: str = ""
    note: str = ""
    """Why the store has a version that nobody made."""


class Lane(Part):
    """A line of a table's graph: one incarnation of a ref."""

    ref: str
    incarnation: int
    life: Literal["new", "making", "live", "gone"]
    """Deprecated, as `state` says it in the words of the documentation."""
    physical: str
    fork: int | None = None
    """The version that it began with, of another lane."""

    @computed_field(description="Whether the ref's mirrors are being created, there, or deleted.")
    def state(self) -> RefState:
        return _STATES[self.life]


class TablePage(Answer):
    kind: Literal["metasync.table/v1"] = "metasync.table/v1"
    repository: str
    table: str
    lanes: tuple[Lane, ...]
    versions: tuple[VersionNode, ...]
    """The newest first."""
    more: bool = False
    """Whether there are older ones that are not shown."""


# What needs a decision


class Conflict(Part):
    id: int
    repository: str
    table: str
    merge: str
    item: str
    reason: str
    meaning: str
    base: Any = None
    ours: Any = None
    theirs: Any = None
    chosen: Literal["", "ours", "theirs"] = ""
    state: Literal["open", "resolved", "superseded"] = "open"
    found: datetime | None = None


class Conflicts(Answer):
    kind: Literal["metasync.conflicts/v1"] = "metasync.conflicts/v1"
    items: tuple[Conflict, ...]


class WaitingPlan(Part):
    id: int
    repository: str
    why: Literal["withheld", "unsafe"]
    subject: str
    reason: str
    state: str
    made: datetime | None


class StoredPlan(Answer):
    kind: Literal["metasync.stored-plan/v2"] = "metasync.stored-plan/v2"
    about: WaitingPlan
    plan: Plan


class WaitingPlans(Answer):
    kind: Literal["metasync.waiting-plans/v1"] = "metasync.waiting-plans/v1"
    items: tuple[WaitingPlan, ...]


# What was done


class HistoryEntry(Part):
    id: int
    at: datetime | None
    repository: str
    ref: str
    logical: str
    table: str
    action: str
    detail: str
    cause: str
    merge: int | None = None
    """The merge that it was a part of."""


class History(Answer):
    kind: Literal["metasync.history/v1"] = "metasync.history/v1"
    items: tuple[HistoryEntry, ...]


class LogLine(Part):
    version: int
    at: datetime | None
    ref: str
    commit: str
    changes: str
    merged_from: str
    by: str


class Log(Answer):
    kind: Literal["metasync.log/v1"] = "metasync.log/v1"
    items: tuple[LogLine, ...]


class MergePage(Answer):
    kind: Literal["metasync.merge/v2"] = "metasync.merge/v2"
    merge: Merge
    plan: Plan
    """What was planned and done, table by table."""


class Event(Part):
    id: int
    received: datetime | None
    repository: str
    event: str
    ref: str
    state: Literal["queued", "claimed", "done", "dead", "discarded"]
    attempts: int
    error: str


class Events(Answer):
    kind: Literal["metasync.events/v1"] = "metasync.events/v1"
    items: tuple[Event, ...]


class Queued(Answer):
    """Events that were put into the queue, to be worked off by a running service."""

    kind: Literal["metasync.queued/v1"] = "metasync.queued/v1"
    events: tuple[int, ...] = ()
    number: int = 0


# Plans and what became of them


class Outcome(Part):
    change: str
    subject: str
    state: Literal["done", "waiting", "conflict", "failed"]
    message: str = ""


class Result(Part):
    """What passes over one repository came to; a dry run has plans and no outcomes."""

    repository: str
    refused: str = ""
    plan_id: int | None = None
    plans: tuple[Plan, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


class Results(Answer):
    kind: Literal["metasync.results/v2"] = "metasync.results/v2"
    items: tuple[Result, ...]
    undecided: tuple[str, ...] = ()
    """Items of a conflict that still have no choice."""


class Plans(Answer):
    kind: Literal["metasync.plans/v2"] = "metasync.plans/v2"
    items: tuple[Plan, ...]


class Orphan(Part):
    repository: str
    orphan: str
    """The mirror that no rule wants any more, as `database.table`."""


class Orphans(Answer):
    kind: Literal["metasync.orphans/v1"] = "metasync.orphans/v1"
    items: tuple[Orphan, ...]


class MarkedTable(Part):
    """A mirror, or a mirror's database, by the marks that it bears."""

    name: str
    of: str
    """The logical table; empty for a database."""
    ref: str
    store: str
    """The id of the store that made it."""
    rule: str


class Adoptable(Answer):
    """What the store of another installation made, or what this store's backup does not know."""

    kind: Literal["metasync.adoptable/v1"] = "metasync.adoptable/v1"
    items: tuple[MarkedTable, ...]


class Adopted(Answer):
    """What was taken over; nothing where this store knew all of it."""

    kind: Literal["metasync.adopted/v1"] = "metasync.adopted/v1"
    items: tuple[MarkedTable, ...]


class Item(Part):
    path: tuple[str, ...]
    words: str
    before: Any = None
    after: Any = None


class TableDiff(Part):
    table: str
    items: tuple[Item, ...]


class Diff(Answer):
    kind: Literal["metasync.diff/v1"] = "metasync.diff/v1"
    items: tuple[TableDiff, ...]


class Step(Part):
    rule: str
    why: str


class Explanation(Answer):
    kind: Literal["metasync.explanation/v1"] = "metasync.explanation/v1"
    rule: str | None
    mirror: str | None
    sentence: str
    steps: tuple[Step, ...]


class Readiness(Answer):
    kind: Literal["metasync.wait/v1"] = "metasync.wait/v1"
    repository: str
    ref: str
    state: Literal["looking", "making", "merging", "ready", "refused", "unknown", "failed"]
    made: int = 0
    planned: int = 0
    reasons: tuple[str, ...] = ()
    not_mirrored: tuple[str, ...] = ()
    """The tables that the ref has no mirror of, each with the reason."""

    @property
    def over(self) -> bool:
        """Whether waiting longer changes nothing."""
        return self.state in ("ready", "refused", "unknown", "failed")


class Found(Part):
    what: Literal["table", "ref", "merge"]
    name: str
    repository: str
    detail: str = ""
    number: int | None = None
    """Of the merge."""


class Search(Answer):
    kind: Literal["metasync.search/v1"] = "metasync.search/v1"
    query: str
    items: tuple[Found, ...]


class Check(Part):
    subject: str
    ok: bool
    finding: str
    help: str = ""


class Checks(Answer):
    kind: Literal["metasync.checks/v1"] = "metasync.checks/v1"
    items: tuple[Check, ...]


class Problem(Answer):
    """Any answer that is not a success."""

    kind: Literal["metasync.error/v1"] = "metasync.error/v1"
    code: str
    """A word for programs: docs/errors.md has them all."""
    error: str
    """A sentence for people, with what to do."""


class Notification(Answer):
    """What a webhook of `notifications` gets: what began, and what is over, since the last one."""

    kind: Literal["metasync.notification/v1"] = "metasync.notification/v1"
    instance: str
    began: tuple[Attention, ...] = ()
    over: tuple[str, ...] = Field(
        default=(), description="Keys of what was sent before and needs no attention any more."
    )


class ChangeMade(Answer):
    """What a webhook of `after_apply` gets, once for each change, in order."""

    kind: Literal["metasync.change/v1"] = "metasync.change/v1"
    instance: str
    change: HistoryEntry


EVERY: tuple[type[Answer], ...] = (
    Adoptable,
    Adopted,
    ChangeMade,
    Checks,
    Conflicts,
    Diff,
    Events,
    Explanation,
    History,
    Log,
    MergePage,
    Notification,
    Orphans,
    Pauses,
    Plans,
    Problem,
    Queued,
    Readiness,
    RefPage,
    Refs,
    Results,
    Search,
    Status,
    StoredPlan,
    TablePage,
    WaitingPlans,
)
