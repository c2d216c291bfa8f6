"""Applying: a plan's changes to the metastore, each so that doing it again is harmless.

The dispatch, and what becomes of an error, are here; how each change is made is in the modules beside this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

from metasync.engine.apply.create import LiveTables, MirrorCreator
from metasync.engine.apply.databases import Databases
from metasync.engine.apply.delete import MirrorDropper, NothingToDo
from metasync.engine.apply.external import make_external
from metasync.engine.apply.merge_applier import MergeApplier
from metasync.engine.apply.partitions import PartitionWriter
from metasync.engine.apply.repair import move_database, repair_mirror
from metasync.engine.apply.statistics import copy_statistics
from metasync.engine.isolation import reason
from metasync.engine.threads import parallel
from metasync.errors import ChangedMeanwhile, ForeignTable, LeaseLost, MetastoreError, MetasyncError, TemporaryError
from metasync.lakefs import LakeFS
from metasync.metastore import Metastore, TableBuilder
from metasync.model.lakefs import Repository
from metasync.planning.changes import (
    Bookkeeping,
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
    TableFailure,
    owner_of,
    subject_of,
)
from metasync.planning.conflicts import REASONS
from metasync.planning.descriptions import item_name
from metasync.planning.plan import Applied, Plan
from metasync.planning.rules import RuleSet
from metasync.planning.three_way import ItemConflict
from metasync.store import Database as Store
from metasync.store.versions import VersionStore

_NAMED = 4
"""The most conflicts that an outcome names."""
Stop = Callable[[], bool]
Done = Callable[[Applied], None]


class Applier:
    """Executes plans. `done` gets each outcome as soon as it is there, so that a crash loses at most one."""

    def __init__(
        self,
        store: Store,
        lakefs: LakeFS,
        metastore: Metastore,
        versions: VersionStore,
        rules: RuleSet,
        instance: str,
    ) -> None:
        self._instance = instance
        self._lakefs = lakefs
        self._metastore = metastore
        builder = TableBuilder(metastore)
        self._creator = MirrorCreator(store, metastore, builder, versions, rules, instance)
        self._dropper = MirrorDropper(store, metastore, builder, instance)
        self._partitions = PartitionWriter(lakefs, metastore)
        self._merges = MergeApplier(metastore, builder, self._partitions, rules)

    def apply(self, repository: Repository, plan: Plan, done: Done, stop: Stop = lambda: False) -> list[Applied]:
        """Applies the changes in their order; mirrors of one plan are made in parallel.

        `stop` is asked between changes: the one in hand is finished, the rest is left for later. A failure of one
        change is its outcome and does not stop the others, but a TemporaryError of the whole metastore will fail all.
        Raises LeaseLost as soon as somebody else may do the same.
        """
        outcomes: list[Applied] = []

        def run(change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
            if stop():
                return Applied(change, "waiting", "stopping")
            outcome = self._guarded(change, do)
            return self._recorded(outcome, done)

        databases = Databases(self._lakefs, self._metastore)
        for change in plan.changes:
            do = self._steps(repository, databases, change)
            if do is not None:
                outcomes.append(run(change, do))
        mirrors = [change for change in plan.changes if isinstance(change, CreateMirror)]
        for wave in self._creator.waves(mirrors):
            live = LiveTables(self._metastore, [change.copy_of for change in wave if change.copy_of is not None])
            create = partial(self._creator.create, repository, databases, live)

            def make(change: CreateMirror, create: Callable[..., Sequence[ItemConflict]] = create) -> Applied:
                return run(change, partial(create, change))

            outcomes += parallel(self._metastore.parallel, make, wave)
        closing = [change for change in plan.changes if isinstance(change, Bookkeeping)]
        return outcomes + [run(change, tuple) for change in _closable(closing, outcomes)]

    def _steps(  # noqa: C901  a case a kind of change
        self, repository: Repository, databases: Databases, change: Change
    ) -> Callable[[], Sequence[ItemConflict]] | None:
        """What one change does to the metastore; None for mirrors, which come together, and for bookkeeping."""
        match change:
            case MergeTable():
                return partial(self._merges.merge, repository, databases, change)
            case CopyStatistics():
                return partial(copy_statistics, self._metastore, change)
            case DiscoverPartitions():
                return partial(self._partitions.discover, repository, change)
            case PlacePartitions():
                return partial(self._partitions.place, change)
            case MakeExternal():
                return partial(make_external, self._metastore, self._instance, change)
            case RepairMirror():
                return partial(repair_mirror, self._metastore, self._instance, repository, change)
            case MoveDatabase():
                return partial(move_database, self._metastore, self._instance, change)
            case DropTable():
                return partial(self._dropper.drop, repository, change)
            case DropDatabase():
                return partial(self._dropper.drop_database, change)
            case CreateMirror() | FinishDeletion() | FinishMerge() | FinishCreation() | FinishDiscovery():
                return None
        assert_never(change)

    def _recorded(self, outcome: Applied, done: Done) -> Applied:
        """The outcome, once it is in the store; that which cannot be stored is a failure of its table."""
        try:
            done(outcome)
        except TemporaryError:
            raise
        except Exception as error:  # what was done stands; the other tables go on
            return Applied(outcome.change, "failed", reason(error, "recording", subject_of(outcome.change)))
        return outcome

    def _guarded(self, change: Change, do: Callable[[], Sequence[ItemConflict]]) -> Applied:
        try:
            conflicts = tuple(do())
        except NothingToDo as why:
            return Applied(change, "done", str(why))
        except ChangedMeanwhile as error:
            return Applied(
                change, "conflict", str(error), (ItemConflict((), None, None, None, "changed-while-merging"),)
            )
        except LeaseLost:
            # Whoever has the lease by now does the rest.
            raise
        except TemporaryError as error:
            return Applied(change, "waiting", str(error))
        except MetasyncError as error:
            if isinstance(change, CopyStatistics):
                # Nobody's rows depend on them: a merge does not wait for them.
                return Applied(change, "done", f"statistics not copied: {error}")
            if isinstance(change, MergeTable) and isinstance(error, MetastoreError | ForeignTable):
                # Refused for good: the table waits for a person, and the merges behind it do not wait for the table.
                refused = ItemConflict((), None, None, str(error), "metastore-refuses")
                return Applied(change, "conflict", str(error), (refused,))
            return Applied(change, "failed", str(error))
        except Exception as error:  # one table that nobody foresaw must not keep the others waiting
            return Applied(change, "failed", reason(error, change.kind, subject_of(change)))
        if not conflicts:
            return Applied(change, "done")
        words = ", ".join(f"{item_name(c.path)} ({REASONS.get(c.reason, c.reason)})" for c in conflicts[:_NAMED])
        more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
        return Applied(change, "conflict", f"{words}{more}", conflicts)


def _closable(closing: Sequence[Bookkeeping], outcomes: Sequence[Applied]) -> Iterator[Bookkeeping]:
    """The bookkeeping of whatever is done: a ref is gone, or has all its mirrors; a merge may leave failures behind."""
    by_state: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for outcome in outcomes:
        by_state[outcome.state].add(owner_of(outcome.change))
    for change in closing:
        owner = owner_of(change)
        if owner in by_state["waiting"]:
            continue
        if isinstance(change, FinishMerge):
            yield replace(change, failed=(*change.failed, *_failures(change, outcomes)))
        elif owner not in by_state["failed"] and (
            isinstance(change, FinishDeletion) or owner not in by_state["conflict"]
        ):
            yield change


def _failures(finish: FinishMerge, outcomes: Sequence[Applied]) -> list[TableFailure]:
    """The tables of a merge that could not be written, nor shown to be in conflict."""
    where = f"{finish.source} -> {finish.destination}"
    return [
        TableFailure(o.change.logical, where, o.message, merge_id=finish.merge_id)
        for o in outcomes
        if o.state == "failed" and isinstance(o.change, MergeTable) and o.change.merge_id == finish.merge_id
    ]
