"""Orders: what people have done about refs, merges, events and rules. `Switches` need the store alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metasync.desk import answers
from metasync.desk.books import Books, described_pauses
from metasync.desk.readiness import Waiter
from metasync.engine.commands import Commands
from metasync.engine.controller import Controller, Result, Told
from metasync.engine.scheduler import repositories
from metasync.engine.scope import Scope
from metasync.errors import UsageError
from metasync.lakefs import LakeFS
from metasync.planning.merge import Side
from metasync.planning.pauses import Pause
from metasync.planning.plan import subject_of
from metasync.planning.rules import RuleSet
from metasync.planning.words import describe_item, item_name
from metasync.settings.models import Settings
from metasync.store.stores import Stores

_LONGEST_PAUSE = 10 * 365 * 86400.0


class Switches:
    """What is said to running services through their store."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._books = Books(settings, stores)
        self._waiter = Waiter(RuleSet.of(settings), stores)

    def pause(self, rule: str | None, reason: str, by: str, seconds: float | None) -> answers.Pauses:
        """Nothing is written for a rule, or at all, for some seconds or until resumed. Raises UsageError."""
        names = [one.name for one in self._settings.rules]
        if rule is not None and rule not in names:
            raise UsageError(f"there is no rule {rule!r}; the rules are: {', '.join(names)}")
        if not reason.strip():
            raise UsageError("say why: the reason is shown wherever something waits for the pause")
        if seconds is not None and not 0 < seconds <= _LONGEST_PAUSE:
            raise UsageError("a pause lasts ten years at most; without --for it lasts until resumed")
        self._stores.pauses.begin(rule, reason, by, seconds)
        return self._books.pauses()

    def resume(self, rule: str | None = None) -> answers.Pauses:
        """Ends the pause of a rule, or every pause; gives those that held, and has their repositories looked at."""
        names = {one.name for one in self._settings.rules} | {p.rule for p in self._stores.pauses.in_force()}
        if rule is not None and rule not in names:
            raise UsageError(f"there is no rule {rule!r}, and none of that name is paused")
        return self._resumed(self._stores.pauses.end(rule))

    def resume_one(self, number: int) -> answers.Pauses:
        """Ends one pause and no other."""
        return self._resumed(self._stores.pauses.end_one(number))

    def _resumed(self, ended: Sequence[Pause]) -> answers.Pauses:
        for repository in self._stores.refs.names() if ended else ():
            self._stores.queue.put_once(repository, "resume", {})
        return described_pauses(ended)

    def replay(self, number: int) -> answers.Queued:
        """Queues a dead, discarded or done event again. Raises UsageError where it is none of these."""
        if not self._stores.queue.replay(number):
            raise UsageError(f"there is no event {number} that is dead, discarded or done; see: metasync events list")
        return answers.Queued(events=(number,), number=1)

    def replay_dead(self) -> answers.Queued:
        return answers.Queued(number=self._stores.queue.replay_dead())

    def discard(self, number: int) -> answers.Events:
        """Takes a dead event off the list of what needs somebody. Raises UsageError where there is none."""
        if not self._stores.queue.discard(number):
            raise UsageError(f"there is no dead event {number}; see: metasync events list --state dead")
        return self._books.event(number)

    def look(self, repository: str) -> answers.Queued:
        """Asks a running service for a full reconcile. Raises UsageError where no rule names the repository."""
        if not RuleSet.of(self._settings).of_repository(repository):
            raise UsageError(f"no rule names the repository {repository!r}")
        return answers.Queued(events=(self._stores.queue.put(repository, "command", {}),), number=1)

    def ask(self, repository: str, ref: str) -> int:
        """Asks for a look at a ref; gives the event's number, for `readiness`. Raises UsageError."""
        return self._waiter.ask(repository, ref)

    def readiness(self, repository: str, ref: str, event: int) -> answers.Readiness:
        """How far a ref's tables are, as seen after `ask`."""
        found = self._waiter.look(repository, ref, event)
        return answers.Readiness(
            repository=found.repository, ref=found.ref, state=found.state, made=found.made, planned=found.planned,
            reasons=found.reasons,
        )  # fmt: skip

    def is_served(self) -> bool:
        """Whether any service works on this store."""
        return self._waiter.is_served()


class Orders:
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
        self, repository: str | None = None, told: Told | None = None, stop: Callable[[], bool] = lambda: False
    ) -> answers.Results:
        """Brings a repository, or all, up to date now, here."""
        results = []
        for name in self._named(repository):
            scope = Scope(name, full=True)
            while True:
                results.append(self._controller.sync(scope, stop=stop, told=told))
                if not results[-1].more or stop():
                    break
                scope = Scope(name)
        return _results(results)

    def apply(self, plan_id: int, told: Told | None = None) -> answers.Results:
        """Executes a stored plan exactly as it was shown. Raises ChangedMeanwhile where the state moved."""
        return _results([self._commands.approver.apply(plan_id, told)])

    def resolve(
        self, conflict_id: int, side: Side, items: Sequence[str] = (), told: Told | None = None
    ) -> answers.Results:
        """Settles a table's conflicts for a side; `undecided` are those that still have no choice."""
        result = self._commands.resolver.resolve(conflict_id, side, items, told)
        still = [row for row in self._decisions.of_same_table(conflict_id) if row.state == "open"]
        left = [item_name(row.path) for row in still if row.choice is None]
        return _results([result], undecided=left if not result.plans else ())

    def preview_resolve(self, conflict_id: int, side: Side, items: Sequence[str] = ()) -> answers.Plans:
        """What settling would do; a plan without changes where items still have no choice."""
        return answers.Plans(items=(self._commands.resolver.preview(conflict_id, side, items),))

    def merge(
        self, repository: str, source: str, destination: str, by: str = "", told: Told | None = None
    ) -> answers.Results:
        """Merges metadata alone."""
        return _results([self._commands.merger.merge_metadata(repository, source, destination, by=by, told=told)])

    def tell_source(self, repository: str, commit: str, source: str) -> None:
        """Names the source of a merge that waits for it. Raises UsageError."""
        self._commands.merger.tell_source(repository, commit, source)

    def no_source(self, repository: str, commit: str, by: str = "") -> None:
        """Closes a merge of which there is nothing to carry. Raises UsageError."""
        self._commands.merger.no_source(repository, commit, by)

    def preview_recreate(self, repository: str, ref: str) -> answers.Plans:
        """What would be dropped if a branch were taken for a new one. Raises UsageError."""
        return answers.Plans(items=(self._commands.recreator.plan(repository, ref),))

    def recreate(self, repository: str, ref: str, by: str = "", told: Told | None = None) -> answers.Results:
        """Takes a branch for a new one: its mirrors and tables are dropped, and created anew. Raises UsageError."""
        return _results([self._commands.recreator.recreate(repository, ref, by, told)])

    def keep(self, repository: str, ref: str, by: str = "") -> None:
        """Takes a branch that may have been created again for the one that is known. Raises UsageError."""
        self._commands.recreator.keep(repository, ref, by)

    def undo(self, name: str, dry_run: bool = False, told: Told | None = None) -> answers.Results:
        """Takes a merge or an applied plan back."""
        if dry_run:
            plan = self._commands.undoer.plan(name)[1]
            return answers.Results(items=(answers.Result(repository=plan.repository, plans=(plan,)),))
        return _results([self._commands.undoer.undo(name, told)])

    def prune(self, told: Told | None = None) -> answers.Results:
        """Drops the mirrors that no rule wants any more."""
        return _results(self._commands.pruner.prune(told))

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
