"""What a person decides: a conflict resolved, a plan applied, a merge whose source is told, orphans pruned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from metasync.engine.controller import Controller, Result, Told
from metasync.engine.observe.observer import Observer
from metasync.engine.observe.open_merges import MergeBook
from metasync.engine.scope import Scope
from metasync.engine.track.lineage import Lineage
from metasync.engine.track.merge_sources import IMPORTED
from metasync.errors import ChangedMeanwhile, Incompatible, NotAllowed, UsageError
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.model.marks import Marks
from metasync.planning.decide import make_plan
from metasync.planning.matrix import ItemConflict
from metasync.planning.merge import Choice, Side
from metasync.planning.observed import MergeTableView, MergeView, Observed
from metasync.planning.plan import Change, DropDatabase, DropTable, EndRef, MergeTable, Plan
from metasync.planning.rules import RuleSet
from metasync.planning.table_merges import plan_table_merge
from metasync.planning.words import item_name
from metasync.settings.models import Rule, Settings
from metasync.store.decisions import ConflictRow, PlanRow
from metasync.store.ledger import METADATA, MergeRow
from metasync.store.refs import RefRow
from metasync.store.stores import Stores


class Resolver:
    """Turns decisions into plans, and has the controller apply them."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        observer: Observer,
        controller: Controller,
        lakefs: LakeFS,
        lineage: Lineage,
        merges: MergeBook,
        metastore: Metastore,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._observer = observer
        self._controller = controller
        self._lakefs = lakefs
        self._lineage = lineage
        self._merges = merges
        self._refs = stores.refs
        self._versions = stores.versions
        self._ledger = stores.ledger
        self._decisions = stores.decisions
        self._history = stores.history
        self._metastore = metastore

    def resolve(self, conflict_id: int, side: Side, items: Sequence[str] = (), told: Told | None = None) -> Result:
        """Chooses `ours` (the destination) or `theirs` (the source) for the conflicts of one table of one merge.

        `items`, named as `metasync conflicts` shows them, are chosen alone; without any, all that have no choice yet,
        or every one where all have. Once every item has a choice, the table is merged. The last choice counts. Raises
        UsageError for an item that is not in conflict.
        """
        with self._controller.alone(self._chosen(conflict_id, side, items)[0].repository):
            conflict, rows, chosen = self._chosen(conflict_id, side, items)
            self._decisions.choose(chosen)
            if None in chosen.values():
                return Result(conflict.repository, ())
            return self._settle(conflict, [replace(row, choice=chosen[row.id]) for row in rows], told)

    def preview(self, conflict_id: int, side: Side, items: Sequence[str] = ()) -> Plan:
        """What `resolve` would apply; without changes where items still have no choice. Chooses nothing."""
        conflict, rows, chosen = self._chosen(conflict_id, side, items)
        if None in chosen.values():
            return Plan(conflict.repository)
        with self._controller.alone(conflict.repository):
            self._observer.observe(Scope(conflict.repository))
            change = self._settled(conflict, [replace(row, choice=chosen[row.id]) for row in rows])
        return Plan(conflict.repository, (change,) if change is not None else ())

    def _chosen(
        self, conflict_id: int, side: Side, items: Sequence[str]
    ) -> tuple[ConflictRow, list[ConflictRow], dict[int, str | None]]:
        """The conflict, those of its table and merge, and each one's choice with the new ones."""
        rows = [row for row in self._decisions.of_same_table(conflict_id) if row.state == "open"]
        conflict = next((c for c in rows if c.id == conflict_id), None)
        if conflict is None:
            raise UsageError(f"there is no open conflict {conflict_id}; see: metasync conflicts")
        return conflict, rows, {row.id: row.choice for row in rows} | {row.id: side for row in _named(rows, items)}

    def _settle(self, conflict: ConflictRow, rows: Sequence[ConflictRow], told: Told | None) -> Result:
        observed = self._observer.observe(Scope(conflict.repository))
        change = self._settled(conflict, rows)
        if change is None:
            self._close(rows)
            return Result(conflict.repository, ())
        result = self._controller.execute(observed, Plan(conflict.repository, (change,)), told)
        if result.outcomes and result.outcomes[0].state == "done":
            self._close(rows)
        return result

    def _close(self, rows: Sequence[ConflictRow]) -> None:
        for row in rows:
            self._decisions.close_conflicts([row.id], "resolved", row.choice)

    def apply_plan(self, plan_id: int, told: Told | None = None) -> Result:
        """Executes a stored plan exactly as it was shown. Raises ChangedMeanwhile where the state moved."""
        with self._controller.alone(self._waiting(plan_id).repository):
            return self._apply(self._waiting(plan_id), told)

    def _waiting(self, plan_id: int) -> PlanRow:
        row = self._decisions.plan(plan_id)
        if row is None:
            raise UsageError(f"there is no plan {plan_id}; see: metasync status")
        # What the limits held back stays true under its number when more is held back meanwhile.
        if row.state != "waiting" and not (row.kind == "unsafe" and row.state == "superseded"):
            raise UsageError(f"plan {plan_id} is {row.state} already")
        if row.plan.conflicts:
            found = ", ".join(sorted({f"{item_name(c.path)}: {c.reason}" for _, c in row.plan.conflicts}))
            raise Incompatible(f"plan {plan_id} cannot be applied as it is ({found}); change the table by hand")
        return row

    def _apply(self, row: PlanRow, told: Told | None) -> Result:
        observed = self._observer.observe(Scope(row.repository, full=True))
        plan = self._current(row) if row.kind == "withheld" else self._as_shown(row, observed)
        result = self._controller.execute(observed, replace(plan, refusal=""), told)
        if any(o.state == "conflict" for o in result.outcomes):
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(f"plan {row.id}: {result.outcomes[0].message or 'the tables moved on'}")
        if not result.failures:
            self._decisions.close_plan(row.id, "applied")
        return result

    def no_source(self, repository: str, commit: str, by: str) -> None:
        """Closes a merge that was made from nothing that metasync could merge. Raises UsageError."""
        with self._controller.alone(repository):
            repository_id = self._lineage.known(repository).repository_id
            merge = self._open_merge(repository, repository_id, commit)
            if merge.state == "started":
                raise NotAllowed(f"the merge {commit!r} is half done; first: metasync reconcile {repository}")
            self._ledger.close_as(merge.id, f"no source, says {by}")
            ref, cause = str(self._refs.get(merge.destination_ref_id).ref), f"merge {merge.commit[:12]}, by {by}"
            self._history.note(repository, ref, "", "", "merge-closed", "no source", cause)

    def _open_merge(self, repository: str, repository_id: int, commit: str) -> MergeRow:
        found = [m for m in self._ledger.open_merges(repository_id) if m.commit.startswith(commit)]
        if len(found) != 1:
            what = "no merge" if not found else f"{len(found)} merges, say more of its commit:"
            raise UsageError(f"{what} {commit!r} of {repository} is open; see: metasync status")
        return found[0]

    def tell_source(self, repository: str, commit: str, source: str) -> None:
        """Names the source of a merge that waits as "source unknown"."""
        repository_id = self._lineage.known(repository).repository_id
        imports = [m for m in self._ledger.find_merges(commit, repository_id) if m.note == IMPORTED]
        merge = imports[0] if len(imports) == 1 else self._open_merge(repository, repository_id, commit)
        if merge.state != "source-unknown" and merge.note != IMPORTED:
            raise UsageError(f"the merge {commit!r} of {repository} does not wait for its source: it is {merge.state}")
        for kind in (RefType.BRANCH, RefType.TAG):
            row = self._refs.newest(repository_id, Ref(kind, source))
            if row is not None:
                self._ledger.update_merge(
                    merge.id, source=str(row.ref), source_ref_id=row.id, state="pending", confirmed=1, note=""
                )
                return
        raise UsageError(f"metasync has never seen a branch or tag {source!r} of {repository}")

    def merge_metadata(
        self, repository: str, source: str, destination: str, *, by: str = "", told: Told | None = None
    ) -> Result:
        """Merges the metadata of one ref into another without a merge of data, through the same ledger.

        `by` is who asked for it.
        """
        with self._controller.alone(repository):
            self._enter(repository, source, destination, by)
            return self._controller.sync(Scope(repository), told=told)

    def _enter(self, repository: str, source: str, destination: str, by: str) -> None:
        self._observer.observe(Scope(repository, full=True))
        sight = self._lineage.known(repository)
        theirs, ours = self._lineage.named(sight, source), self._lineage.named(sight, destination)
        if not self._rules.is_watched(sight.repository, ours.ref):
            raise UsageError(f"no rule watches {ours.ref} of {repository}; nothing is merged into it")
        if theirs.id == ours.id:
            raise UsageError(f"{theirs.ref} cannot be merged into itself")
        heads = [sight.current[ours.ref], sight.current[theirs.ref]]
        commit = self._lakefs.get_commit(repository, heads[0])
        self._ledger.add_merge(
            repository_id=sight.repository_id,
            commit=METADATA + uuid4().hex[:12],
            destination_ref_id=ours.id,
            parents=heads,
            generation=commit.generation if commit else 0,
            source=str(theirs.ref),
            source_ref_id=theirs.id,
            source_commit=heads[1],
            committer=by,
            message=f"metadata of {theirs.ref} into {ours.ref}",
            state="pending",
        )

    def orphans(self) -> dict[str, list[Change]]:
        """Repository -> the drops of mirrors that no rule wants any more, and of refs of repositories that are gone."""
        found: dict[str, list[Change]] = {}
        for repository, row in self._refs.with_mirrors():
            changes = self._orphans_of(repository, row)
            if changes:
                found.setdefault(repository, []).extend(changes)
        return found

    def prune(self, told: Told | None = None) -> list[Result]:
        """Drops the orphans, each checked once more before it goes."""
        results = []
        for repository, changes in self.orphans().items():
            identity = self._lakefs.get_repository(repository) or self._refs.identities(repository)[-1]
            observed = Observed(identity, self._settings.instance, "")
            results.append(self._controller.execute(observed, Plan(repository, tuple(changes)), told))
        return results

    # Parts

    def _orphans_of(self, repository: str, row: RefRow) -> list[Change]:
        changes: list[Change] = []
        identity = self._lakefs.get_repository(repository)
        foreign = identity is not None and self._refs.repository_id(identity) != row.repository_id
        gone = identity is not None and not foreign and self._lakefs.get_ref(repository, row.ref) is None
        databases = set()
        for pin in self._refs.pinned(row.id):
            wanted = self._rules.of_table(repository, row.ref, pin.logical) is not None
            ended = row.life == "gone" and not wanted
            if not pin.made or (identity is None and not ended) or (wanted and (gone or not foreign)):
                continue
            table = self._metastore.get_table(pin.physical)
            marks = Marks.from_parameters(table.parameters, str(pin.physical)) if table else None
            if marks is None or marks.instance != self._settings.instance or marks.incarnation != row.incarnation:
                continue
            changes.append(
                DropTable(row.id, row.ref, row.incarnation, pin.logical, pin.physical, ours=True, orphan=True)
            )
            databases.add(pin.physical.database)
        return changes + [DropDatabase(row.id, name) for name in sorted(databases)]

    def _settled(self, conflict: ConflictRow, rows: Sequence[ConflictRow]) -> MergeTable | None:
        merge_view, view, rule = self._again(conflict.repository, conflict.merge_id, conflict.logical)
        if view is None:
            return None
        if view.problem:
            raise UsageError(f"{view.physical}: {view.problem}: nothing to choose; move it away and merge again")
        return plan_table_merge(merge_view, view, rule, _choice(rows))

    def _as_shown(self, row: PlanRow, observed: Observed) -> Plan:
        """The stored drops as they would be planned now; refused where a table of their refs came, went, or changed
        hands.

        What else the state depends on, a head, a new branch, more refs that are gone, does not matter to them.
        """
        now = make_plan(observed, self._rules, self._settings.safety)
        stored = [change for change in row.plan.changes if isinstance(change, DropTable)]
        refs = {change.ref_id for change in stored}
        current = [
            change
            for change in (*now.changes, *now.held)
            if isinstance(change, DropTable | DropDatabase | EndRef) and change.ref_id in refs
        ]
        drops = {_identity(change) for change in current if isinstance(change, DropTable)}
        if not stored or drops != {_identity(change) for change in stored}:
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(
                f"plan {row.id}: the tables of its refs in {row.repository} are not those that it was made for; "
                f"see what is to do now: metasync plan {row.repository}"
            )
        return Plan(row.repository, tuple(current))

    def _current(self, row: PlanRow) -> Plan:
        """The stored plan on the destination's newest version; refused where that is not the one it was made for.

        Partitions are compared by the applier, one by one, just before they are written.
        """
        stored = row.plan.merges[0]
        ours = self._versions.in_force(self._refs.get(stored.destination_ref_id)).get(stored.logical)
        header = self._versions.definition(ours.definition).header if ours and ours.definition else None
        if ours is None or header != stored.before:
            self._decisions.close_plan(row.id, "superseded")
            raise ChangedMeanwhile(
                f"plan {row.id}: {stored.physical} has changed since the plan was made; "
                "the next merge offers what is left anew"
            )
        destination = self._refs.get(stored.destination_ref_id)
        head = self._lakefs.get_ref(row.repository, destination.ref) or destination.head
        current = replace(stored, destination_version=ours.id, edge=True, heads=(head,))
        return replace(row.plan, changes=(current,))

    def _again(
        self, repository: str, merge_id: int, logical: TableName
    ) -> tuple[MergeView, MergeTableView | None, Rule]:
        """A table of a merge on its newest versions: the merge, its view of the table, and the rule."""
        sight = self._lineage.known(repository)
        merge = self._ledger.merge(merge_id)
        destination = self._refs.get(merge.destination_ref_id)
        assert merge.source_ref_id is not None
        source = self._refs.get(merge.source_ref_id)
        reading = self._lineage.read(sight, destination, partitions=True)
        rule = self._merges.rule_for(sight, source, destination, logical)
        if rule is None:
            raise UsageError(f"no rule speaks of {logical} on {source.ref} or {destination.ref} any more")
        theirs, _ = self._merges.source_versions(sight, merge, source)
        ours = self._versions.in_force(destination)
        view = self._merges.table_view(
            sight, merge, destination, logical, rule, theirs.get(logical), ours.get(logical), reading.tables
        )
        # What is decided now holds from now on, and not for tags of the merge commit.
        outline = replace(self._merges.outline(sight, merge, destination), own_commit="")
        return outline, view, rule


