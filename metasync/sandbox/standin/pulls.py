"""Pull requests."""

from __future__ import annotations

import uuid

from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin import json_rows
from metasync.sandbox.standin.call import Call, Routes, page
from metasync.sandbox.standin.commits import Commits
from metasync.sandbox.standin.lake import Lake, R
from metasync.sandbox.standin.repository import (
    Pull,
    Refused,
)


class Pulls:
    """Pull requests."""

    def __init__(self, lake: Lake, commits: Commits) -> None:
        self.lake = lake
        self._commits = commits

    def routes(self) -> Routes:
        return [
            ("GET", f"{R}/pulls", self._list_pulls),
            ("POST", f"{R}/pulls", self._create_pull),
            ("GET", f"{R}/pulls/{{pull}}", self._get_pull),
            ("PUT", f"{R}/pulls/{{pull}}/merge", self._merge_pull),
        ]

    def _list_pulls(self, call: Call) -> Response:
        status = call.query.get("status", "all")
        # A merged pull request is not "closed" for a real server's filter either.
        pulls = [p for p in self.lake.repository(call).pulls.values() if status in ("all", p.status)]
        return page(call, [(p.id, json_rows.pull(p)) for p in pulls])

    def _create_pull(self, call: Call) -> Response:
        repository, body = self.lake.repository(call, write=True), call.json
        pull = Pull(
            uuid.uuid4().hex[:20], body["title"], body.get("description", ""), body["source_branch"],
            body["destination_branch"], json_rows.now(),
        )  # fmt: skip
        repository.pulls[pull.id] = pull
        return JSONResponse({"id": pull.id}, 201)

    def _get_pull(self, call: Call) -> Response:
        pull = self._pull_of(call)
        return JSONResponse({**json_rows.pull(pull), "description": pull.description})

    def _merge_pull(self, call: Call) -> Response:
        repository, pull = self.lake.repository(call, write=True), self._pull_of(call)
        commit = self._commits.merged(repository, pull.source, pull.destination, {})
        repository.close_pull(pull, commit, json_rows.now())
        return JSONResponse({"reference": commit})

    def _pull_of(self, call: Call) -> Pull:
        found = self.lake.repository(call).pulls.get(call.path["pull"])
        if found is None:
            raise Refused(404, "pull request not found")
        return found
