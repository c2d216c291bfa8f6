"""The runs of actions and their hooks."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from metasync.sandbox.standin import json_rows
from metasync.sandbox.standin.call import Call, Routes, page
from metasync.sandbox.standin.lake import Lake, R
from metasync.sandbox.standin.repository import (
    Refused,
)


class Runs:
    """The runs of actions and their hooks."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def routes(self) -> Routes:
        return [
            ("GET", f"{R}/actions/runs", self._list_runs),
            ("GET", f"{R}/actions/runs/{{run}}", self._get_run),
            ("GET", f"{R}/actions/runs/{{run}}/hooks", self._list_hooks),
            ("GET", f"{R}/actions/runs/{{run}}/hooks/{{hook}}/output", self._hook_output),
        ]

    def _list_runs(self, call: Call) -> Response:
        repository = self.lake.repository(call)
        branch, commit = call.query.get("branch", ""), call.query.get("commit", "")
        runs = sorted(self.lake.actions.runs.get(repository.name, []), key=lambda run: run.run_id)
        # lakeFS takes both for the beginning of a key, `BRANCH/RUN` or `COMMIT/RUN`.
        found = [r for r in runs if f"{r.branch}/".startswith(branch) and f"{r.commit_id}/".startswith(commit)]
        return page(call, [(r.run_id, json_rows.run(r)) for r in found])

    def _run_of(self, call: Call) -> Any:
        runs = self.lake.actions.runs.get(self.lake.repository(call).name, [])
        found = next((run for run in runs if run.run_id == call.path["run"]), None)
        if found is None:
            raise Refused(404, "run id not found")
        return found

    def _get_run(self, call: Call) -> Response:
        return JSONResponse(json_rows.run(self._run_of(call)))

    def _list_hooks(self, call: Call) -> Response:
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
        return page(call, rows)

    def _hook_output(self, call: Call) -> Response:
        for hook in self._run_of(call).hooks:
            if hook.hook_run_id == call.path["hook"]:
                return Response(hook.output, media_type="application/octet-stream")
        raise Refused(404, "hook run id not found")