def _identity(change: DropTable) -> tuple[object, ...]:
    """What a drop depends on: whose table it is, and which."""
    return change.ref_id, change.incarnation, change.logical, change.physical, change.ours


def _named(rows: Sequence[ConflictRow], items: Sequence[str]) -> list[ConflictRow]:
    """The conflicts that a person named; a column of Spark's schema goes with the column itself."""
    if not items:
        return [row for row in rows if row.choice is None] or list(rows)
    found: list[ConflictRow] = []
    for item in items:
        named = [row for row in rows if item in (item_name(row.path), "/".join(row.path))]
        if not named:
            known = ", ".join(repr(item_name(row.path)) for row in rows)
            raise UsageError(f"{item!r} is not in conflict; these are: {known}")
        columns = {row.path[1] for row in named if row.path[:1] == ("columns",)}
        found += named
        found += [row for row in rows if row.path[:1] == ("spark_schema",) and row.path[1] in columns]
    return found


def _choice(rows: Sequence[ConflictRow]) -> Choice:
    """The choices that were made, for the very conflicts that they were made for."""
    by_path = {row.path: row for row in rows}

    def choose(conflict: ItemConflict) -> Side | None:
        row = by_path.get(conflict.path)
        if row is None or (row.ours, row.theirs) != (_stored(conflict.ours), _stored(conflict.theirs)):
            return None
        return "theirs" if row.choice == "theirs" else "ours"

    return choose


def _stored(value: object) -> object:
    """A value as it comes back from the store."""
    return json.loads(json.dumps(value))
