"""The HTTP API, on the paths and with the answers of a real server (recorded; lakeFS 1.84)."""

from __future__ import annotations

import base64
import email
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from metasync.sandbox.metastore import free_port, pause
from metasync.sandbox.standin.actions import Actions, commit_known
from metasync.sandbox.standin.repository import (
    Branch,
    Object,
    Pull,
    Refused,
    StoredCommit,
    StoredRepository,
    differences,
)

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
_LARGEST_PAGE = 1000
Handler = Callable[["_Call"], Response]


class _Call:
    """One request: its path's parts, its query, its body."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path = request.path_params
        self.query = request.query_params
        self.raw = body
        self.content_type = request.headers.get("content-type", "")

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.raw) if self.raw else {}
        return value if isinstance(value, dict) else {}

    @property
    def content(self) -> bytes:
        """An uploaded object: the body, or the first part of a form, as the SDK sends it."""
        if not self.content_type.startswith("multipart/"):
            return self.raw
        message = email.message_from_bytes(b"Content-Type: " + self.content_type.encode() + b"\r\n\r\n" + self.raw)
        payload = next((part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()), b"")
        return payload if isinstance(payload, bytes) else b""


class StandIn:
    """The stand-in as a server on loopback, with everything in memory.

    `mirror` is a folder in which each ref's directories are made, `mirror/REPOSITORY/REF/...`: where objects are,
    lakeFS's S3 gateway shows directories, and a metastore that is mapped to that folder must find them.
    """

    def __init__(
        self,
        port: int | None = None,
        mirror: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.actions = Actions(environment, clock)
        self.repositories: dict[str, StoredRepository] = {}
        self._mirror = mirror
        self._lock = threading.RLock()
        config = uvicorn.Config(
            self.app(), host="127.0.0.1", port=self.port, log_config=None, access_log=False, lifespan="off",
            # Its own is up to a second late; lakeFS's is exact.
            date_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="lakefs-stand-in", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            pause()

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()

    def app(self) -> Starlette:
        r = "/api/v1/repositories/{repository}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/api/v1/config", self._config),
            ("GET", "/api/v1/repositories", self._list_repositories),
            ("POST", "/api/v1/repositories", self._create_repository),
            ("GET", r, self._get_repository),
            ("DELETE", r, self._delete_repository),
            ("GET", f"{r}/branches", self._list_branches),
            ("POST", f"{r}/branches", self._create_branch),
            ("GET", f"{r}/branches/{{branch}}", self._get_branch),
            ("DELETE", f"{r}/branches/{{branch}}", self._delete_branch),
            ("PUT", f"{r}/branches/{{branch}}", self._reset),
            ("PUT", f"{r}/branches/{{branch}}/hard_reset", self._hard_reset),
            ("GET", f"{r}/branches/{{branch}}/diff", self._uncommitted),
            ("POST", f"{r}/branches/{{branch}}/commits", self._commit),
            ("POST", f"{r}/branches/{{branch}}/objects", self._upload),
            ("DELETE", f"{r}/branches/{{branch}}/objects", self._delete_object),
            ("POST", f"{r}/branches/{{branch}}/revert", self._revert),
            ("POST", f"{r}/branches/{{branch}}/cherry-pick", self._cherry_pick),
            ("GET", f"{r}/tags", self._list_tags),
            ("POST", f"{r}/tags", self._create_tag),
            ("GET", f"{r}/tags/{{tag:path}}", self._get_tag),
            ("DELETE", f"{r}/tags/{{tag:path}}", self._delete_tag),
            ("GET", f"{r}/commits/{{commit}}", self._get_commit),
            ("GET", f"{r}/refs/{{ref}}/commits", self._log),
            ("GET", f"{r}/refs/{{ref}}/diff/{{other}}", self._diff),
            ("GET", f"{r}/refs/{{ref}}/merge/{{branch}}", self._merge_base),
            ("POST", f"{r}/refs/{{ref}}/merge/{{branch}}", self._merge),
            ("GET", f"{r}/refs/{{ref}}/objects/ls", self._list_objects),
            ("GET", f"{r}/refs/{{ref}}/objects/stat", self._stat),
            ("GET", f"{r}/refs/{{ref}}/objects", self._get_object),
            ("GET", f"{r}/actions/runs", self._list_runs),
            ("GET", f"{r}/actions/runs/{{run}}", self._get_run),
            ("GET", f"{r}/actions/runs/{{run}}/hooks", self._list_hooks),
            ("GET", f"{r}/actions/runs/{{run}}/hooks/{{hook}}/output", self._hook_output),
            ("GET", f"{r}/pulls", self._list_pulls),
            ("POST", f"{r}/pulls", self._create_pull),
            ("GET", f"{r}/pulls/{{pull}}", self._get_pull),
            ("PUT", f"{r}/pulls/{{pull}}/merge", self._merge_pull),
        ]
        routes = [Route(path, self._endpoint(handler), methods=[method]) for method, path, handler in table]
        routes.append(Route("/api/v1/healthcheck", lambda _: Response(status_code=204)))
        return Starlette(routes=routes)

    def _endpoint(self, handler: Handler) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if not _authentic(request.headers.get("authorization", "")):
                return JSONResponse({"message": "error authenticating request"}, 401)
            call = _Call(request, await request.body())

            def locked() -> Response:
                with self._lock:
                    return handler(call)

            try:
                response = await run_in_threadpool(locked)
            except Refused as error:
                body = {"message": str(error)} if str(error) else {"reference": ""}
                response = JSONResponse(body, error.status)
            response.headers["Date"] = formatdate(usegmt=True)
            return response

        return answer

    # Repositories

    def _config(self, _call: _Call) -> Response:
        return JSONResponse(
            {
                "capabilities_config": {},
                "storage_config": {
                    "blockstore_description": "", "blockstore_id": "",
                    "blockstore_namespace_ValidityRegex": "^local://",
                    "blockstore_namespace_example": "local://example-bucket/", "blockstore_type": "local",
                    "default_namespace_prefix": "local://", "import_support": False,
                    "import_validity_regex": "^local://", "pre_sign_multipart_upload": False,
                    "pre_sign_support": False, "pre_sign_support_ui": False,
                },
                "storage_config_list": [],
                "ui_config": {},
                "version_config": {"version": "dev", "version_context": "lakeFS"},
            }
        )  # fmt: skip

    def _list_repositories(self, call: _Call) -> Response:
        return _page(call, [(name, _repository(r)) for name, r in sorted(self.repositories.items())])

    def _create_repository(self, call: _Call) -> Response:
        body = call.json
        if body["name"] in self.repositories:
            raise Refused(409, "error creating repository: not unique")
        made = StoredRepository(
            body["name"], body["storage_namespace"], body.get("default_branch") or "main",
            read_only=bool(body.get("read_only")),
        )  # fmt: skip
        self.repositories[made.name] = made
        self._show(made, made.default_branch)
        return JSONResponse(_repository(made), 201)

    def _get_repository(self, call: _Call) -> Response:
        return JSONResponse(_repository(self._repository(call)))

    def _delete_repository(self, call: _Call) -> Response:
        del self.repositories[self._repository(call).name]
        return Response(status_code=204)

    def _repository(self, call: _Call, *, write: bool = False) -> StoredRepository:
        found = self.repositories.get(call.path["repository"])
        if found is None:
            raise Refused(404, "repository not found")
        if write and found.read_only:
            raise Refused(403, "read-only repository")
        return found

    # Branches and tags

    def _list_branches(self, call: _Call) -> Response:
        repository = self._repository(call)
        return _page(call, [(n, _ref(n, b.commit)) for n, b in sorted(repository.branches.items()) if not b.hidden])

    def _get_branch(self, call: _Call) -> Response:
        name = call.path["branch"]
        return JSONResponse(_ref(name, self._repository(call).branch(name).commit))

    def _create_branch(self, call: _Call) -> Response:
        repository, body = self._repository(call, write=True), call.json
        name, source = body["name"], body["source"]
        repository.check_branch_name(name)
        commit = repository.resolve(source)
        payload = {"branch_id": name, "source_ref": source, "commit_id": commit}
        self.actions.pre(repository, source, _event(repository, "pre-create-branch", payload))
        repository.branches[name] = Branch(commit, hidden=bool(body.get("hidden")))
        self._show(repository, name)
        self.actions.post(repository, source, _event(repository, "post-create-branch", payload))
        return Response(commit, 201, media_type="text/plain")

    def _delete_branch(self, call: _Call) -> Response:
        repository, name = self._repository(call, write=True), call.path["branch"]
        if name == repository.default_branch:
            raise Refused(403, "cannot delete repository default branch")
        tip = repository.branch(name).commit
        payload = {"branch_id": name, "source_ref": tip}
        self.actions.pre(repository, tip, _event(repository, "pre-delete-branch", payload))
        del repository.branches[name]
        self.actions.post(repository, tip, _event(repository, "post-delete-branch", payload))
        return Response(status_code=204)

    def _list_tags(self, call: _Call) -> Response:
        return _page(call, [(n, _ref(n, c)) for n, c in sorted(self._repository(call).tags.items())])

    def _get_tag(self, call: _Call) -> Response:
        repository, name = self._repository(call), call.path["tag"]
        repository.check_tag_name(name)
        if name not in repository.tags:
            raise Refused(404, "tag not found")
        return JSONResponse(_ref(name, repository.tags[name]))

    def _create_tag(self, call: _Call) -> Response:
        repository, body = self._repository(call, write=True), call.json
        name = body["id"]
        repository.check_tag_name(name)
        if name in repository.tags:
            raise Refused(409, "tag already exists: not unique")
        commit = repository.resolve(body["ref"])
        payload = {"source_ref": commit, "tag_id": name, "commit_id": commit}
        self.actions.pre(repository, commit, _event(repository, "pre-create-tag", payload))
        repository.tags[name] = commit
        self._show(repository, name)
        self.actions.post(repository, commit, _event(repository, "post-create-tag", payload))
        return JSONResponse(_ref(name, commit), 201)

    def _delete_tag(self, call: _Call) -> Response:
        repository, name = self._repository(call, write=True), call.path["tag"]
        if name not in repository.tags:
            raise Refused(404, "tag not found")
        commit = repository.tags[name]
        payload = {"source_ref": commit, "tag_id": name, "commit_id": commit}
        self.actions.pre(repository, commit, _event(repository, "pre-delete-tag", payload))
        del repository.tags[name]
        self.actions.post(repository, commit, _event(repository, "post-delete-tag", payload))
        return Response(status_code=204)

    def _show(self, repository: StoredRepository, ref: str) -> None:
        if self._mirror is None or "/" in ref:
            return
        root = self._mirror / repository.name / ref
        root.mkdir(parents=True, exist_ok=True)
        for path in repository.tree_of(ref):
            (root / path).parent.mkdir(parents=True, exist_ok=True)

    # Commits

    def _get_commit(self, call: _Call) -> Response:
        repository = self._repository(call)
        try:
            return JSONResponse(_commit(repository.commits[repository.resolve(call.path["commit"])]))
        except Refused as error:
            raise Refused(404, "commit not found") from error

    def _commit(self, call: _Call) -> Response:
        repository, branch, body = self._repository(call, write=True), call.path["branch"], call.json
        commit = repository.prepare_commit(
            branch, body["message"], body.get("metadata") or {}, allow_empty=bool(body.get("allow_empty"))
        )
        payload = {"branch_id": branch, "source_ref": branch, **_describe(commit)}
        runs = [
            run
            for event in ("prepare-commit", "pre-commit")
            for run in self.actions.pre(repository, branch, _event(repository, event, payload))
        ]
        self._finish(repository, branch, commit, "post-commit", payload, runs)
        return JSONResponse(_commit(commit), 201)

    def _merge(self, call: _Call) -> Response:
        repository = self._repository(call, write=True)
        return JSONResponse({"reference": self._merged(repository, call.path["ref"], call.path["branch"], call.json)})

    def _merged(self, repository: StoredRepository, source: str, destination: str, body: Mapping[str, Any]) -> str:
        head = repository.resolve(source)
        commit = repository.prepare_merge(source, destination, body)
        payload = {"branch_id": destination, "commit_id": commit.id, "merge_source": source, **_describe(commit)}
        before = _event(repository, "pre-merge", {**payload, "source_ref": head})
        runs = self.actions.pre(repository, head, before, destination)
        self._finish(repository, destination, commit, "post-merge", payload, runs)
        return commit.id

    def _revert(self, call: _Call) -> Response:
        repository, branch, body = self._repository(call, write=True), call.path["branch"], call.json
        commit = repository.prepare_revert(branch, body["ref"], int(body.get("parent_number", 0)))
        payload = {"branch_id": branch, "source_ref": branch, **_describe(commit)}
        runs = self.actions.pre(repository, branch, _event(repository, "pre-revert", payload))
        self._finish(repository, branch, commit, "post-revert", payload, runs)
        return Response(status_code=204)

    def _cherry_pick(self, call: _Call) -> Response:
        repository, branch = self._repository(call, write=True), call.path["branch"]
        commit = repository.prepare_cherry_pick(branch, call.json["ref"])
        payload = {"branch_id": branch, "source_ref": branch, **_describe(commit)}
        self.actions.pre(repository, branch, _event(repository, "pre-cherry-pick", payload))
        self._finish(repository, branch, commit, "post-cherry-pick", payload, [])
        return JSONResponse(_commit(commit), 201)

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
        self._show(repository, branch)
        after = _event(repository, event, {**payload, "source_ref": commit.id, "commit_id": commit.id})
        self.actions.post(repository, commit.id, after)

    def _reset(self, call: _Call) -> Response:
        self._repository(call, write=True).branch(call.path["branch"]).staged.clear()
        return Response(status_code=204)

    def _hard_reset(self, call: _Call) -> Response:
        self._repository(call, write=True).hard_reset(call.path["branch"], call.query["ref"])
        return Response(status_code=204)

    def _log(self, call: _Call) -> Response:
        repository = self._repository(call)
        head = repository.resolve(call.path["ref"])
        first_parent = call.query.get("first_parent", "").lower() == "true"
        found = list(repository.first_parents(head)) if first_parent else repository.log(head)
        stop = call.query.get("stop_at")
        if stop:
            index = next((i for i, c in enumerate(found) if c.id == stop), len(found) - 1)
            found = found[: index + 1]
        return _page(call, [(c.id, _commit(c)) for c in found], ordered=False)

    def _diff(self, call: _Call) -> Response:
        repository = self._repository(call)
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
        return _page(call, list(rows.items()), prefixed=False)

    def _merge_base(self, call: _Call) -> Response:
        repository = self._repository(call)
        source, destination = repository.resolve(call.path["ref"]), repository.resolve(call.path["branch"])
        # Source and destination stand the wrong way round in a real server's answer too.
        return JSONResponse(
            {
                "base_commit_id": repository.merge_base(source, destination),
                "destination_commit_id": source,
                "source_commit_id": destination,
            }
        )

    # Objects

    def _upload(self, call: _Call) -> Response:
        repository, path = self._repository(call, write=True), call.query["path"]
        made = repository.put(call.path["branch"], path, call.content)
        self._show(repository, call.path["branch"])
        return JSONResponse({**_object(path, made), "metadata": {}}, 201)

    def _delete_object(self, call: _Call) -> Response:
        self._repository(call, write=True).remove(call.path["branch"], call.query["path"])
        return Response(status_code=204)

    def _uncommitted(self, call: _Call) -> Response:
        found = self._repository(call).uncommitted(call.path["branch"])
        return _page(call, [(p, {"path": p, "path_type": "object", "type": kind}) for p, kind in found])

    def _list_objects(self, call: _Call) -> Response:
        tree = self._repository(call).tree_of(call.path["ref"])
        prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
        rows: dict[str, dict[str, Any]] = {}
        for path in sorted(tree):
            if not path.startswith(prefix):
                continue
            child, slash, _ = path.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            if slash:
                name = prefix + child + slash
                rows[name] = {
                    "checksum": "", "mtime": 0, "path": name, "path_type": "common_prefix", "physical_address": "",
                }  # fmt: skip
            else:
                rows[path] = _object(path, tree[path])
        return _page(call, list(rows.items()))

    def _stat(self, call: _Call) -> Response:
        found = self._object(call)
        return JSONResponse({**_object(call.query["path"], found), "metadata": {}})

    def _get_object(self, call: _Call) -> Response:
        return Response(self._object(call).content, media_type="application/octet-stream")

    def _object(self, call: _Call) -> Object:
        found = self._repository(call).tree_of(call.path["ref"]).get(call.query["path"])
        if found is None:
            raise Refused(404, "not found")
        return found

    # Runs

    def _list_runs(self, call: _Call) -> Response:
        repository = self._repository(call)
        branch, commit = call.query.get("branch", ""), call.query.get("commit", "")
        runs = sorted(self.actions.runs.get(repository.name, []), key=lambda run: run.run_id)
        # lakeFS takes both for the beginning of a key, `BRANCH/RUN` or `COMMIT/RUN`.
        found = [r for r in runs if f"{r.branch}/".startswith(branch) and f"{r.commit_id}/".startswith(commit)]
        return _page(call, [(r.run_id, _run(r)) for r in found])

    def _run_of(self, call: _Call) -> Any:
        runs = self.actions.runs.get(self._repository(call).name, [])
        found = next((run for run in runs if run.run_id == call.path["run"]), None)
        if found is None:
            raise Refused(404, "run id not found")
        return found

    def _get_run(self, call: _Call) -> Response:
        return JSONResponse(_run(self._run_of(call)))

    def _list_hooks(self, call: _Call) -> Response:
        rows = [
            (
                h.hook_run_id,
                {
                    "action": h.action, "end_time": h.end, "hook_id": h.hook_id, "hook_run_id": h.hook_run_id,
                    "start_time": h.start, "status": h.status,
                },
            )
            for h in self._run_of(call).hooks
        ]  # fmt: skip
        return _page(call, rows)

    def _hook_output(self, call: _Call) -> Response:
        for hook in self._run_of(call).hooks:
            if hook.hook_run_id == call.path["hook"]:
                return Response(hook.output, media_type="application/octet-stream")
        raise Refused(404, "hook run id not found")

    # Pull requests

    def _list_pulls(self, call: _Call) -> Response:
        status = call.query.get("status", "all")
        # A merged pull request is not "closed" for a real server's filter either.
        pulls = [p for p in self._repository(call).pulls.values() if status in ("all", p.status)]
        return _page(call, [(p.id, _pull(p)) for p in pulls])

    def _create_pull(self, call: _Call) -> Response:
        repository, body = self._repository(call, write=True), call.json
        pull = Pull(
            uuid.uuid4().hex[:20], body["title"], body.get("description", ""), body["source_branch"],
            body["destination_branch"], _now(),
        )  # fmt: skip
        repository.pulls[pull.id] = pull
        return JSONResponse({"id": pull.id}, 201)

    def _get_pull(self, call: _Call) -> Response:
        pull = self._pull_of(call)
        return JSONResponse({**_pull(pull), "description": pull.description})

    def _merge_pull(self, call: _Call) -> Response:
        repository, pull = self._repository(call, write=True), self._pull_of(call)
        commit = self._merged(repository, pull.source, pull.destination, {})
        repository.close_pull(pull, commit, _now())
        return JSONResponse({"reference": commit})

    def _pull_of(self, call: _Call) -> Pull:
        found = self._repository(call).pulls.get(call.path["pull"])
        if found is None:
            raise Refused(404, "pull request not found")
        return found


def _authentic(header: str) -> bool:
    scheme, _, given = header.partition(" ")
    try:
        return scheme == "Basic" and base64.b64decode(given).decode() == f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}"
    except ValueError:
        return False


def _page(call: _Call, rows: Sequence[tuple[str, Any]], *, ordered: bool = True, prefixed: bool = True) -> Response:
    """A page of (key, row) pairs: `after` is the last key of the page before, `prefix` filters by key."""
    amount = int(call.query.get("amount", "100"))
    amount = min(amount, _LARGEST_PAGE) if amount > 0 else 100
    after, prefix = call.query.get("after", ""), call.query.get("prefix", "")
    if prefixed and prefix:
        rows = [row for row in rows if row[0].startswith(prefix)]
    if after and ordered:
        rows = [row for row in rows if row[0] > after]
    elif after:
        keys = [key for key, _ in rows]
        rows = rows[keys.index(after) + 1 :] if after in keys else []
    page = rows[:amount]
    more = len(rows) > amount
    pagination = {
        "has_more": more, "max_per_page": _LARGEST_PAGE, "next_offset": page[-1][0] if more else "",
        "results": len(page),
    }  # fmt: skip
    return JSONResponse({"pagination": pagination, "results": [row for _, row in page]})


def _event(repository: StoredRepository, event_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"event_type": event_type, "event_time": at, "repository_id": repository.name, **payload}


def _describe(commit: StoredCommit) -> dict[str, Any]:
    described = {"commit_message": commit.message, "committer": commit.committer}
    return {**described, "commit_metadata": dict(commit.metadata)} if commit.metadata else described


def _repository(r: StoredRepository) -> dict[str, Any]:
    return {
        "creation_date": r.creation_date, "default_branch": r.default_branch, "id": r.name,
        "read_only": r.read_only, "storage_id": "", "storage_namespace": r.namespace,
    }  # fmt: skip


def _ref(name: str, commit: str) -> dict[str, str]:
    return {"commit_id": commit, "id": name}


def _commit(c: StoredCommit) -> dict[str, Any]:
    return {
        "committer": c.committer, "creation_date": c.creation_date, "generation": c.generation, "id": c.id,
        "message": c.message, "meta_range_id": c.meta_range_id, "metadata": dict(c.metadata),
        "parents": list(c.parents), "version": 1,
    }  # fmt: skip


def _object(path: str, o: Object) -> dict[str, Any]:
    return {
        "checksum": o.checksum, "content_type": "application/octet-stream", "mtime": o.mtime, "path": path,
        "path_type": "object", "physical_address": o.address, "size_bytes": len(o.content),
    }  # fmt: skip


def _run(run: Any) -> dict[str, Any]:
    return {
        "branch": run.branch, "commit_id": run.commit_id, "end_time": run.end, "event_type": run.event_type,
        "run_id": run.run_id, "start_time": run.start, "status": run.status,
    }  # fmt: skip


def _pull(p: Pull) -> dict[str, Any]:
    value = {
        "status": p.status, "title": p.title, "author": "admin", "creation_date": p.created,
        "destination_branch": p.destination, "id": p.id, "source_branch": p.source,
    }  # fmt: skip
    if p.commit:
        value |= {"closed_date": p.closed, "merged_commit_id": p.commit}
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
