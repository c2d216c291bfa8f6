"""The JSON API for programs: the application over HTTP, every answer with its kind and version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from metasync.application import answers
from metasync.application.orders import Orders
from metasync.application.queries import Queries
from metasync.application.requests import Requests
from metasync.settings.durations import parse_duration
from metasync.web.body import Number

_LONGEST = 600.0
_EVERY = 0.25
_STATUS = {"ready": 200, "unknown": 404, "refused": 409, "failed": 409}
_REFUSALS = {
    400: "the request cannot be read, or names something in a form that does not exist",
    401: "the token is missing or wrong",
    404: "it names something that does not exist",
    409: "the state does not allow it: it moved on, is paused, or a problem must be fixed first",
    422: "a value is missing or of the wrong type",
    500: "metasync failed",
    502: "lakeFS or the metastore refused",
    503: "lakeFS, the metastore or the store is away; try again",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Problem, "description": text} for status, text in _REFUSALS.items()
}

Limit = Annotated[int, Query(ge=1, le=1000)]
Name = Annotated[str, Path(max_length=128)]
Text = Annotated[str, Query(min_length=1, max_length=1024)]
DURATION = r"^([0-9]{1,4}([.][0-9]+)?(ms|s|m|h))+$"
"""What `parse_duration` takes whatever stands there: nothing that is over its ten years."""
LONGEST_DURATION = 20
"""Characters."""
Duration = Annotated[str, Query(max_length=LONGEST_DURATION, pattern=DURATION)]
EventState = Literal["queued", "claimed", "done", "dead", "discarded"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PauseBody(_Body):
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    rule: str | None = None
    by: Annotated[str, Field(max_length=200)] = "api"
    seconds: Annotated[float | None, Field(gt=0, le=10 * 365 * 86400)] = None


class ResumeBody(_Body):
    rule: str | None = None


class PlanBody(_Body):
    repository: str | None = None


class LookBody(_Body):
    ref: Annotated[str, Field(min_length=1, max_length=1024)]


class ResolveBody(_Body):
    side: Literal["ours", "theirs"]
    items: list[str] = []


class MergeBody(_Body):
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    destination: Annotated[str, Field(min_length=1, max_length=1024)]
    by: Annotated[str, Field(max_length=200)] = "api"


class SourceBody(_Body):
    commit: Annotated[str, Field(min_length=6, max_length=128)]
    source: Annotated[str, Field(min_length=1, max_length=1024)] | None
    by: Annotated[str, Field(max_length=200)] = "api"


class RefBody(_Body):
    ref: Annotated[str, Field(min_length=1, max_length=1024)]
    by: Annotated[str, Field(max_length=200)] = "api"


class RepairBody(_Body):
    ref: Annotated[str, Field(min_length=1, max_length=1024)]
    table: Annotated[str, Field(max_length=512)] = ""
    recreate: Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=1000)] = []
    dry_run: bool = False


class UndoBody(_Body):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    dry_run: bool = False


class AdoptBody(_Body):
    force: bool = False


class EmptyBody(_Body):
    pass


def make_api(queries: Queries, requests: Requests, orders: Orders, wake: Callable[[], None]) -> APIRouter:
    """The routes below `/api/v1`. `wake` has the worker take the next event."""
    api = APIRouter(prefix="/api/v1", responses=RESPONSES)
    _questions(api, queries, orders)
    _requests(api, requests, wake)
    _orders(api, orders, wake)
    _waiting(api, requests, wake)
    return api


def _questions(api: APIRouter, queries: Queries, orders: Orders) -> None:  # noqa: C901  a nested function a route
    @api.get("/status")
    def status() -> answers.Status:
        """What waits, what needs somebody, and how many refs are mirrored."""
        return queries.status()

    @api.get("/refs")
    def refs(repository: str | None = None) -> answers.Refs:
        """The refs that metasync knows."""
        return queries.refs(repository)

    @api.get("/repositories/{repository}/ref")
    def ref(repository: Name, ref: Text) -> answers.RefPage:
        """One ref, with its tables and the merges into it."""
        return queries.ref(repository, ref)

    @api.get("/repositories/{repository}/table")
    def table(repository: Name, table: Text) -> answers.TablePage:
        """The graph of a table's versions over every ref."""
        return queries.table(repository, table)

    @api.get("/repositories/{repository}/log")
    def log(repository: Name, table: Text, limit: Limit = 50) -> answers.Log:
        """A table's log on every ref: who changed what, from where."""
        return queries.log(repository, table, limit)

    @api.get("/repositories/{repository}/explain")
    def explain(repository: Name, ref: Text, table: Text) -> answers.Explanation:
        """Why a table is, or is not, mirrored for a ref."""
        return queries.explain(repository, ref, table)

    @api.get("/repositories/{repository}/diff")
    def diff(repository: Name, one: Text, other: Text) -> answers.Diff:
        """What leads from the tables of ref `one` to those of `other`. Reads lakeFS and the metastore."""
        return orders.diff(repository, one, other)

    @api.get("/repositories/{repository}/merge")
    def preview_merge(repository: Name, source: Text, destination: Text) -> answers.Plans:
        """What merging `source` into `destination` would do. Reads lakeFS and the metastore."""
        return orders.preview_merge(repository, source, destination)

    @api.get("/conflicts")
    def conflicts(every: bool = False) -> answers.Conflicts:
        """The items that a person must decide; with `every`, those that were, too."""
        return queries.conflicts(every)

    @api.get("/conflicts/{number}")
    def conflict(number: Number) -> answers.Conflicts:
        """All conflicts of the table and merge that one of them belongs to."""
        return queries.conflict(number)

    @api.get("/plans")
    def plans() -> answers.WaitingPlans:
        """The plans that wait for a person."""
        return queries.plans()

    @api.get("/plans/{number}")
    def plan(number: Number) -> answers.StoredPlan:
        """A plan that waits, or waited."""
        return queries.stored_plan(number)

    @api.get("/merges/{number}")
    def merge(number: Number) -> answers.MergePage:
        """A merge, and what it planned table by table."""
        return queries.merge(number)

    @api.get("/history")
    def history(repository: str | None = None, table: str | None = None, limit: Limit = 50) -> answers.History:
        """What was done, the newest first."""
        return queries.history(repository, table, limit)

    @api.get("/events")
    def events(state: Annotated[list[EventState] | None, Query()] = None, limit: Limit = 50) -> answers.Events:
        """Events, the newest first."""
        return queries.events(state or (), limit)

    @api.get("/events/{number}")
    def event(number: Number) -> answers.Events:
        """One event."""
        return queries.event(number)

    @api.get("/search")
    def search(q: Annotated[str, Query(max_length=1024)]) -> answers.Search:
        """Tables by logical or physical name, refs, merges by the beginning of their commit."""
        return queries.search(q)

    @api.get("/pauses")
    def pauses() -> answers.Pauses:
        """The pauses that hold."""
        return queries.pauses()


