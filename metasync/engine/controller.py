"""The loop: track, observe, plan, apply, record. Webhook, poller, schedule and command line all come through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from metasync.engine.apply.applier import Applier
from metasync.engine.observe.observer import Observer
from metasync.engine.record.recorder import Recorder
from metasync.engine.scope import Scope
from metasync.engine.threads import interruptible
from metasync.engine.track.tracker import Tracker
from metasync.errors import NotAllowed
from metasync.planning.changes import TableFailure
from metasync.planning.observed import Observed
from metasync.planning.pauses import hold_back
from metasync.planning.plan import Applied, Plan
from metasync.planning.planner import make_plan
from metasync.planning.rules import RuleSet
from metasync.settings.models import Settings
from metasync.store.event_queue import lease_name
from metasync.store.stores import Stores
from metasync.telemetry.metrics import Metrics
from metasync.telemetry.tracing import Tracer

_MOST_PASSES = 50
log = structlog.get_logger()


class Watcher(Protocol):
    """Gets each plan before it is applied, and the outcome of each change."""

    def planned(self, plan: Plan) -> None: ...

    def __call__(self, outcome: Applied) -> None: ...


@dataclass(frozen=True)
class Result:
    """What passes over a repository came to. `plans` and `outcomes` are in order; a dry run has no outcomes.

    `more`: it was not all, as its turn was over; whoever asked goes on with another. `again_in`: seconds after which to
    ask lakeFS again, as it records some things late.
    """

    repository: str
    plans: tuple[Plan, ...]
    outcomes: tuple[Applied, ...] = ()
    refused: str = ""
    plan_id: int | None = None
    more: bool = False
    again_in: float | None = None

    @property
    def failures(self) -> tuple[Applied, ...]:
        return tuple(o for o in self.outcomes if o.state in ("failed", "waiting"))

    @property
    def failed_tables(self) -> tuple[TableFailure, ...]:
        """The tables that the last plan leaves out, as something is wrong with them."""
        return self.plans[-1].failures if self.plans else ()

    @property
    def conflicts(self) -> int:
        return sum(o.state == "conflict" for o in self.outcomes)


class Controller:
    """Brings one repository's mirrors and merges up to date, pass after pass until nothing waits.

    `patience` is how long, in seconds, it waits for somebody else who works on the repository.
    """

    def __init__(  # noqa: PLR0913  built once, in wiring.py
        self,
        settings: Settings,
        stores: Stores,
        rules: RuleSet,
        tracker: Tracker,
        observer: Observer,
        applier: Applier,
        recorder: Recorder,
        metrics: Metrics,
        tracer: Tracer,
        patience: float,
    ) -> None:
        self._patience = patience
        self._settings = settings
        self._leases = stores.leases
        self._refs = stores.refs
        self._repositories = stores.repositories
        self._pauses = stores.pauses
        self._decisions = stores.decisions
        self._rules = rules
        self._tracker = tracker
        self._observer = observer
        self._applier = applier
        self._recorder = recorder
        self._metrics = metrics
        self._tracer = tracer

    @contextmanager
    def alone(self, repository: str) -> Iterator[None]:
        """Nobody else works on the repository until the end. Raises Busy where somebody does for too long."""

        def waiting(holder: str) -> None:
            log.warning("waiting for somebody who works on the repository", repository=repository, holder=holder)

        with self._leases.hold(lease_name(repository), patience=self._patience, waiting=waiting):
            yield

    def plan(self, scope: Scope) -> Result:
        """The very plan that `sync` would execute first; nothing but what was seen is stored."""
        with self.alone(scope.repository):
            observed = self._observe(scope)
            return Result(scope.repository, (make_plan(observed, self._rules, self._settings.safety),))

    def sync(
        self,
        scope: Scope,
        *,
        stop: Callable[[], bool] = lambda: False,
        watcher: Watcher | None = None,
        passes: int = _MOST_PASSES,
    ) -> Result:
        """Track, observe, plan, apply, record, until no work is left, or its turn of `passes` is over."""
        plans: list[Plan] = []
        outcomes: list[Applied] = []
        more = False
        plan_id: int | None = None
        with self.alone(scope.repository), self._tracer.span("sync", repository=scope.repository):
            while True:
                with interruptible(stop):
                    observed = self._observe(scope)
                with self._tracer.span("decide"):
                    plan = make_plan(observed, self._rules, self._settings.safety)
                plans.append(plan)
                if self._settings.mode == "observe":
                    self._recorder.note_state(observed, plan)
                    break
                if observed.blocked:
                    self._recorder.note_state(observed, plan)
                    log.error("nothing is written", repository=scope.repository, reason=plan.refusal)
                    return Result(scope.repository, tuple(plans), tuple(outcomes), plan.refusal)
                plan_id = self._keep_held(plan)
                made = self._execute(observed, plan, stop, watcher)
                self._recorder.note_state(observed, plan, made, plan_id)
                outcomes += made
                waits = any(o.state == "waiting" for o in made)
                # What changed nothing says why, and makes nothing possible for another pass.
                moved = [o for o in made if o.state != "failed" and not (o.state == "done" and o.message)]
                fails = any(o.state == "failed" for o in made) and not moved
                stuck = not moved and plans[-2:-1] == [plan]
                if waits or fails or stuck or stop() or not plan.more:
                    break
                if len(plans) >= passes:
                    more = True
                    break
                # Events say where to look once; what they said is in the store now.
                retried = any(merge.partial for merge in observed.merges)
                scope = Scope(scope.repository, again=scope.full or scope.again or retried)
        return Result(
            scope.repository,
            tuple(plans),
            tuple(outcomes),
            plan.refusal if self._settings.mode != "observe" else "",
            plan_id,
            more=more,
            again_in=observed.again_in,
        )

    def _observe(self, scope: Scope) -> Observed:
        """Brings the graph up to date, and gives what planning needs of it."""
        with self._tracer.span("track"):
            snapshot = self._tracker.track(scope)
        with self._tracer.span("observe"):
            observed = self._observer.observe(snapshot)
        # Not before: what an outage cuts short is read again.
        self._tracker.note_heads(snapshot)
        return observed

    def _keep_held(self, plan: Plan) -> int | None:
        """Stores what the safety limits hold back, for a person to apply; gives its number."""
        if not plan.held:
            self._decisions.supersede_unsafe(plan.repository)
            return None
        plan_id = self._decisions.keep_plan("unsafe", plan.repository, plan.refusal, Plan(plan.repository, plan.held))
        log.warning(
            "drops are held back", repository=plan.repository, reason=plan.refusal, help=f"metasync apply {plan_id}"
        )
        return plan_id

    def execute(self, observed: Observed, plan: Plan, watcher: Watcher | None = None) -> Result:
        """Applies a plan that a person approved. Raises NotAllowed in the mode that writes nothing."""
        if self._settings.mode == "observe":
            raise NotAllowed("mode is observe: nothing is written to the metastore; set mode: apply")
        if hold_back(plan, pauses := self._pauses.in_force()) != plan:
            reasons = "; ".join(f"by {pause.by}: {pause.reason}" for pause in pauses)
            raise NotAllowed(f"{plan.repository} is paused {reasons}; first: metasync resume")
        if why := self._repositories.blocked(plan.repository):
            raise NotAllowed(f"{plan.repository}: {why.partition(': ')[2]}; see: metasync adopt {plan.repository}")
        with self.alone(plan.repository):
            outcomes = self._execute(observed, plan, lambda: False, watcher)
        return Result(plan.repository, (plan,), tuple(outcomes))

    def _execute(
        self,
        observed: Observed,
        plan: Plan,
        stop: Callable[[], bool],
        watcher: Watcher | None,
    ) -> list[Applied]:
        self._recorder.before(plan)
        if watcher is not None:
            watcher.planned(plan)

        def done(outcome: Applied) -> None:
            self._recorder.done(observed.repository, outcome)
            self._metrics.applied(outcome)
            if watcher is not None:
                watcher(outcome)

        with self._tracer.span("apply", changes=len(plan.changes)):
            try:
                outcomes = self._applier.apply(observed.repository, plan, done, stop)
            finally:
                self._recorder.written(plan.repository)
        for outcome in outcomes:
            if outcome.state in ("failed", "waiting") and outcome.message:
                log.warning("change not made", kind=outcome.change.kind, reason=outcome.message)
        return outcomes
