"""lakeFS as the engine sees it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import lakefs_sdk
import stamina
import urllib3
from lakefs_sdk.exceptions import ApiException
from pydantic import ValidationError

from metasync.errors import ConfigurationError, LakeFSError, LakeFSUnavailable
from metasync.model.lakefs import ActionRun, Commit, Ref, RefType, Repository
from metasync.model.text import storable
from metasync.settings.models import LakeFS as LakeFSSettings

R = TypeVar("R")
PAGE = 1000
"""The most that lakeFS puts on a page."""
_RUN_SLACK = 2.0
"""Seconds by which runs can stand out of order in lakeFS's list."""
_TEMPORARY = (408, 423, 429, 500, 502, 503, 504)


class NotThere(LakeFSError):
    """lakeFS answered 404."""


class LakeFS:
    """Reads of one lakeFS server. Every call has a time-out; reads are tried again after an outage.

    `may_go_on` is asked before each, and raises where the process is asked to end.
    """

    def __init__(
        self,
        settings: LakeFSSettings,
        observe_call: Callable[[str, float, bool], None] | None = None,
        may_go_on: Callable[[], None] = lambda: None,
    ) -> None:
        secret = settings.secret_access_key.get_secret_value() if settings.secret_access_key else None
        configuration = lakefs_sdk.Configuration(
            host=f"{settings.endpoint_url}/api/v1",
            username=settings.access_key_id,
            password=secret,
            ssl_ca_cert=settings.ca_file,
        )
        configuration.retries = urllib3.Retry(total=0)
        try:
            api = lakefs_sdk.ApiClient(configuration)
        except OSError as error:
            raise ConfigurationError(f"lakefs.ca_file {settings.ca_file}: {error}") from error
        self.endpoint = settings.endpoint_url
        self.server_time: float | None = None
        """lakeFS's clock when it last answered, in whole Unix seconds; None where it gives no time."""
        api.rest_client.request = self._noting_the_time(api.rest_client.request)
        self._timeout = settings.timeout
        self._observe = observe_call or (lambda call, seconds, ok: None)
        self._may_go_on = may_go_on
        self.repositories = lakefs_sdk.RepositoriesApi(api)
        self.branches = lakefs_sdk.BranchesApi(api)
        self.tags = lakefs_sdk.TagsApi(api)
        self.refs = lakefs_sdk.RefsApi(api)
        self.commits = lakefs_sdk.CommitsApi(api)
        self.objects = lakefs_sdk.ObjectsApi(api)
        self.actions = lakefs_sdk.ActionsApi(api)
        self._pulls = lakefs_sdk.PullsApi(api)
        self._config = lakefs_sdk.ConfigApi(api)

    def version(self) -> str:
        """The server's version, for example `1.84.0`; also proves that the credentials are good."""
        answer = self.call("get_config", "the configuration", self._config.get_config)
        return str(answer.version_config.version or "unknown")

    def get_repository(self, name: str) -> Repository | None:
        """The repository with its identity; None where lakeFS answers 404."""
        try:
            r = self.call("get_repository", name, self.repositories.get_repository, name)
        except NotThere:
            return None
        return Repository(r.id, r.creation_date, r.storage_namespace, r.default_branch)

    def list_repositories(self) -> tuple[str, ...]:
        return tuple(r.id for r in self._pages("list_repositories", "", self.repositories.list_repositories))

    def list_refs(self, repository: str) -> dict[Ref, str]:
        """Every branch and tag with its commit. Complete, or an error: a page that fails fails the whole."""
        found = {
            Ref(RefType.BRANCH, b.id): str(b.commit_id)
            for b in self._pages("list_branches", repository, self.branches.list_branches, repository)
        }
        found |= {
            Ref(RefType.TAG, t.id): str(t.commit_id)
            for t in self._pages("list_tags", repository, self.tags.list_tags, repository)
        }
        return found

    def get_ref(self, repository: str, ref: Ref) -> str | None:
        """The ref's commit; None where lakeFS answers 404 for it."""
        try:
            if ref.type is RefType.BRANCH:
                return str(
                    self.call(
                        "get_branch", f"{repository} {ref}", self.branches.get_branch, repository, ref.name
                    ).commit_id
                )
            return str(self.call("get_tag", f"{repository} {ref}", self.tags.get_tag, repository, ref.name).commit_id)
        except NotThere:
            return None

    def get_commit(self, repository: str, commit: str) -> Commit | None:
        """The commit of a sha or ref expression; None where there is none."""
        try:
            return _commit(
                self.call("get_commit", f"{repository} {commit}", self.commits.get_commit, repository, commit)
            )
        except NotThere:
            return None

    def generation(self, repository: str, commit: str) -> int:
        """How many commits lie before one, and it; 0 where lakeFS does not know it."""
        found = self.get_commit(repository, commit) if commit else None
        return found.generation if found is not None else 0

    def first_parents(self, repository: str, ref: str, most: int = 10_000) -> Iterator[Commit]:
        """The commits of a ref from its head back, along first parents, read a page at a time.

        Every log ends at a commit without parents (recorded: history.json): one that ends before it is cut
        short, and then LakeFSUnavailable is raised, as nobody knows what it left out.
        """
        after, seen, amount = "", 0, 20
        last: Commit | None = None
        while seen < most:
            page = self.call(
                "log_commits",
                f"{repository} {ref}",
                self.refs.log_commits,
                repository,
                ref,
                after=after,
                amount=min(amount, most - seen),
                first_parent=True,
            )
            for commit in page.results:
                seen += 1
                last = _commit(commit)
                yield last
            if seen >= most:
                return
            if not page.pagination.has_more or not page.results:
                if last is None or last.parents:
                    raise LakeFSUnavailable(
                        f"lakeFS: log_commits {repository} {ref}: the log ends before its beginning"
                    )
                return
            # Mostly the answer is among the newest commits; a long walk takes full pages.
            after, amount = _moved_on("log_commits", f"{repository} {ref}", after, page), PAGE

    def merge_base(self, repository: str, source: str, destination: str) -> str | None:
        """The commit that lakeFS takes for the base of two commits; only `base_commit_id` can be trusted."""
        try:
            answer = self.call(
                "find_merge_base", f"{repository} {source} {destination}", self.refs.find_merge_base,
                repository, source, destination,
            )  # fmt: skip
        except NotThere:
            return None
        return str(answer.base_commit_id) or None

    def changed_directories(self, repository: str, before: str, after: str, path: str) -> Iterator[str]:
        """The names of the directories right below `path` in which any object differs between two commits."""
        prefix = f"{path}/" if path else ""
        for row in self._pages(
            "diff_refs", f"{repository} {before} {after}", self.refs.diff_refs, repository, before, after,
            prefix=prefix, delimiter="/", type="two_dot",
        ):  # fmt: skip
            if row.path_type == "common_prefix":
                yield row.path.removeprefix(prefix).rstrip("/")

    def has_data(self, repository: str, ref: str, path: str) -> bool:
        """Whether there is an object below a path that engines read: no part of its name begins with `_` or `.`."""
        prefix = f"{path}/"
        rows = self._pages(
            "list_objects", f"{repository} {ref}", self.objects.list_objects, repository, ref, prefix=prefix, amount=100
        )
        for row in rows:
            names = row.path.removeprefix(prefix).split("/")
            if names[-1] and not any(name.startswith(("_", ".")) for name in names):
                return True
        return False

    def has_objects(self, repository: str, ref: str, path: str) -> bool:
        """Whether there is any object below a path (without slashes at its ends); none on a ref that is not there."""
        try:
            page = self.call(
                "list_objects", f"{repository} {ref}", self.objects.list_objects,
                repository, ref, prefix=f"{path}/", amount=1,
            )  # fmt: skip
        except NotThere:
            return False
        return bool(page.results)

    def payload_of_run(self, repository: str, commit: str, event_type: str) -> dict[str, Any] | None:
        """The webhook body of the run of an event at a commit, from the log of its hook; None where there is none.

        The runs API keeps no source of a merge or branch itself. A run that the SDK cannot read is passed over.
        """
        try:
            runs = self.call(
                "list_repository_runs", repository, self.actions.list_repository_runs,
                repository, commit=commit, amount=100,
            ).results  # fmt: skip
            for run in runs:
                if run.event_type != event_type:
                    continue
                hooks = self.call(
                    "list_run_hooks", repository, self.actions.list_run_hooks, repository, run.run_id, amount=10
                )
                for hook in hooks.results:
                    output = self.call(
                        "get_run_hook_output", repository, self.actions.get_run_hook_output,
                        repository, run.run_id, hook.hook_run_id,
                    )  # fmt: skip
                    payload = _payload(bytes(output))
                    if payload is not None:
                        return payload
        except LakeFSError:
            return None
        return None

    def runs_of_branch(self, repository: str, branch: str, since: float) -> tuple[ActionRun, ...]:
        """The runs of a branch's events that started after a time by lakeFS's clock; none where lakeFS does not say.

        `branch=NAME/` matches the branch alone, a bare name also those that begin so; the newest second comes first,
        and a run is recorded only once its hooks have ended (seen on 1.84).
        """
        found: list[ActionRun] = []
        pages = self._pages(
            "list_repository_runs", repository, self.actions.list_repository_runs, repository, branch=f"{branch}/"
        )
        try:
            for run in pages:
                started_at = run.start_time.timestamp()
                if started_at < since - _RUN_SLACK:
                    break
                if run.branch == branch:
                    found.append(ActionRun(run.event_type, run.branch, run.commit_id, started_at))
        except LakeFSError:
            # No right to see runs, or a server without them: then nothing is proved.
            return ()
        return tuple(found)

    def merged_pull_requests(self, repository: str) -> dict[str, str]:
        """Merge commit -> source branch, for every pull request that was merged.

        Read as plain JSON: the SDK's model refuses an answer without a description (seen with SDK 1.88).
        """
        found, after = {}, ""
        try:
            while True:
                answer = self.call(
                    "list_pull_requests", repository, self._pulls.list_pull_requests_with_http_info,
                    repository, status="all", after=after, amount=PAGE, _preload_content=False,
                )  # fmt: skip
                page = json.loads(answer.raw_data or answer.data)
                before = after
                for pull in page.get("results", ()):
                    if pull.get("merged_commit_id"):
                        found[str(pull["merged_commit_id"])] = str(pull.get("source_branch", ""))
                if not page.get("pagination", {}).get("has_more"):
                    return found
                after = page["pagination"]["next_offset"]
                if not page.get("results") or after == before:
                    raise LakeFSUnavailable(f"lakeFS: list_pull_requests {repository}: its pages do not end")
        except (LakeFSError, ValueError, AttributeError):
            # A server without pull requests: the other ways to a source remain.
            return {}

    def call(self, name: str, subject: str, function: Callable[..., R], *arguments: Any, **options: Any) -> R:
        """One request with a time-out, tried again after an outage; foreign errors become ours."""
        for attempt in stamina.retry_context(
            on=LakeFSUnavailable, attempts=3, wait_initial=0.2, wait_max=2.0, timeout=None
        ):
            with attempt:
                return self.once(name, subject, function, *arguments, **options)
        raise AssertionError("unreachable")

    def once(self, name: str, subject: str, function: Callable[..., R], *arguments: Any, **options: Any) -> R:
        """As `call`, never tried again: for the few writes of `hooks install`."""
        self._may_go_on()
        start, ok = time.perf_counter(), False
        try:
            result = function(*arguments, **options, _request_timeout=self._timeout)
            ok = True
            return result
        except ApiException as error:
            ok = error.status == 404
            raise self._translated(name, subject, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise LakeFSUnavailable(f"lakeFS at {self.endpoint} does not answer: {name} {subject}: {error}") from error
        except (ValidationError, ValueError, TypeError) as error:
            raise LakeFSUnavailable(f"lakeFS: {name} {subject}: an answer that cannot be read") from error
        finally:
            self._observe(name, time.perf_counter() - start, ok)

    def _noting_the_time(self, request: Callable[..., Any]) -> Callable[..., Any]:
        """A request that notes the time that lakeFS's answer carries."""

        def asked(*arguments: Any, **options: Any) -> Any:
            response = request(*arguments, **options)
            with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
                self.server_time = parsedate_to_datetime(response.getheader("Date")).timestamp()
            return response

        return asked

    def _translated(self, name: str, subject: str, error: ApiException) -> Exception:
        message = _message(error)
        text = f"lakeFS: {name} {subject}: {error.status} {message}"
        if error.status == 404:
            return NotThere(text)
        if error.status in _TEMPORARY or error.status is None or error.status >= 500:
            return LakeFSUnavailable(text)
        if error.status in (401, 403):
            return LakeFSError(f"{text}; check lakefs.access_key_id and its secret, and that the user may read")
        return LakeFSError(text)

    def _pages(
        self, name: str, subject: str, function: Callable[..., Any], *arguments: Any, amount: int = PAGE, **options: Any
    ) -> Iterator[Any]:
        """The rows of all pages. Raises LakeFSUnavailable where they would not end."""
        after = ""
        while True:
            page = self.call(name, subject, function, *arguments, after=after, amount=amount, **options)
            yield from page.results
            if not page.pagination.has_more:
                return
            after = _moved_on(name, subject, after, page)


def _moved_on(name: str, subject: str, after: str, page: Any) -> str:
    """The next page's cursor. Raises LakeFSUnavailable where it does not move: such pages would never end."""
    following = str(page.pagination.next_offset)
    if not page.results or following == after:
        raise LakeFSUnavailable(f"lakeFS: {name} {subject}: a page says that more follows, and does not move on")
    return following


def _commit(value: Any) -> Commit:
    return Commit(
        id=value.id,
        parents=tuple(value.parents or ()),
        committer=storable(value.committer),
        message=storable(value.message),
        creation_date=value.creation_date,
        metadata=dict(value.metadata or {}),
        generation=value.generation or 0,
        meta_range_id=value.meta_range_id,
    )


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "{}").get("message", error.reason))
    except (ValueError, AttributeError, TypeError):
        return str(error.reason)


def _payload(output: bytes) -> dict[str, Any] | None:
    """The JSON of the request that a webhook's log holds (recorded: runs.json)."""
    text = output.decode("utf-8", errors="replace")
    start = text.find("Request Body:")
    if start < 0 or (brace := text.find("{", start)) < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[brace:])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
