"""What lakeFS has: repositories, refs, commits and the events it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RefType(StrEnum):
    """A branch moves, a tag does not."""

    BRANCH = "branch"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, and what distinguishes it from a later one of its name.

    `creation_date` is in Unix seconds, as lakeFS gives it. A repository that was deleted and made again differs in it.
    """

    name: str
    creation_date: int
    storage_namespace: str
    default_branch: str

    @property
    def identity(self) -> tuple[str, int, str]:
        """Equal for two sights of one repository, different after it was made anew or on another lakeFS."""
        return (self.name, self.creation_date, self.storage_namespace)


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The name of a branch or tag within its repository."""

    type: RefType
    name: str

    def __str__(self) -> str:
        return f"{self.type.value}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """`branch/dev-1` -> Ref. Raises ValueError for anything else."""
        kind, _, name = text.partition("/")
        if not name:
            raise ValueError(f"{text!r} is not branch/NAME or tag/NAME")
        return cls(RefType(kind), name)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. `creation_date` in Unix seconds; `parents` is (destination, source) for a merge."""

    id: str
    parents: tuple[str, ...]
    committer: str
    message: str
    creation_date: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    meta_range_id: str = ""

    @property
    def merge_strategy(self) -> str | None:
        """lakeFS writes `.lakefs.merge.strategy` on merge commits, squashed ones and imports too."""
        return self.metadata.get(".lakefs.merge.strategy")


class EventType(StrEnum):
    """The events that metasync listens to, in lakeFS's spelling. It needs no `pre-` event."""

    CREATE_BRANCH = "post-create-branch"
    DELETE_BRANCH = "post-delete-branch"
    CREATE_TAG = "post-create-tag"
    DELETE_TAG = "post-delete-tag"
    COMMIT = "post-commit"
    MERGE = "post-merge"
    REVERT = "post-revert"
    CHERRY_PICK = "post-cherry-pick"


@dataclass(frozen=True, slots=True)
class LakeFSEvent:
    """A delivered webhook, or a scope that poller, schedule or command made.

    `event_time` is lakeFS's clock in Unix seconds (whole ones); `source_ref` is what the user typed for a creation
    and a commit id otherwise (recorded: create-branch-from-expression.json, merge.json).
    """

    type: EventType
    repository: str
    ref: Ref
    event_time: float
    source_ref: str = ""
    commit_id: str = ""
    merge_source: str = ""
    committer: str = ""


@dataclass(frozen=True, slots=True)
class ActionRun:
    """A run of an action that lakeFS recorded, once its hooks had ended.

    `branch` is empty for tags; `started_at` is lakeFS's clock in Unix seconds, to the nanosecond.
    """

    event_type: str
    branch: str
    commit_id: str
    started_at: float
