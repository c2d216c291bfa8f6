"""What one sync pass asked lakeFS about commits."""

from __future__ import annotations

from metasync.engine.track.changed_paths import ChangedPaths
from metasync.lakefs import LakeFS


class LakeFSCache:
    """Answers about commits, which never change: each question is asked once in a pass."""

    def __init__(self, lakefs: LakeFS, repository: str) -> None:
        self._lakefs = lakefs
        self._repository = repository
        self._generations: dict[str, int] = {}
        self._changed: dict[tuple[str, str], ChangedPaths] = {}
        self._merge_bases: dict[tuple[str, str], str | None] = {}
        self._pull_requests: dict[str, str] | None = None

    def generation(self, commit: str) -> int:
        """How many commits lie before one; 0 where lakeFS does not know it."""
        if commit not in self._generations:
            self._generations[commit] = self._lakefs.generation(self._repository, commit)
        return self._generations[commit]

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit that lakeFS takes for the base of two; None where they share none."""
        key = (one, other)
        if key not in self._merge_bases:
            self._merge_bases[key] = self._lakefs.merge_base(self._repository, one, other)
        return self._merge_bases[key]

    def changed(self, before: str, after: str) -> ChangedPaths:
        """The differences between two commits."""
        key = (before, after)
        if key not in self._changed:
            self._changed[key] = ChangedPaths(self._lakefs, self._repository, before, after)
        return self._changed[key]

    def pull_request(self, commit: str) -> str | None:
        """The source branch of the pull request that was merged as a commit."""
        if self._pull_requests is None:
            self._pull_requests = self._lakefs.merged_pull_requests(self._repository)
        return self._pull_requests.get(commit)
