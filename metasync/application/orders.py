"""Orders: what people have done about refs and merges, through the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metasync.application import answers
from metasync.application.interface import CarriesOutOrders
from metasync.engine.commands import Commands
from metasync.engine.commands.adopt import Marked
from metasync.engine.commands.repair import RepairOrder
from metasync.engine.controller import Controller, Result, Watcher
from metasync.engine.scheduler import repositories
from metasync.engine.scope import Scope
from metasync.lakefs import LakeFS
from metasync.planning.changes import DropTable, subject_of
from metasync.planning.descriptions import describe_item, item_name
from metasync.planning.merge import Side
from metasync.planning.rules import RuleSet
from metasync.store.stores import Stores

_LONGEST_PAUSE = 10 * 365 * 86400.0


class Orders(CarriesOutOrders):
    """What goes through the engine: it reads lakeFS and the metastore, and what applies writes to the metastore."""

    def __init__(
        self,
        *,
        stores: Stores,
        rules: RuleSet,
        lakefs: LakeFS,
        controller: Controller,
        commands: Commands,
    ) -> None:
        self._decisions = stores.decisions
        self._rules = rules
        self._lakefs = lakefs
        self._controller = controller
        self._commands = commands

    def plan(self, repository: str | None = None) -> answers.Plans:
        """What a reconcile of a repository, or of all, would do."""
        results = [self._controller.plan(Scope(name, full=True)) for name in self._named(repository)]
        return answers.Plans(items=tuple(plan for result in results for plan in result.plans))

    def reconcile(
        self, repository: str | None = None, watcher: Watcher | None = None, stop: Callable[[], bool] = lambda: False
    ) -> answers.Results:
        """Brings a repository, or all, up to date now, here."""
        results = []
        for name in self._named(repository):
            scope = Scope(name, full=True)
            while True:
                results.append(self._controller.sync(scope, stop=stop, watcher=watcher))
                if not results[-1].more or stop():
                    break
                scope = Scope(name)
        return _results(results)

    def apply(self, plan_id: int, watcher: Watcher | None = None) -> answers.Results:
        """Executes a stored plan exactly as it was shown. Raises ChangedMeanwhile where the state moved."""
        return _results([self._commands.approver.apply(plan_id, watcher)])

    def resolve(
        self, conflict_id: int, side: Side, items: Sequence[str] = (), watcher: Watcher | None = None
    ) -> answers.Results:
        """Settles a table's conflicts for a side; `undecided` are those that still have no choice."""
        result = self._commands.resolver.resolve(conflict_id, side, items, watcher)
        still = [row for row in self._decisions.of_same_table(conflict_id) if row.state == "open"]
        left = [item_name(row.path) for row in still if row.choice is None]
        return _results([result], undecided=left if not result.plans else ())

    def preview_resolve(self, conflict_id: int, side: Side, items: Sequence[str] = ()) -> answers.Plans:
        """What settling would do; a plan without changes where items still have no choice."""
        return answers.Plans(items=(self._commands.resolver.preview(conflict_id, side, items),))

    def merge(
        self, repository: str, source: str, destination: str, by: str = "", watcher: Watcher | None = None
    ) -> answers.Results:
        """Merges metadata alone."""
        return _results([self._commands.merger.merge_metadata(repository, source, destination, by=by, watcher=watcher)])

    def name_source(self, repository: str, commit: str, source: str) -> None:
        """Names the source of a merge that waits for it. Raises UsageError."""
        self._commands.merger.name_source(repository, commit, source)

    def no_source(self, repository: str, commit: str, by: str = "") -> None:
        """Closes a merge of which there is nothing to carry. Raises UsageError."""
        self._commands.merger.no_source(repository, commit, by)

    def preview_recreate(self, repository: str, ref: str) -> answers.Plans:
        """What would be dropped if a branch were taken for a new one. Raises UsageError."""
        return answers.Plans(items=(self._commands.recreator.plan(repository, ref),))

    def recreate(self, repository: str, ref: str, by: str = "", watcher: Watcher | None = None) -> answers.Results:
        """Takes a branch for a new one: its mirrors and tables are dropped, and created anew. Raises UsageError."""
        return _results([self._commands.recreator.recreate(repository, ref, by, watcher)])

    def keep(self, repository: str, ref: str, by: str = "") -> None:
        """Takes a branch that may have been created again for the one that is known. Raises UsageError."""
        self._commands.recreator.keep(repository, ref, by)

    def preview_repair(self, repository: str, ref: str, table: str = "", again: Sequence[str] = ()) -> answers.Plans:
        """What would be put right on a ref. Raises UsageError."""
        return answers.Plans(items=(self._commands.repairer.plan(RepairOrder(repository, ref, table, tuple(again))),))

    def repair(
        self,
        repository: str,
        ref: str,
        table: str = "",
        again: Sequence[str] = (),
        watcher: Watcher | None = None,
    ) -> answers.Results:
        """Puts right what metasync imposes on a ref's mirrors, and makes those that are missing. Raises UsageError."""
        order = RepairOrder(repository, ref, table, tuple(again))
        return _results([self._commands.repairer.repair(order, watcher)])

    def undo(self, name: str, dry_run: bool = False, watcher: Watcher | None = None) -> answers.Results:
        """Takes a merge or an applied plan back."""
        if dry_run:
            plan = self._commands.undoer.plan(name)[1]
            return answers.Results(items=(answers.Result(repository=plan.repository, plans=(plan,)),))
        return _results([self._commands.undoer.undo(name, watcher)])

    def orphans(self) -> answers.Orphans:
        """The mirrors that no rule wants any more. Reads lakeFS and the metastore."""
        return answers.Orphans(
            items=tuple(
                answers.Orphan(repository=name, orphan=str(change.physical))
                for name, changes in self._commands.pruner.orphans().items()
                for change in changes
                if isinstance(change, DropTable)
            )
        )

    def adoptable(self, repository: str) -> answers.Adoptable:
        """What bears the marks of our instance and the repository, whatever store made it. Reads every table."""
        return answers.Adoptable(items=_marked(self._commands.adopter.found(repository)))

    def adopt(self, repository: str, force: bool = False) -> answers.Adopted:
        """Takes over what another store made. On a healthy store nothing is changed, but with `force`."""
        return answers.Adopted(items=_marked(self._commands.adopter.adopt(repository, force=force)))

    def prune(self, watcher: Watcher | None = None) -> answers.Results:
        """Drops the mirrors that no rule wants any more."""
        return _results(self._commands.pruner.prune(watcher))

    def diff(self, repository: str, one: str, other: str) -> answers.Diff:
        """What leads from the tables of ref `one` to those of ref `other`."""
        return answers.Diff(
            items=tuple(
                answers.TableDiff(
                    table=str(table.logical),
                    items=tuple(
                        answers.Item(path=i.path, words=describe_item(i), before=i.before, after=i.after)
                        for i in table.items
                    ),
                )
                for table in self._commands.comparer.diff(repository, one, other)
            )
        )

    def preview_merge(self, repository: str, source: str, destination: str) -> answers.Plans:
        """What merging `source` into `destination` would do."""
        return answers.Plans(items=(self._commands.comparer.merge(repository, source, destination),))

    def _named(self, repository: str | None) -> list[str]:
        return [repository] if repository else repositories(self._rules, self._lakefs)


def _marked(found: Sequence[Marked]) -> tuple[answers.MarkedTable, ...]:
    return tuple(
        answers.MarkedTable(
            name=one.marks.name,
            of=one.marks.table,
            ref=one.marks.ref,
            store=one.marks.store,
            rule=one.marks.rule,
        )
        for one in found
    )


def _results(results: Sequence[Result], undecided: Sequence[str] = ()) -> answers.Results:
    return answers.Results(items=tuple(_result(result) for result in results), undecided=tuple(undecided))


def _result(result: Result) -> answers.Result:
    return answers.Result(
        repository=result.repository,
        refused=result.refused,
        plan_id=result.plan_id,
        plans=result.plans,
        outcomes=tuple(
            answers.Outcome(change=o.change.kind, subject=subject_of(o.change), state=o.state, message=o.message)
            for o in result.outcomes
        )
        + tuple(
            answers.Outcome(change="table", subject=failure.subject, state="failed", message=failure.message)
            for failure in result.failed_tables
        ),
    )
