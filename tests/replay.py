"""Replaying the recorded exchanges with a real lakeFS 1.84, in their order, against the stand-in.

Ids, times, addresses and checksums differ from run to run: each recorded one is paired with the value that stands in
its place when it is first met, and must then stay paired. Everything else must be equal.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lakefs_sdk

from metasync.sandbox.standin import StandIn
from metasync.sandbox.standin.server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from metasync.sandbox.user import LakeUser

RECORDED = Path(__file__).parent / "recorded" / "lakefs"
ORDER = (
    "server",
    "install-actions",
    "commit",
    "create-branch",
    "create-branch-from-expression",
    "create-tag",
    "create-branch-from-tag",
    "refs",
    "commits-on-both",
    "merge",
    "history",
    "merge-squash",
    "merge-nothing",
    "merge-conflict",
    "merge-source-wins",
    "merge-behind",
    "cherry-pick",
    "revert",
    "hard-reset",
    "reset-uncommitted",
    "delete-branch",
    "recreate-branch",
    "delete-tag",
    "runs",
    "gate",
    "bad-action-file",
    "bad-action-fixed",
    "pull-request",
    "read-only",
    "repository-deleted",
    "transaction",
    "unauthorised",
)
OPAQUE = re.compile(r"[0-9a-f]{64}|4oon[0-9a-z]{16}|tx-[0-9a-f-]{36}")
VARYING = {"creation_date", "mtime", "physical_address", "checksum", "size_bytes", "start_time", "end_time"}
VARYING |= {"event_time", "closed_date", "meta_range_id", "Content-Length", "Host", "User-Agent", "Accept-Encoding"}


class Receiver:
    """Takes the webhooks, and refuses at /fail."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.tokens: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.paths.append(self.path)
                outer.tokens.append(self.headers.get("Authorization", ""))
                self.send_response(500 if self.path == "/fail" else 202)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


class Replay:
    """One run of all scenarios on one stand-in."""

    def __init__(self, server: StandIn, receiver: Receiver) -> None:
        self.server = server
        self.receiver = receiver
        self.pairs: dict[str, str] = {}
        self.now = 1_000_000.0

    def run(self, name: str) -> None:
        recorded = json.loads((RECORDED / f"{name}.json").read_text())
        self.receiver.bodies.clear()
        for number, exchange in enumerate(recorded["api"]):
            # The recording waited for lakeFS's cache of action files where these did.
            waits = {("bad-action-file", 4), ("bad-action-fixed", 4)}
            waited = (number == 0 and name != "bad-action-fixed") or (name, number) in waits
            self.now += 10.0 if waited else 0.5
            self.exchange(name, exchange)
        if name == "transaction":
            self.transaction()
        self.server.actions.settle()
        self.webhooks(name, recorded["webhooks"])

    def exchange(self, name: str, exchange: dict[str, Any]) -> None:
        request, answer = exchange["request"], exchange["response"]
        path = OPAQUE.sub(lambda match: self.pairs.get(match.group(), match.group()), request["path"])
        body = request["body"]
        if isinstance(body, str) and request["content_type"] != "application/json":
            data: bytes | None = body.replace("http://127.0.0.1:8002", self.receiver.url).encode()
        else:
            text = json.dumps(body) if body is not None else None
            data = OPAQUE.sub(lambda m: self.pairs.get(m.group(), m.group()), text).encode() if text else None
        secret = "wrong" if name == "unauthorised" else SECRET_ACCESS_KEY
        token = base64.b64encode(f"{ACCESS_KEY_ID}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": request["content_type"] or "application/json"}
        url = self.server.url + urllib.parse.quote(path, safe="/?&=%~:+")
        call = urllib.request.Request(url, data, headers, method=request["method"])
        try:
            with urllib.request.urlopen(call, timeout=20) as got:
                status, raw = got.status, got.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        where = f"{name}: {request['method']} {request['path']}"
        assert status == answer["status"], (where, raw[:300])
        if answer["body"] is None:
            return
        try:
            value: Any = json.loads(raw)
        except ValueError:
            value = raw.decode()
        self.compare(where, answer["body"], value)

    def transaction(self) -> None:
        """What the high-level SDK does for one; its own requests were not recorded."""
        user = LakeUser(self.server.url, ACCESS_KEY_ID, SECRET_ACCESS_KEY, "lake")
        hidden = lakefs_sdk.BranchCreation(name="tx-2368aa8f", source="dev-1", hidden=True)
        user.lakefs.once("create", "", user.lakefs.branches.create_branch, "lake", hidden)
        assert "tx-2368aa8f" not in {ref.name for ref in user.lakefs.list_refs("lake")}
        user.write("tx-2368aa8f", "in-a-transaction", message="in a transaction")
        user.merge("tx-2368aa8f", "dev-1", message="Merge transaction")
        user.delete_branch("tx-2368aa8f")

    def webhooks(self, name: str, recorded: list[dict[str, Any]]) -> None:
        """The same events with the same fields; post-events have no order among themselves or with others."""
        expected = [webhook["body"] for webhook in recorded]
        got = list(self.receiver.bodies)
        if name == "transaction":
            # Names and messages of a transaction are made up anew each time; events and fields are not.
            loose = [sorted((b["event_type"], *sorted(b)) for b in some) for some in (expected, got)]
            assert loose[0] == loose[1]
            return
        kinds = sorted((b["event_type"], b.get("branch_id", ""), b["hook_id"]) for b in expected)
        assert sorted((b["event_type"], b.get("branch_id", ""), b["hook_id"]) for b in got) == kinds, name
        for body in expected:
            match = next(
                b
                for b in got
                if all(b.get(k) == body.get(k) for k in ("event_type", "branch_id", "tag_id", "hook_id"))
                and b.get("commit_message") == body.get("commit_message")
            )
            got.remove(match)
            self.compare(f"{name}: webhook {body['event_type']}", body, match)

    def compare(self, where: str, recorded: Any, got: Any) -> None:
        if isinstance(recorded, dict):
            assert isinstance(got, dict), (where, recorded, got)
            assert set(got) - VARYING == set(recorded) - VARYING, (where, recorded, got)
            for key, value in recorded.items():
                if key not in VARYING:
                    self.compare(f"{where} .{key}", value, got[key])
        elif isinstance(recorded, list):
            assert isinstance(got, list) and len(got) == len(recorded), (where, recorded, got)
            for one, other in zip(recorded, got, strict=True):
                self.compare(where, one, other)
        elif isinstance(recorded, str):
            self.text(where, recorded, got)
        else:
            assert recorded == got, (where, recorded, got)

    def text(self, where: str, recorded: str, got: Any) -> None:
        if OPAQUE.fullmatch(recorded):
            assert isinstance(got, str) and self.pairs.setdefault(recorded, got) == got, (where, recorded, got)
        elif recorded.startswith("Request:"):
            assert "Request Body:\n{" in got and got.count('"event_type"') == 1, (where, got)
        elif "hook aborted" in recorded:
            loose = re.compile(r"run id '[^']*'")
            assert loose.sub("", recorded) == loose.sub("", got), where
        elif "127.0.0.1:8002" in recorded:
            assert recorded.replace("http://127.0.0.1:8002", self.receiver.url) == got
        else:
            assert recorded == got, (where, recorded, got)