def _requests(api: APIRouter, requests: Requests, wake: Callable[[], None]) -> None:
    @api.post("/pauses")
    def pause(body: PauseBody) -> answers.Pauses:
        """Write nothing to the metastore for a rule, or at all, for a while."""
        return requests.pause(body.rule, body.reason, body.by, body.seconds)

    @api.post("/resume")
    def resume(body: ResumeBody) -> answers.Pauses:
        """End a pause and apply what is pending."""
        ended = requests.resume(body.rule)
        wake()
        return ended

    @api.post("/events/replay-dead")
    def replay_dead(_body: EmptyBody) -> answers.Queued:
        """Queue every dead event again."""
        queued = requests.replay_dead()
        wake()
        return queued

    @api.post("/events/{number}/replay")
    def replay(number: Number, _body: EmptyBody) -> answers.Queued:
        """Queue a dead, discarded or done event again."""
        queued = requests.replay(number)
        wake()
        return queued

    @api.post("/events/{number}/discard")
    def discard(number: Number, _body: EmptyBody) -> answers.Events:
        """Take a dead event off the list of what needs somebody."""
        return requests.discard(number)


def _orders(api: APIRouter, orders: Orders, wake: Callable[[], None]) -> None:  # noqa: C901  a nested function a route
    @api.post("/plan")
    def make_plan(body: PlanBody) -> answers.Plans:
        """What a reconcile would do. Writes nothing to the metastore."""
        return orders.plan(body.repository)

    @api.post("/plans/{number}/apply")
    def apply(number: Number, _body: EmptyBody) -> answers.Results:
        """Execute a stored plan exactly as it was shown."""
        return orders.apply(number)

    @api.post("/conflicts/{number}/resolve")
    def resolve(number: Number, body: ResolveBody) -> answers.Results:
        """Settle a table's conflicts for a side, or some of its items."""
        return orders.resolve(number, body.side, body.items)

    @api.post("/repositories/{repository}/merge")
    def merge(repository: Name, body: MergeBody) -> answers.Results:
        """Merge metadata alone, where lakeFS has no data to merge."""
        return orders.merge(repository, body.source, body.destination, body.by)

    @api.post("/repositories/{repository}/merge-source")
    def merge_source(repository: Name, body: SourceBody) -> answers.Queued:
        """Tell what a merge commit was made from that waits as `source unknown`; null where it has no source."""
        if body.source is None:
            orders.no_source(repository, body.commit, body.by)
        else:
            orders.name_source(repository, body.commit, body.source)
        wake()
        return answers.Queued()

    @api.get("/repositories/{repository}/recreate")
    def preview_recreate(repository: Name, ref: Text) -> answers.Plans:
        """What would be dropped if a branch were taken for a new one. Reads lakeFS and the metastore."""
        return orders.preview_recreate(repository, ref)

    @api.post("/repositories/{repository}/recreate")
    def recreate(repository: Name, body: RefBody) -> answers.Results:
        """Take a branch for a new one: drop its mirrors and tables, and create its mirrors anew."""
        return orders.recreate(repository, body.ref, body.by)

    @api.post("/repositories/{repository}/repair")
    def repair(repository: Name, body: RepairBody) -> answers.Results:
        """Put right what metasync imposes on a ref's mirrors; a dry run only tells. Reads lakeFS and the metastore."""
        if body.dry_run:
            plans = orders.preview_repair(repository, body.ref, body.table, body.recreate).items
            return answers.Results(items=tuple(answers.Result(repository=repository, plans=(plan,)) for plan in plans))
        return orders.repair(repository, body.ref, body.table, body.recreate)

    @api.post("/repositories/{repository}/keep")
    def keep(repository: Name, body: RefBody) -> answers.Queued:
        """Take a branch that may have been created again for the one that is known."""
        orders.keep(repository, body.ref, body.by)
        return answers.Queued()

    @api.get("/orphans")
    def orphans() -> answers.Orphans:
        """The mirrors that no rule wants any more. Reads lakeFS and the metastore."""
        return orders.orphans()

    @api.post("/prune")
    def prune(_body: EmptyBody) -> answers.Results:
        """Drop the mirrors that no rule wants any more. Metadata only."""
        return orders.prune()

    @api.get("/repositories/{repository}/adoptable")
    def adoptable(repository: Name) -> answers.Adoptable:
        """What bears the marks of this instance and the repository, whatever store made it. Reads every table."""
        return orders.adoptable(repository)

    @api.post("/repositories/{repository}/adopt")
    def adopt(repository: Name, body: AdoptBody) -> answers.Adopted:
        """Take over what another store made; with `force`, forget the merge bases of a healthy store, too."""
        return orders.adopt(repository, body.force)

    @api.post("/undo")
    def undo(body: UndoBody) -> answers.Results:
        """Take back what a merge or an applied plan did to the metadata."""
        return orders.undo(body.name, body.dry_run)


