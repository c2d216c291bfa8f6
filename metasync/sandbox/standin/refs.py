"""Repositories, branches and tags."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin import json_rows
from metasync.sandbox.standin.call import Call, Routes, event_of, page
from metasync.sandbox.standin.lake import Lake, R
from metasync.sandbox.standin.repository import (
    Branch,
    Refused,
    StoredRepository,
)


class Refs:
    """Repositories, branches and tags."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def routes(self) -> Routes:
        return [
            ("GET", "/api/v1/config", self._config),
            ("GET", "/api/v1/repositories", self._list_repositories),
            ("POST", "/api/v1/repositories", self._create_repository),
            ("GET", R, self._get_repository),
            ("DELETE", R, self._delete_repository),
            ("GET", f"{R}/branches", self._list_branches),
            ("POST", f"{R}/branches", self._create_branch),
            ("GET", f"{R}/branches/{{branch}}", self._get_branch),
            ("DELETE", f"{R}/branches/{{branch}}", self._delete_branch),
            ("GET", f"{R}/tags", self._list_tags),
            ("POST", f"{R}/tags", self._create_tag),
            ("GET", f"{R}/tags/{{tag:path}}", self._get_tag),
            ("DELETE", f"{R}/tags/{{tag:path}}", self._delete_tag),
        ]

    def _config(self, _call: Call) -> Response:
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

    def _list_repositories(self, call: Call) -> Response:
        return page(call, [(name, json_rows.repository(r)) for name, r in sorted(self.lake.repositories.items())])

    def _create_repository(self, call: Call) -> Response:
        body = call.json
        if body["name"] in self.lake.repositories:
            raise Refused(409, "error creating repository: not unique")
        made = StoredRepository(
            body["name"], body["storage_namespace"], body.get("default_branch") or "main",
            read_only=bool(body.get("read_only")),
        )  # fmt: skip
        self.lake.repositories[made.name] = made
        self.lake.show(made, made.default_branch)
        return JSONResponse(json_rows.repository(made), 201)

    def _get_repository(self, call: Call) -> Response:
        return JSONResponse(json_rows.repository(self.lake.repository(call)))

    def _delete_repository(self, call: Call) -> Response:
        del self.lake.repositories[self.lake.repository(call).name]
        return Response(status_code=204)

    def _list_branches(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        return page(
            call, [(n, json_rows.ref(n, b.commit)) for n, b in sorted(repository.branches.items()) if not b.hidden]
        )

    def _get_branch(self, call: Call) -> Response:
        name = call.path["branch"]
        return JSONResponse(json_rows.ref(name, self.lake.repository(call).branch(name).commit))

    def _create_branch(self, call: Call) -> Response:
        repository, body = self.lake.repository(call, write=True), call.json
        name, source = body["name"], body["source"]
        repository.check_branch_name(name)
        commit = repository.resolve(source)
        payload = {"branch_id": name, "source_ref": source, "commit_id": commit}
        self.lake.actions.pre(repository, source, event_of(repository, "pre-create-branch", payload))
        repository.branches[name] = Branch(commit, hidden=bool(body.get("hidden")))
        self.lake.show(repository, name)
        self.lake.actions.post(repository, source, event_of(repository, "post-create-branch", payload))
        return Response(commit, 201, media_type="text/plain")

    def _delete_branch(self, call: Call) -> Response:
        repository, name = self.lake.repository(call, write=True), call.path["branch"]
        if name == repository.default_branch:
            raise Refused(403, "cannot delete repository default branch")
        tip = repository.branch(name).commit
        payload = {"branch_id": name, "source_ref": tip}
        self.lake.actions.pre(repository, tip, event_of(repository, "pre-delete-branch", payload))
        del repository.branches[name]
        self.lake.actions.post(repository, tip, event_of(repository, "post-delete-branch", payload))
        return Response(status_code=204)

    def _list_tags(self, call: Call) -> Response:
        return page(call, [(n, json_rows.ref(n, c)) for n, c in sorted(self.lake.repository(call).tags.items())])

    def _get_tag(self, call: Call) -> Response:
        repository, name = self.lake.repository(call), call.path["tag"]
        repository.check_tag_name(name)
        if name not in repository.tags:
            raise Refused(404, "tag not found")
        return JSONResponse(json_rows.ref(name, repository.tags[name]))

    def _create_tag(self, call: Call) -> Response:
        repository, body = self.lake.repository(call, write=True), call.json
        name = body["id"]
        repository.check_tag_name(name)
        if name in repository.tags:
            raise Refused(409, "tag already exists: not unique")
        commit = repository.resolve(body["ref"])
        payload = {"source_ref": commit, "tag_id": name, "commit_id": commit}
        self.lake.actions.pre(repository, commit, event_of(repository, "pre-create-tag", payload))
        repository.tags[name] = commit
        self.lake.show(repository, name)
        self.lake.actions.post(repository, commit, event_of(repository, "post-create-tag", payload))
        return JSONResponse(json_rows.ref(name, commit), 201)

    def _delete_tag(self, call: Call) -> Response:
        repository, name = self.lake.repository(call, write=True), call.path["tag"]
        if name not in repository.tags:
            raise Refused(404, "tag not found")
        commit = repository.tags[name]
        payload = {"source_ref": commit, "tag_id": name, "commit_id": commit}
        self.lake.actions.pre(repository, commit, event_of(repository, "pre-delete-tag", payload))
        del repository.tags[name]
        self.lake.actions.post(repository, commit, event_of(repository, "post-delete-tag", payload))
        return Response(status_code=204)
