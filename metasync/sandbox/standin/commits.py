"""Commits, merges, reverts, resets, logs and differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin import json_rows
from metasync.sandbox.standin.actions import commit_known
from metasync.sandbox.standin.call import Call, Routes, event_of, page
from metasync.sandbox.standin.lake import Lake, R
from metasync.sandbox.standin.repository import (
    Refused,
    StoredCommit,
    StoredRepository,
    differences,
)


class Commits:
    """Commits, merges, reverts, resets, logs and differences."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def routes(self) -> Routes:
        return [
            ("PUT", f"{R}/branches/{{branch}}", self._reset),
            ("PUT", f"{R}/branches/{{branch}}/hard_reset", self._hard_reset),
            ("POST", f"{R}/branches/{{branch}}/commits", self._commit),
            ("POST", f"{R}/branches/{{branch}}/revert", self._revert),
            ("POST", f"{R}/branches/{{branch}}/cherry-pick", self._cherry_pick),
            ("GET", f"{R}/commits/{{commit}}", self._get_commit),
            ("GET", f"{R}/refs/{{ref}}/commits", self._log),
            ("GET", f"{R}/refs/{{ref}}/diff/{{other}}", self._diff),
            ("GET", f"{R}/refs/{{ref}}/merge/{{branch}}", self._merge_base),
            ("POST", f"{R}/refs/{{ref}}/merge/{{branch}}", self._merge),
        ]

    def _get_commit(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        try:
            return JSONResponse(json_rows.commit(repository.commits[repository.resolve(call.path["commit"])]))
        except Refused as error:
            raise Refused(404, "commit not found") from error

    def _commit(self, call: Call) -> Response:
        repository, branch, body = self.lake.repository(call, write=True), call.path["branch"], call.json
        commit = repository.prepare_commit(
            branch, body["message"], body.get("metadata") or {}, allow_empty=bool(body.get("allow_empty"))
        )
        payload = {"branch_id": branch, "source_ref": branch, **described(commit)}
        runs = [
            run
            for event in ("prepare-commit", "pre-commit")
            for run in self.lake.actions.pre(repository, branch, event_of(repository, event, payload))
        ]
        self._finish(repository, branch, commit, "post-commit", payload, runs)
        return JSONResponse(json_rows.commit(commit), 201)

    def _merge(self, call: Call) -> Response:
        repository = self.lake.repository(call, write=True)
        return JSONResponse({"reference": self.merged(repository, call.path["ref"], call.path["branch"], call.json)})

    def merged(self, repository: StoredRepository, source: str, destination: str, body: Mapping[str, Any]) -> str:
        """Merges, with the actions before and after; gives the merge commit."""
        head = repository.resolve(source)
        commit = repository.prepare_merge(source, destination, body)
        payload = {"branch_id": destination, "commit_id": commit.id, "merge_source": source, **described(commit)}
        before = event_of(repository, "pre-merge", {**payload, "source_ref": head})
        runs = self.lake.actions.pre(repository, head, before, destination)
        self._finish(repository, destination, commit, "post-merge", payload, runs)
        return commit.id

    def _revert(self, call: Call) -> Response:
        repository, branch, body = self.lake.repository(call, write=True), call.path["branch"], call.json
        commit = repository.prepare_revert(branch, body["ref"], int(body.get("parent_number", 0)))
        payload = {"branch_id": branch, "source_ref": branch, **described(commit)}
        runs = self.lake.actions.pre(repository, branch, event_of(repository, "pre-revert", payload))
        self._finish(repository, branch, commit, "post-revert", payload, runs)
        return Response(status_code=204)

    def _cherry_pick(self, call: Call) -> Response:
        repository, branch = self.lake.repository(call, write=True), call.path["branch"]
        commit = repository.prepare_cherry_pick(branch, call.json["ref"])
        payload = {"branch_id": branch, "source_ref": branch, **described(commit)}
        self.lake.actions.pre(repository, branch, event_of(repository, "pre-cherry-pick", payload))
        self._finish(repository, branch, commit, "post-cherry-pick", payload, [])
        return JSONResponse(json_rows.commit(commit), 201)

    def _finish(
        self,
        repository: StoredRepository,
        branch: str,
        commit: StoredCommit,
        event: str,
        payload: Mapping[str, Any],
        runs: list[Any],
    ) -> None:
        repository.apply(branch, commit)
        commit_known(runs, commit.id)
        self.lake.show(repository, branch)
        after = event_of(repository, event, {**payload, "source_ref": commit.id, "commit_id": commit.id})
        self.lake.actions.post(repository, commit.id, after)

    def _reset(self, call: Call) -> Response:
        self.lake.repository(call, write=True).branch(call.path["branch"]).staged.clear()
        return Response(status_code=204)

    def _hard_reset(self, call: Call) -> Response:
        self.lake.repository(call, write=True).hard_reset(call.path["branch"], call.query["ref"])
        return Response(status_code=204)

    def _log(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        head = repository.resolve(call.path["ref"])
        first_parent = call.query.get("first_parent", "").lower() == "true"
        found = list(repository.first_parents(head)) if first_parent else repository.log(head)
        stop = call.query.get("stop_at")
        if stop:
            index = next((i for i, c in enumerate(found) if c.id == stop), len(found) - 1)
            found = found[: index + 1]
        return page(call, [(c.id, json_rows.commit(c)) for c in found], ordered=False)

    def _diff(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        left, right = call.path["ref"], call.path["other"]
        try:
            one, other = repository.resolve(left), repository.resolve(right)
        except Refused as error:
            raise Refused(404, f"get commit by branch {left}: not found") from error
        if call.query.get("type", "three_dot") == "three_dot":
            one = repository.merge_base(one, other)
        before, after = repository.commits[one].tree, repository.commits[other].tree
        rows: dict[str, dict[str, Any]] = {}
        prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
        for path, kind in differences(before, after):
            if not path.startswith(prefix):
                continue
            child, slash, _ = path.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            if slash:
                name = prefix + child + slash
                rows[name] = {"path": name, "path_type": "common_prefix", "type": "prefix_changed"}
            else:
                size = len((after.get(path) or before[path]).content)
                rows[path] = {"path": path, "path_type": "object", "size_bytes": size, "type": kind}
        return page(call, list(rows.items()), prefixed=False)

    def _merge_base(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        source, destination = repository.resolve(call.path["ref"]), repository.resolve(call.path["branch"])
        # Source and destination stand the wrong way round in a real server's answer too.
        return JSONResponse(
            {
                "base_commit_id": repository.merge_base(source, destination),
                "destination_commit_id": source,
                "source_commit_id": destination,
            }
        )


def described(commit: StoredCommit) -> dict[str, Any]:
    described = {"commit_message": commit.message, "committer": commit.committer}
    return {**described, "commit_metadata": dict(commit.metadata)} if commit.metadata else described
