"""lakeFS's events: from the body of its webhook, and to and from JSON as the queue keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from metasync.errors import BadEvent
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType

_LONGEST, _LONGEST_COMMIT = 1024, 64
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
"""What lakeFS takes for a repository's name."""
_FIELDS = tuple(field.name for field in fields(LakeFSEvent))
_OF_TAGS = (EventType.CREATE_TAG, EventType.DELETE_TAG)


def event_from_webhook(body: Any, at: float) -> LakeFSEvent | None:
    """The event of a webhook's JSON body; None for a kind that metasync has no use for.

    `at` (Unix seconds) stands for a time that cannot be read. Raises BadEvent naming the field that is wrong.
    """
    if not isinstance(body, Mapping):
        raise BadEvent("the body is not a JSON object")
    kind, repository = _text(body, "event_type"), _text(body, "repository_id")
    if not repository:
        raise BadEvent("repository_id is missing")
    if not _REPOSITORY.fullmatch(repository):
        raise BadEvent("repository_id is no name that lakeFS gives")
    if len(_text(body, "commit_id")) > _LONGEST_COMMIT:
        raise BadEvent(f"commit_id is longer than {_LONGEST_COMMIT} characters")
    if not kind:
        raise BadEvent("event_type is missing")
    try:
        event_type = EventType(kind)
    except ValueError:
        if kind.startswith(("pre-", "prepare-")):
            return None
        raise BadEvent(f"event_type {kind!r} is not known") from None
    field, ref_type = ("tag_id", RefType.TAG) if event_type in _OF_TAGS else ("branch_id", RefType.BRANCH)
    name = _text(body, field)
    if not name:
        raise BadEvent(f"{field} is missing in a {kind} event")
    if event_type is EventType.MERGE and not _text(body, "commit_id"):
        raise BadEvent("commit_id is missing in a post-merge event")
    return LakeFSEvent(
        type=event_type,
        repository=repository,
        ref=Ref(ref_type, name),
        event_time=_time(_text(body, "event_time"), at),
        source_ref=_text(body, "source_ref"),
        commit_id=_text(body, "commit_id"),
        merge_source=_text(body, "merge_source"),
        committer=_text(body, "committer"),
    )


def event_to_json(event: LakeFSEvent) -> dict[str, Any]:
    """An event as the queue keeps it."""
    # Field by field: `asdict` copies deeply, and this is done for every webhook.
    values = {field: getattr(event, field) for field in _FIELDS}
    return values | {"type": event.type.value, "ref": str(event.ref)}


def event_from_json(value: Mapping[str, Any]) -> LakeFSEvent:
    """The inverse of `event_to_json`."""
    return LakeFSEvent(**{**value, "type": EventType(value["type"]), "ref": Ref.parse(value["ref"])})


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise BadEvent(f"{key} is not a text")
    if not value.isprintable() and key != "commit_message":
        raise BadEvent(f"{key} has characters that no name has")
    if len(value) > _LONGEST and key != "commit_message":
        raise BadEvent(f"{key} is longer than {_LONGEST} characters")
    return value


def _time(text: str, fallback: float) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return fallback