def _waiting(api: APIRouter, requests: Requests, wake: Callable[[], None]) -> None:
    @api.post("/repositories/{repository}/reconcile", status_code=202)
    def reconcile(repository: Name, _body: EmptyBody) -> answers.Queued:
        """Have the service sync the repository in full; `/events/NUMBER` shows when it is done."""
        queued = requests.queue_full_sync(repository)
        wake()
        return queued

    @api.post("/repositories/{repository}/look", status_code=202)
    def sync(repository: Name, body: LookBody) -> answers.Queued:
        """Have the service sync a ref; `readiness` shows how far it is."""
        queued = answers.Queued(events=(requests.queue_sync(repository, body.ref),), number=1)
        wake()
        return queued

    @api.get("/repositories/{repository}/readiness")
    def readiness(repository: Name, ref: Text, event: Annotated[int, Query(ge=1, le=2**31 - 1)]) -> answers.Readiness:
        """How far a ref's tables are, as of the event that `look` gave."""
        return requests.readiness(repository, ref, event)

    waits: dict[int | str, dict[str, Any]] = {
        200: {"description": "the tables are there"},
        202: {"model": answers.Readiness, "description": "not yet, when the time was over"},
        404: {"model": answers.Readiness | answers.Problem, "description": "lakeFS has no such ref"},
        409: {"model": answers.Readiness | answers.Problem, "description": "a problem must be fixed first"},
    }

    @api.get("/repositories/{repository}/wait", response_model=answers.Readiness, responses=waits)
    async def wait(request: Request, repository: Name, ref: Text, timeout: Duration = "60s") -> Response:
        """Wait until the tables of a ref are there, and the merges into it done."""
        deadline = time.monotonic() + min(parse_duration(timeout), _LONGEST)
        event = await run_in_threadpool(requests.queue_sync, repository, ref)
        wake()
        while True:
            found = await run_in_threadpool(requests.readiness, repository, ref, event)
            if found.over or time.monotonic() > deadline or await request.is_disconnected():
                return JSONResponse(found.model_dump(mode="json"), _STATUS.get(found.state, 202))
            await asyncio.sleep(_EVERY)
