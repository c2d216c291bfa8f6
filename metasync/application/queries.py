"""Questions: everything here is answered from the store, whether a service runs or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from metasync import __version__
from metasync.application import answers, attention
from metasync.application.answers import moment
from metasync.application.explain import explain, parse_table
from metasync.application.interface import AnswersQueries
from metasync.application.readiness import meant_refs
from metasync.application.table_graph import table_page
from metasync.engine.commands.table_log import TableLog
from metasync.errors import UsageError
from metasync.planning.conflicts import REASONS
from metasync.planning.descriptions import describe, item_name
from metasync.planning.names import physical_name
from metasync.planning.pauses import Pause
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.decisions import ConflictRow, PlanRow
from metasync.store.event_queue import StoredEvent
from metasync.store.history import HistoryRow
from metasync.store.leases import LeaseRow
from metasync.store.ledger import MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores

_FOUND = 50
_FULL = ("start", "schedule", "command")
_VERSIONS = 200
_NO_SYSTEMS: tuple[answers.System, ...] = ()


class Queries(AnswersQueries):
    """Reads the store. `systems` says how the last requests of this process to the others went."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        systems: Callable[[], tuple[answers.System, ...]] = lambda: _NO_SYSTEMS,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._systems = systems
        self._log = TableLog(stores)

    # What is

    def status(self) -> answers.Status:
        stores = self._stores
        depth, age = stores.queue.depth()
        conflicts, _ = stores.decisions.counts()
        counts, refs = stores.overview.mirror_counts(), stores.refs.every()
        finished = stores.overview.finished()
        pending = attention.collect(stores, self._settings)
        return answers.Status(
            version=__version__,
            instance=self._settings.instance,
            mode=self._settings.mode,
            refs=len(refs),
            mirrors=sum(counts.get(row.id, (0, 0))[0] for _, row in refs),
            queued_events=depth,
            oldest_event_seconds=round(age, 1),
            dead_events=stores.overview.dead_events(),
            open_conflicts=conflicts,
            merges_with_unknown_source=stores.ledger.count_unknown(),
            last=answers.Last(
                webhook=moment(finished.get("webhook")),
                poll=moment(finished.get("poll")),
                full=moment(max((finished[kind] for kind in _FULL if kind in finished), default=None)),
            ),
            systems=self._systems(),
            paused=self.pauses().items,
            working=tuple(_work(row) for row in stores.leases.rows()),
            attention=pending,
            notes=attention.notes(stores),
            rules=tuple(
                answers.Rule(
                    name=rule.name, repository=rule.repository, branches=tuple(rule.branches), tags=tuple(rule.tags),
                    tables=tuple(rule.tables), merge=rule.merge,
                )
                for rule in self._settings.rules
            ),
        )  # fmt: skip

    def pauses(self) -> answers.Pauses:
        return described_pauses(self._stores.pauses.in_force())

    def attention(self) -> tuple[answers.Attention, ...]:
        """What needs a person's attention, the gravest first."""
        return attention.collect(self._stores, self._settings)

    # Refs and tables

    def refs(self, repository: str | None = None) -> answers.Refs:
        """The refs that live or end."""
        return answers.Refs(items=tuple(self._described(self._stores.refs.every(repository))))

    def ref(self, repository: str, ref: str) -> answers.RefPage:
        """The newest incarnation of a ref, with its tables. Raises UsageError where none was ever seen."""
        found: list[tuple[str, RefRow]] = []
        for meant in meant_refs(ref):
            found += self._stores.overview.incarnations_of(repository, meant.type.value, meant.name)[:1]
        if not found:
            raise UsageError(f"metasync has never seen a branch or tag {ref!r} of {repository!r}; see: metasync refs")
        name, row = found[0]
        described = self._described([(name, row)])[0]
        mine = {str(row.ref)}
        merges = self._stores.overview.merges(ref_id=row.id)
        return answers.RefPage(
            ref=described,
            tables=tuple(self._tables(name, row)),
            merges=tuple(_merge(*merge) for merge in merges),
            attention=tuple(
                item
                for item in (*self.attention(), *attention.notes(self._stores))
                if item.repository == name and (item.ref in mine or _names(item.subject, row, name))
            ),
        )

    def table(self, repository: str, table: str) -> answers.TablePage:
        """The graph of a table's versions over every ref. Raises UsageError where it was never seen."""
        logical = parse_table(table)
        repository_id = self._repository_id(repository)
        page = table_page(self._stores, self._log, repository, repository_id, logical, _VERSIONS)
        if not page.versions:
            raise UsageError(f"metasync has never seen a table {table!r} in {repository!r}; see: metasync history")
        return page

    def log(self, repository: str, table: str, limit: int = 50) -> answers.Log:
        """A table's log on every ref, the newest first: who changed what, from where."""
        entries = self._log.log(repository, parse_table(table), limit)
        if not entries:
            raise UsageError(f"metasync has never seen a table {table!r} in {repository!r}")
        return answers.Log(
            items=tuple(
                answers.LogLine(
                    version=entry.version, at=moment(entry.seen_at), ref=entry.ref, commit=entry.commit[:12],
                    changes=describe(entry.items) or "the same on both", merged_from=entry.merged_from, by=entry.by,
                )
                for entry in entries
            )
        )  # fmt: skip

    # What needs a decision

    def conflicts(self, every: bool = False) -> answers.Conflicts:
        """The items that a person must decide; with `every`, those that were, too."""
        states = ("open", "resolved", "superseded") if every else ("open",)
        return answers.Conflicts(items=tuple(_conflict(row) for row in self._stores.decisions.conflicts(states)))

    def conflict(self, number: int) -> answers.Conflicts:
        """All conflicts of the table and merge that one of them belongs to. Raises UsageError."""
        found = self._stores.decisions.of_same_table(number)
        if not found:
            raise UsageError(f"there is no conflict {number}; see: metasync conflicts")
        return answers.Conflicts(items=tuple(_conflict(row) for row in found))

    def plans(self) -> answers.WaitingPlans:
        """The plans that wait for a person."""
        return answers.WaitingPlans(items=tuple(_waiting(row) for row in self._stores.decisions.waiting_plans()))

    def stored_plan(self, number: int) -> answers.StoredPlan:
        """A plan that waits or waited. Raises UsageError where there is none."""
        row = self._stores.decisions.plan(number)
        if row is None:
            raise UsageError(f"there is no plan {number}; see: metasync status")
        return answers.StoredPlan(about=_waiting(row), plan=row.plan)

    # What was done

    def history(
        self, repository: str | None = None, table: str | None = None, limit: int = 50, ref: str | None = None
    ) -> answers.History:
        """What was done, the newest first."""
        if repository is not None and not self._stores.repositories.identities(repository):
            raise UsageError(f"metasync has never seen a repository {repository!r}; see: metasync refs")
        rows = self._stores.history.rows(repository, table, limit, ref)
        return answers.History(items=tuple(history_entry(row) for row in rows))

    def merge(self, number: int) -> answers.MergePage:
        """A merge and what it planned. Raises UsageError where there is none."""
        found = self._stores.overview.merges(number=number)
        if not found:
            raise UsageError(f"there is no merge {number}; see: metasync history")
        repository = found[0][0]
        return answers.MergePage(merge=_merge(*found[0]), plan=self._stores.overview.plan_of(repository, number))

    def events(self, states: Sequence[str] = (), limit: int = 50) -> answers.Events:
        """Events, the newest first."""
        return answers.Events(items=tuple(_event(event) for event in self._stores.queue.list(states, limit)))

    def event(self, number: int) -> answers.Events:
        """One event. Raises UsageError where there is none."""
        event = self._stores.queue.get(number)
        if event is None:
            raise UsageError(f"there is no event {number}; see: metasync events list")
        return answers.Events(items=(_event(event),))

    def search(self, query: str) -> answers.Search:
        """Tables by logical or physical name, refs, and commits by their beginning."""
        text = query.strip()
        if not text:
            return answers.Search(query=query, items=())
        overview = self._stores.overview
        found = [
            answers.Found(what="table", name=name, repository=repository)
            for repository, name in overview.find_tables(text, _FOUND)
        ]
        found += [
            answers.Found(
                what="table", name=str(one.logical), repository=one.repository, detail=f"as {one.physical}"
            )
            for one in overview.find_mirrors(text, _FOUND)
            if text.lower() not in str(one.logical)
        ]  # fmt: skip
        refs: dict[tuple[str, str], answers.Found] = {}
        for repository, row in overview.find_refs(text, _FOUND):
            one = answers.Found(
                what="ref", name=str(row.ref), repository=repository, detail=f"at {row.head[:12]}, {row.state}"
            )
            refs.setdefault((repository, str(row.ref)), one)
        merges = overview.merges(commit=text, limit=_FOUND) if len(text) > 3 else ()
        found += [
            *refs.values(),
            *(
                answers.Found(
                    what="merge", name=merge.commit, repository=repository, number=merge.id,
                    detail=f"{merge.source or '?'} -> {destination}",
                )
                for repository, destination, merge in merges
            ),
        ]  # fmt: skip
        return answers.Search(query=query, items=tuple(found))

    def explain(self, repository: str, ref: str, table: str) -> answers.Explanation:
        """Why a table is, or is not, mirrored for a ref: what the rules say, and what was found of the table itself."""
        found = explain(self._settings, repository, ref, table)
        logical = parse_table(table)
        for meant in meant_refs(ref):
            for _, row in self._stores.overview.incarnations_of(repository, meant.type.value, meant.name)[:1]:
                if reason := self._stores.mirrors.not_mirrored(row.id).get(logical):
                    sentence = f"{logical} is not mirrored for {row.ref}, though {found.rule} names it: {reason}"
                    return found.model_copy(update={"mirror": None, "sentence": sentence})
        return found

    # Parts

    def _repository_id(self, repository: str) -> int:
        known = self._stores.repositories.identities(repository)
        if not known:
            raise UsageError(f"metasync has never seen a repository {repository!r}; see: metasync refs")
        return self._stores.repositories.id_of(known[-1])

    def _described(self, rows: Iterable[tuple[str, RefRow]]) -> list[answers.Ref]:
        counts, now = self._stores.overview.mirror_counts(), self._stores.database.now()
        without = self._stores.overview.not_mirrored_counts()
        waiting: dict[int, float] = {}
        found = list(rows)
        for repository_id in {row.repository_id for _, row in found}:
            for merge in self._stores.ledger.open_merges(repository_id):
                waiting.setdefault(merge.destination_ref_id, merge.seen_at)
        described = []
        for repository, row in found:
            made, planned = counts.get(row.id, (0, 0))
            since, reason = waiting.get(row.id), "a merge into it is pending"
            if row.is_being_created and (planned or row.state == "making"):
                since, reason = row.first_seen, "not all of its mirrors are created"
            elif row.missed_since and row.state != "gone":
                since, reason = row.missed_since, "it is gone in lakeFS; its mirrors are to be dropped"
            described.append(
                answers.Ref(
                    repository=repository,
                    ref=str(row.ref),
                    incarnation=row.incarnation,
                    life="ending" if row.missed_since and row.state != "gone" else row.state,
                    source=row.source,
                    head=row.head[:12],
                    mirrors_made=made,
                    mirrors_planned=planned,
                    not_mirrored=without.get(row.id, 0),
                    first_seen=moment(row.first_seen),
                    lag_seconds=round(now - since, 1) if since is not None else None,
                    reason=reason if since is not None else "",
                )
            )
        return described

    def _tables(self, repository: str, row: RefRow) -> Iterable[answers.RefTable]:
        rules = RuleSet.of(self._settings)
        versions, pins = self._stores.versions.in_force(row), self._stores.mirrors.pinned(row.id)
        mine = {pin.logical for pin in pins}
        # A mirrored ref's inherited tables are its parent's; what it has of its own was seen on it.
        own = self._stores.versions.own(row.id) if pins or row.parent_id is not None else versions
        addresses = {version.definition for version in versions.values() if version.definition is not None}
        sizes = self._stores.overview.sizes(addresses)
        for pin in pins:
            version = versions.get(pin.logical)
            address = version.definition if version is not None and pin.made else pin.definition
            dropped = pin.made and address is None and row.state != "gone"
            columns, partitions = sizes.get(address or "", (pin.columns, pin.partitions))
            yield answers.RefTable(
                logical=str(pin.logical), physical=str(pin.physical), rule=pin.rule, columns=columns,
                partitions=partitions, as_of=pin.as_of,
                state="dropped" if dropped else "mirror" if pin.made else "missing",
            )  # fmt: skip
        for logical, reason in self._stores.mirrors.not_mirrored(row.id).items():
            rule = rules.of_table(repository, row.ref, logical)
            yield answers.RefTable(
                logical=str(logical), physical="", rule=rule.name if rule else "", state="not-mirrored", reason=reason
            )
        for logical in sorted(own.keys() - mine):
            address = own[logical].definition
            if address is not None and address in sizes:
                columns, partitions = sizes[address]
                rule = rules.of_table(repository, row.ref, logical)
                physical = physical_name(rule.target, repository, row.ref, logical) if rule else logical
                yield answers.RefTable(
                    logical=str(logical), physical=str(physical), state="own", columns=columns,
                    partitions=partitions,
                )  # fmt: skip


