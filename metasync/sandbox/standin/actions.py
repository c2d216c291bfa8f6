"""Action files and the delivery of their hooks: `pre-` events can refuse, `post-` ones are sent and forgotten."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from metasync.sandbox.standin.repository import Refused, StoredRepository

_HOOK_ID = re.compile(r"[_a-zA-Z][-_a-zA-Z0-9]{1,255}")
_FOLDER = "_lakefs_actions/"
_CACHED_SECONDS = 5.0
_EVENTS = {
    "pre-create-branch", "post-create-branch", "pre-delete-branch", "post-delete-branch",
    "pre-create-tag", "post-create-tag", "pre-delete-tag", "post-delete-tag",
    "prepare-commit", "pre-commit", "post-commit", "pre-merge", "post-merge",
    "pre-revert", "post-revert", "pre-cherry-pick", "post-cherry-pick",
}  # fmt: skip
_VARIABLE = re.compile(r"\{\{\s*ENV\.(LAKEFSACTION_\w+)\s*\}\}")


@dataclass(frozen=True)
class HookRun:
    action: str
    hook_id: str
    hook_run_id: str
    status: str
    output: str
    start: str
    end: str


@dataclass
class Run:
    """One event's run of all its hooks; `commit_id` of a commit's `pre-` runs is known only afterwards."""

    run_id: str
    event_type: str
    branch: str
    commit_id: str
    status: str
    start: str
    end: str
    hooks: list[HookRun] = field(default_factory=list)


@dataclass(frozen=True)
class _Action:
    name: str
    events: Mapping[str, Mapping[str, Any]]
    hooks: tuple[Mapping[str, Any], ...]


class Actions:
    """Runs hooks and remembers their runs, per repository."""

    def __init__(self, environment: Mapping[str, str] | None = None, clock: Callable[[], float] = time.time) -> None:
        self._environment = os.environ if environment is None else environment
        self._clock = clock
        self._cache: dict[tuple[str, str], tuple[float, list[_Action] | ValueError]] = {}
        self.runs: dict[str, list[Run]] = {}
        self._count = itertools.count()
        self._sending: list[threading.Thread] = []

    def pre(
        self, repository: StoredRepository, source: str, payload: Mapping[str, str], subject: str = ""
    ) -> list[Run]:
        """Runs the hooks of an event that can refuse; raises 412, or 500 for an action file that cannot be used."""
        event = payload["event_type"]
        run_id = self._run_id()
        prefix = f"update branch {subject}: " if subject else ""
        try:
            actions = self._matching(repository, source, payload)
        except ValueError as error:
            problem = f"{prefix}{event} hook aborted, run id '{run_id}': 1 error occurred:\n\t* {error}\n\n"
            raise Refused(500, problem) from error
        if not actions:
            return []
        run = self._execute(repository, actions, payload, run_id)
        failed = [hook for hook in run.hooks if hook.status == "failed"]
        if failed:
            hook = failed[0]
            raise Refused(
                412,
                f"{prefix}{event} hook aborted, run id '{run_id}': 1 error occurred:\n\t* hook run id "
                f"'{hook.hook_run_id}' failed on action '{hook.action}' hook '{hook.hook_id}': action failed: "
                f"webhook request failed ({hook.output.rpartition(chr(10))[2]})\n\n",
            )
        return [run]

    def post(self, repository: StoredRepository, source: str, payload: Mapping[str, str]) -> None:
        """Sends an event to its hooks, in a thread; nobody hears of a failure."""
        try:
            actions = self._matching(repository, source, payload)
        except ValueError:
            return
        if actions:
            arguments = (repository, actions, payload, self._run_id())
            thread = threading.Thread(target=self._execute, args=arguments, daemon=True)
            self._sending = [t for t in self._sending if t.is_alive()] + [thread]
            thread.start()

    def settle(self) -> None:
        """Waits until every hook that was started has been sent."""
        for thread in self._sending:
            thread.join(timeout=30)

    def _matching(self, repository: StoredRepository, source: str, payload: Mapping[str, str]) -> list[_Action]:
        """The actions that listen to the event; ValueError where any action file on `source` cannot be used.

        lakeFS keeps what it read of a ref for some seconds (5 to 7.5), so a new file counts a little late.
        """
        event, branch = payload["event_type"], payload.get("branch_id", "")
        key = (repository.name, source)
        until, actions = self._cache.get(key, (0.0, []))
        if self._clock() >= until:
            try:
                actions = _read(repository, source)
            except ValueError as error:
                actions = error
            self._cache[key] = (self._clock() + _CACHED_SECONDS, actions)
        if isinstance(actions, ValueError):
            raise actions
        found = []
        for action in actions:
            if event not in action.events:
                continue
            patterns = action.events[event].get("branches") or []
            if not patterns or any(fnmatch.fnmatchcase(branch, str(pattern)) for pattern in patterns):
                found.append(action)
        return found

    def _run_id(self) -> str:
        # Newer runs sort first, by the second; within one second in their order.
        return f"{10**10 - int(self._clock()):010d}{next(self._count):08d}"

    def _execute(
        self, repository: StoredRepository, actions: list[_Action], payload: Mapping[str, str], run_id: str
    ) -> Run:
        start, hooks = _now(), []
        for number, action in enumerate(actions):
            for index, hook in enumerate(action.hooks):
                body = {**payload, "action_name": action.name, "hook_id": str(hook.get("id", ""))}
                began = _now()
                ok, output = self._send(hook, _ordered(body))
                hooks.append(
                    HookRun(
                        action.name, str(hook.get("id", "")), f"{number:04d}_{index:04d}",
                        "completed" if ok else "failed", output, began, _now(),
                    )
                )  # fmt: skip
        status = "completed" if all(hook.status == "completed" for hook in hooks) else "failed"
        run = Run(
            run_id, payload["event_type"], payload.get("branch_id", ""), payload.get("commit_id", ""), status,
            start, _now(), hooks,
        )  # fmt: skip
        self.runs.setdefault(repository.name, []).append(run)
        return run

    def _send(self, hook: Mapping[str, Any], body: Mapping[str, str]) -> tuple[bool, str]:
        properties = hook.get("properties") or {}
        url = str(properties.get("url", ""))
        query = {k: self._filled(str(v)) for k, v in (properties.get("query_params") or {}).items()}
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = {k: self._filled(str(v)) for k, v in (properties.get("headers") or {}).items()}
        data = json.dumps(body, separators=(",", ":")).encode()
        hidden = "".join(f"{key}: *******\n" for key in headers)
        sent = f"{hidden}Content-Type: application/json\nRequest Body:\n{data.decode()}"
        log = f"Request:\nPOST {url}\nHeaders:\n{sent}\n\n\n"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return True, f"{log}Response:\n{answer.status}"
        except urllib.error.HTTPError as error:
            return False, f"{log}Response:\nstatus code: {error.code}"
        except (OSError, ValueError) as error:
            return False, f"{log}Response:\n{error}"

    def _filled(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self._environment.get(match.group(1), ""), text)


def commit_known(runs: list[Run], commit: str) -> None:
    """A commit's `pre-` runs get its id once it is there."""
    for run in runs:
        run.commit_id = commit


