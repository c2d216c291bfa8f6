"""What the status page does, where `server.ui_actions` allows it: each shows first what it would do, then does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from metasync.application.orders import Orders
from metasync.application.queries import Queries
from metasync.application.requests import Requests
from metasync.errors import BadEvent
from metasync.planning.merge import Side
from metasync.settings.durations import parse_duration
from metasync.web.body import Number, read_form
from metasync.web.rendering import Pages

_BY = "status page"


def add_actions(  # noqa: C901  a nested function a route
    router: APIRouter, pages: Pages, queries: Queries, requests: Requests, orders: Orders, wake: Callable[[], None]
) -> None:
    """Adds the routes below `/do`."""

    async def form_of(request: Request) -> dict[str, list[str]]:
        form = await read_form(request)
        pages.sessions.check_form(request.state.session, form.get("word", [""])[0])
        return form

    async def shown(request: Request, template: str, order: Callable[[], Any], **values: Any) -> Response:
        results = await run_in_threadpool(order)
        return pages.show(request, template, results=results, **values)

    @router.get("/do/reconcile")
    def preview_reconcile(request: Request, repository: str) -> Response:
        plans = orders.plan(repository).items
        return pages.show(request, "do_reconcile.html", repository=repository, plans=plans)

    @router.post("/do/reconcile")
    async def reconcile(request: Request) -> Response:
        repository = _one(await form_of(request), "repository")
        queued = await run_in_threadpool(requests.queue_full_sync, repository)
        wake()
        return RedirectResponse(f"/event/{queued.events[0]}", 303)

    @router.post("/do/apply/{number}")
    async def apply(request: Request, number: Number) -> Response:
        await form_of(request)
        return await shown(request, "done.html", lambda: orders.apply(number), title=f"Plan {number}")

    @router.post("/do/preview-resolve/{number}")
    async def preview_resolve(request: Request, number: Number) -> Response:
        form = await form_of(request)
        side, items = _side(form), form.get("item", [])
        if not items:
            raise BadEvent("choose at least one item")
        plans = await run_in_threadpool(orders.preview_resolve, number, side, items)
        conflicts = queries.conflict(number).items
        return pages.show(
            request, "do_resolve.html", number=number, side=side, items=items, plan=plans.items[0],
            conflicts=conflicts, open_=[c for c in conflicts if not c.chosen and items and c.item not in items],
        )  # fmt: skip

    @router.post("/do/resolve/{number}")
    async def resolve(request: Request, number: Number) -> Response:
        form = await form_of(request)
        side, items = _side(form), form.get("item", [])
        return await shown(
            request, "done.html", lambda: orders.resolve(number, side, items), title=f"Conflict {number}"
        )

    @router.get("/do/replay/{number}")
    def preview_replay(request: Request, number: Number) -> Response:
        event = queries.event(number).items[0]
        plans = orders.plan(event.repository).items
        return pages.show(request, "do_replay.html", event=event, plans=plans)

    @router.post("/do/replay/{number}")
    async def replay(request: Request, number: Number) -> Response:
        await form_of(request)
        await run_in_threadpool(requests.replay, number)
        wake()
        return RedirectResponse(f"/event/{number}", 303)

    @router.get("/do/pause")
    def preview_pause(request: Request) -> Response:
        status = queries.status()
        waiting = [note for note in status.notes if note.kind == "paused"]
        return pages.show(request, "do_pause.html", rules=status.rules, paused=status.paused, waiting=waiting)

    @router.post("/do/pause")
    async def pause(request: Request) -> Response:
        form = await form_of(request)
        rule, reason, length = _one(form, "rule"), _one(form, "reason"), _one(form, "for")
        try:
            seconds = parse_duration(length) if length else None
        except ValueError as error:
            raise BadEvent(f"for how long: {error}") from error
        await run_in_threadpool(requests.pause, rule or None, reason, _BY, seconds)
        return RedirectResponse("/", 303)

    @router.post("/do/resume/{number}")
    async def resume(request: Request, number: Number) -> Response:
        await form_of(request)
        await run_in_threadpool(requests.resume_one, number)
        wake()
        return RedirectResponse("/", 303)


def _one(form: dict[str, list[str]], field: str) -> str:
    return form.get(field, [""])[0].strip()


def _side(form: dict[str, list[str]]) -> Side:
    match _one(form, "side"):
        case "ours":
            return "ours"
        case "theirs":
            return "theirs"
    raise BadEvent("choose a side: ours or theirs")
