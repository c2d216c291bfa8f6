"""A running service's application, over its JSON API."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from pydantic import ValidationError

from metasync import errors
from metasync.application import answers
from metasync.application.interface import AnswersQueries, CarriesOutOrders, TakesRequests
from metasync.planning.merge import Side

if TYPE_CHECKING:
    # The engine is not loaded for questions to the store or to a service.
    from metasync.engine.controller import Watcher

A = TypeVar("A", bound=answers.Answer)
_TIMEOUT = httpx.Timeout(10.0, read=600.0)
_EVERY = 0.5


class RemoteApplication(AnswersQueries, TakesRequests, CarriesOutOrders):
    """Raises what the service itself would raise; ServiceUnavailable where none answers."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self._url}/api/v1", headers=headers, timeout=_TIMEOUT,
            transport=httpx.HTTPTransport(retries=2),
        )  # fmt: skip

    def close(self) -> None:
        self._http.close()

    # Queries

    def status(self) -> answers.Status:
        return self._get(answers.Status, "/status")

    def pauses(self) -> answers.Pauses:
        return self._get(answers.Pauses, "/pauses")

    def refs(self, repository: str | None = None) -> answers.Refs:
        return self._get(answers.Refs, "/refs", repository=repository)

    def ref(self, repository: str, ref: str) -> answers.RefPage:
        return self._get(answers.RefPage, f"/repositories/{repository}/ref", ref=ref)

    def table(self, repository: str, table: str) -> answers.TablePage:
        return self._get(answers.TablePage, f"/repositories/{repository}/table", table=table)

    def log(self, repository: str, table: str, limit: int = 50) -> answers.Log:
        return self._get(answers.Log, f"/repositories/{repository}/log", table=table, limit=limit)

    def conflicts(self, every: bool = False) -> answers.Conflicts:
        return self._get(answers.Conflicts, "/conflicts", every=every)

    def conflict(self, number: int) -> answers.Conflicts:
        return self._get(answers.Conflicts, f"/conflicts/{number}")

    def plans(self) -> answers.WaitingPlans:
        return self._get(answers.WaitingPlans, "/plans")

    def stored_plan(self, number: int) -> answers.StoredPlan:
        return self._get(answers.StoredPlan, f"/plans/{number}")

    def history(self, repository: str | None = None, table: str | None = None, limit: int = 50) -> answers.History:
        return self._get(answers.History, "/history", repository=repository, table=table, limit=limit)

    def events(self, states: Sequence[str] = (), limit: int = 50) -> answers.Events:
        return self._get(answers.Events, "/events", state=list(states), limit=limit)

    def explain(self, repository: str, ref: str, table: str) -> answers.Explanation:
        return self._get(answers.Explanation, f"/repositories/{repository}/explain", ref=ref, table=table)

    def search(self, query: str) -> answers.Search:
        return self._get(answers.Search, "/search", q=query)

    def diff(self, repository: str, one: str, other: str) -> answers.Diff:
        return self._get(answers.Diff, f"/repositories/{repository}/diff", one=one, other=other)

    def preview_merge(self, repository: str, source: str, destination: str) -> answers.Plans:
        where = f"/repositories/{repository}/merge"
        return self._get(answers.Plans, where, source=source, destination=destination)

    # Requests

    def pause(self, rule: str | None, reason: str, by: str, seconds: float | None) -> answers.Pauses:
        body = {"rule": rule, "reason": reason, "by": by, "seconds": seconds}
        return self._post(answers.Pauses, "/pauses", body)

    def resume(self, rule: str | None = None) -> answers.Pauses:
        return self._post(answers.Pauses, "/resume", {"rule": rule})

    def replay(self, number: int) -> answers.Queued:
        return self._post(answers.Queued, f"/events/{number}/replay", {})

    def replay_dead(self) -> answers.Queued:
        return self._post(answers.Queued, "/events/replay-dead", {})

    def discard(self, number: int) -> answers.Events:
        return self._post(answers.Events, f"/events/{number}/discard", {})

    def queue_full_sync(self, repository: str) -> answers.Queued:
        return self._post(answers.Queued, f"/repositories/{repository}/reconcile", {})

    def queue_sync(self, repository: str, ref: str) -> int:
        return self._post(answers.Queued, f"/repositories/{repository}/look", {"ref": ref}).events[0]

    def readiness(self, repository: str, ref: str, event: int) -> answers.Readiness:
        return self._get(answers.Readiness, f"/repositories/{repository}/readiness", ref=ref, event=event)

    def is_served(self) -> bool:
        return True

    # Orders

    def plan(self, repository: str | None = None) -> answers.Plans:
        return self._post(answers.Plans, "/plan", {"repository": repository})

    def reconcile(
        self, repository: str | None = None, watcher: Watcher | None = None, stop: Callable[[], bool] = lambda: False
    ) -> answers.Results:
        """Has the service sync, and waits until nothing of it is left to do; what was done is read from its history."""
        names = [repository] if repository else self._repositories()
        before = {conflict.id for conflict in self.conflicts().items}
        newest = max((entry.id for entry in self.history(limit=1).items), default=0)
        queued = [(name, self.queue_full_sync(name).events[0]) for name in names]
        results = []
        for name, number in queued:
            failed = self._worked_off(name, number, stop)
            refusals = [n.message for n in self.status().attention if n.repository == name and n.kind == "refused"]
            conflicts = {c.table for c in self.conflicts().items if c.repository == name and c.id not in before}
            done = [entry for entry in self.history(name, limit=1000).items if entry.id > newest]
            outcomes = [
                answers.Outcome(change=entry.action, subject=entry.table, state="done") for entry in reversed(done)
            ]
            outcomes += [answers.Outcome(change="merge-table", subject=t, state="conflict") for t in sorted(conflicts)]
            refused = refusals[0] if refusals else ""
            results.append(answers.Result(repository=name, refused=refused, outcomes=(*outcomes, *failed)))
        return answers.Results(items=tuple(results))

    def apply(self, plan_id: int, watcher: Watcher | None = None) -> answers.Results:
        return self._post(answers.Results, f"/plans/{plan_id}/apply", {})

    def resolve(
        self, conflict_id: int, side: Side, items: Sequence[str] = (), watcher: Watcher | None = None
    ) -> answers.Results:
        return self._post(answers.Results, f"/conflicts/{conflict_id}/resolve", {"side": side, "items": list(items)})

    def merge(
        self, repository: str, source: str, destination: str, by: str = "", watcher: Watcher | None = None
    ) -> answers.Results:
        body = {"source": source, "destination": destination, "by": by}
        return self._post(answers.Results, f"/repositories/{repository}/merge", body)

    def no_source(self, repository: str, commit: str, by: str = "") -> None:
        body = {"commit": commit, "source": None, "by": by}
        self._post(answers.Queued, f"/repositories/{repository}/merge-source", body)

    def preview_recreate(self, repository: str, ref: str) -> answers.Plans:
        return self._get(answers.Plans, f"/repositories/{repository}/recreate", ref=ref)

    def recreate(self, repository: str, ref: str, by: str = "", watcher: Watcher | None = None) -> answers.Results:
        return self._post(answers.Results, f"/repositories/{repository}/recreate", {"ref": ref, "by": by})

    def preview_repair(self, repository: str, ref: str, table: str = "", again: Sequence[str] = ()) -> answers.Plans:
        body = {"ref": ref, "table": table, "recreate": list(again), "dry_run": True}
        found = self._post(answers.Results, f"/repositories/{repository}/repair", body)
        return answers.Plans(items=tuple(plan for result in found.items for plan in result.plans))

    def repair(
        self,
        repository: str,
        ref: str,
        table: str = "",
        again: Sequence[str] = (),
        watcher: Watcher | None = None,
    ) -> answers.Results:
        body = {"ref": ref, "table": table, "recreate": list(again)}
        return self._post(answers.Results, f"/repositories/{repository}/repair", body)

    def keep(self, repository: str, ref: str, by: str = "") -> None:
        self._post(answers.Queued, f"/repositories/{repository}/keep", {"ref": ref, "by": by})

    def name_source(self, repository: str, commit: str, source: str) -> None:
        self._post(answers.Queued, f"/repositories/{repository}/merge-source", {"commit": commit, "source": source})

    def undo(self, name: str, dry_run: bool = False, watcher: Watcher | None = None) -> answers.Results:
        return self._post(answers.Results, "/undo", {"name": name, "dry_run": dry_run})

    def orphans(self) -> answers.Orphans:
        return self._get(answers.Orphans, "/orphans")

    def prune(self, watcher: Watcher | None = None) -> answers.Results:
        return self._post(answers.Results, "/prune", {})

    def adoptable(self, repository: str) -> answers.Adoptable:
        return self._get(answers.Adoptable, f"/repositories/{repository}/adoptable")

    def adopt(self, repository: str, force: bool = False) -> answers.Adopted:
        return self._post(answers.Adopted, f"/repositories/{repository}/adopt", {"force": force})

    # Parts

    def _repositories(self) -> list[str]:
        """Those that rules name, and those that are known by now."""
        named = {rule.repository for rule in self.status().rules if re.fullmatch(r"[a-z0-9-]+", rule.repository)}
        return sorted(named | {ref.repository for ref in self.refs().items})

    def _worked_off(self, name: str, number: int, stop: Callable[[], bool]) -> tuple[answers.Outcome, ...]:
        """Waits for the event, and for what the service puts into the queue to go on with it."""
        while not stop():
            event = self._get(answers.Events, f"/events/{number}").items[0]
            if event.state == "dead":
                return (answers.Outcome(change="sync", subject=f"event {number}", state="failed", message=event.error),)
            waiting = self.events(("queued", "claimed"), 1000).items if event.state in ("done", "discarded") else None
            if waiting is not None and not any(e.repository == name and e.event == "more" for e in waiting):
                return ()
            time.sleep(_EVERY)  # the API does not signal when an event is done
        return ()

    def _get(self, kind: type[A], path: str, **query: Any) -> A:
        given = {key: value for key, value in query.items() if value is not None}
        return self._answer(kind, lambda: self._http.get(path, params=given))

    def _post(self, kind: type[A], path: str, body: dict[str, Any]) -> A:
        return self._answer(kind, lambda: self._http.post(path, json=body))

    def _answer(self, kind: type[A], ask: Callable[[], httpx.Response]) -> A:
        try:
            response = ask()
        except httpx.HTTPError as error:
            raise errors.ServiceUnavailable(f"{self._url}: no service answers ({error})") from error
        if response.is_success:
            try:
                return kind.model_validate_json(response.content)
            except ValidationError as error:
                raise errors.ServiceUnavailable(
                    f"{self._url}: this is not an answer of metasync, or of another version: {error.errors()[0]['msg']}"
                ) from error
        raise _raised(self._url, response)


def _raised(url: str, response: httpx.Response) -> errors.MetasyncError:
    """The service's own error, as it was raised there."""
    try:
        problem = answers.Problem.model_validate_json(response.content)
    except ValidationError:
        return errors.ServiceUnavailable(f"{url}: answered {response.status_code}; is this a metasync?")
    if response.status_code == 401:
        return errors.UsageError(f"{url}: the token is missing or wrong: set METASYNC_TOKEN, or --token-file")
    for kind in errors.every():
        if errors.code_of(kind) == problem.code and kind is not errors.BadEvent:
            return kind(problem.error)
    return errors.UsageError(problem.error)
