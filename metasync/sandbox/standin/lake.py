"""The repositories of the stand-in, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from metasync.sandbox.standin.actions import Actions
from metasync.sandbox.standin.call import Call
from metasync.sandbox.standin.repository import (
    Refused,
    StoredRepository,
)

R = "/api/v1/repositories/{repository}"


class Lake:
    """What the stand-in holds: repositories, their actions, and the folder `mirror` in which directories are shown."""

    def __init__(self, mirror: Path | None, environment: Mapping[str, str] | None, clock: Callable[[], float]) -> None:
        self.actions = Actions(environment, clock)
        self.repositories: dict[str, StoredRepository] = {}
        self.mirror = mirror

    def repository(self, call: Call, *, write: bool = False) -> StoredRepository:
        """The repository that a call names. Raises Refused."""
        found = self.repositories.get(call.path["repository"])
        if found is None:
            raise Refused(404, "repository not found")
        if write and found.read_only:
            raise Refused(403, "read-only repository")
        return found

    def show(self, repository: StoredRepository, ref: str) -> None:
        """Makes the directories of a ref."""
        if self.mirror is None or "/" in ref:
            return
        root = self.mirror / repository.name / ref
        root.mkdir(parents=True, exist_ok=True)
        for path in repository.tree_of(ref):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