def _work(row: LeaseRow) -> answers.Work:
    words = {"leader": "leads: it polls and keeps the schedule", "serve": "serves"}
    what = words.get(row.name, f"works on {row.name.removeprefix('repository:')}")
    return answers.Work(on=row.name, who=row.holder, what=what)


def described_pauses(pauses: Iterable[Pause]) -> answers.Pauses:
    return answers.Pauses(
        items=tuple(
            answers.Pause(
                number=p.id, rule=p.rule, reason=p.reason, by=p.by, since=moment(p.since), until=moment(p.until)
            )
            for p in pauses
        )
    )


def history_entry(row: HistoryRow) -> answers.HistoryEntry:
    return answers.HistoryEntry(
        id=row.id, at=moment(row.at), repository=row.repository, ref=row.ref, logical=row.logical, table=row.physical,
        action=row.action, detail=row.detail, cause=row.cause, merge=row.merge_id,
    )  # fmt: skip


def _names(subject: str, row: RefRow, repository: str) -> bool:
    return str(row.ref) in subject.split() or subject == f"{repository}/{row.ref.name}" or subject == str(row.ref)


def _merge(repository: str, destination: str, row: MergeRow) -> answers.Merge:
    return answers.Merge(
        number=row.id, repository=repository, commit=row.commit, source=row.source, destination=destination,
        state=row.state, committer=row.committer, message=row.message, seen=moment(row.seen_at),
    )  # fmt: skip


def _conflict(row: ConflictRow) -> answers.Conflict:
    return answers.Conflict(
        id=row.id, repository=row.repository, table=str(row.logical), merge=f"{row.source} -> {row.destination}",
        item=item_name(row.path), reason=row.reason, meaning=REASONS.get(row.reason, "see docs/merging.md"),
        base=row.base, ours=row.ours, theirs=row.theirs, chosen=row.choice or "", state=row.state,
        found=moment(row.found_at),
    )  # fmt: skip


def _waiting(row: PlanRow) -> answers.WaitingPlan:
    return answers.WaitingPlan(
        id=row.id, repository=row.repository, why=row.kind, subject=row.subject, reason=row.reason, state=row.state,
        made=moment(row.made_at),
    )  # fmt: skip


def _event(event: StoredEvent) -> answers.Event:
    return answers.Event(
        id=event.id, received=moment(event.received_at), repository=event.repository,
        event=event.payload.get("type", event.kind), ref=event.payload.get("ref", ""), state=event.state,
        attempts=event.attempts, error=event.error or "",
    )  # fmt: skip