def _ordered(body: Mapping[str, str]) -> dict[str, str]:
    first = ("event_type", "event_time", "action_name", "hook_id", "repository_id")
    return {**{key: body[key] for key in first}, **{k: v for k, v in body.items() if k not in first and v}}


def _read(repository: StoredRepository, source: str) -> list[_Action]:
    tree = repository.tree_of(source)
    paths = [p for p in sorted(tree) if p.startswith(_FOLDER) and "/" not in p.removeprefix(_FOLDER)]
    return [_parse(path, tree[path].content) for path in paths]


def _parse(path: str, content: bytes) -> _Action:
    try:
        value = YAML(typ="safe").load(content.decode())
        events = {str(k): (v or {}) for k, v in value["on"].items()}
        hooks = tuple(value["hooks"] or ())
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"parsing file {path}: {error}") from error
    for event in events:
        if event not in _EVENTS:
            raise ValueError(f"parsing file {path}: event '{event}' is not supported: invalid action")
    for number, hook in enumerate(hooks):
        if not _HOOK_ID.fullmatch(str(hook.get("id", ""))):
            # Of one letter is none to lakeFS either (seen on 1.84).
            raise ValueError(f"parsing file {path}: hook[{number}] missing ID: invalid action")
    return _Action(str(value.get("name", "")), events, hooks)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
