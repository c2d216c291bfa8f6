"""Objects and what is not committed of them."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin import json_rows
from metasync.sandbox.standin.call import Call, Routes, page
from metasync.sandbox.standin.lake import Lake, R
from metasync.sandbox.standin.repository import (
    Object,
    Refused,
)


class Objects:
    """Objects and what is not committed of them."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def routes(self) -> Routes:
        return [
            ("GET", f"{R}/branches/{{branch}}/diff", self._uncommitted),
            ("POST", f"{R}/branches/{{branch}}/objects", self._upload),
            ("DELETE", f"{R}/branches/{{branch}}/objects", self._delete_object),
            ("GET", f"{R}/refs/{{ref}}/objects/ls", self._list_objects),
            ("GET", f"{R}/refs/{{ref}}/objects/stat", self._stat),
            ("GET", f"{R}/refs/{{ref}}/objects", self._get_object),
        ]

    def _upload(self, call: Call) -> Response:
        repository, path = self.lake.repository(call, write=True), call.query["path"]
        made = repository.put(call.path["branch"], path, call.content)
        self.lake.show(repository, call.path["branch"])
        return JSONResponse({**json_rows.object(path, made), "metadata": {}}, 201)

    def _delete_object(self, call: Call) -> Response:
        self.lake.repository(call, write=True).remove(call.path["branch"], call.query["path"])
        return Response(status_code=204)

    def _uncommitted(self, call: Call) -> Response:
        found = self.lake.repository(call).uncommitted(call.path["branch"])
        return page(call, [(p, {"path": p, "path_type": "object", "type": kind}) for p, kind in found])

    def _list_objects(self, call: Call) -> Response:
        tree = self.lake.repository(call).tree_of(call.path["ref"])
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
                rows[path] = json_rows.object(path, tree[path])
        return page(call, list(rows.items()))

    def _stat(self, call: Call) -> Response:
        found = self._object(call)
        return JSONResponse({**json_rows.object(call.query["path"], found), "metadata": {}})

    def _get_object(self, call: Call) -> Response:
        return Response(self._object(call).content, media_type="application/octet-stream")

    def _object(self, call: Call) -> Object:
        found = self.lake.repository(call).tree_of(call.path["ref"]).get(call.query["path"])
        if found is None:
            raise Refused(404, "not found")
        return found
