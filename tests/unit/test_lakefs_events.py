"""lakeFS's webhooks as values."""

import json
from pathlib import Path

import pytest

from metasync.errors import BadEvent
from metasync.lakefs.events import event_from_json, event_from_webhook, event_to_json
from metasync.model.lakefs import EventType, LakeFSEvent, Ref, RefType

RECORDED = sorted((Path(__file__).parents[1] / "recorded" / "lakefs").glob("*.json"))
DEV = Ref(RefType.BRANCH, "dev-1")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_webhook_is_understood(path: Path) -> None:
    for webhook in json.loads(path.read_text())["webhooks"]:
        event = event_from_webhook(webhook["body"], 0.0)
        kind = webhook["body"]["event_type"]
        if kind.startswith(("pre-", "prepare-")):
            assert event is None
        else:
            assert event is not None and event.type.value == kind and event.event_time > 0
            assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "not a JSON object"),
        ({}, "repository_id is missing"),
        ({"repository_id": "lake"}, "event_type is missing"),
        ({"repository_id": "lake", "event_type": "post-party"}, "not known"),
        ({"repository_id": "lake", "event_type": "post-commit"}, "branch_id is missing"),
        ({"repository_id": "lake", "event_type": "post-create-tag", "branch_id": "x"}, "tag_id is missing"),
        ({"repository_id": "lake", "event_type": "post-merge", "branch_id": "main"}, "commit_id is missing"),
        ({"repository_id": 7, "event_type": "post-commit"}, "not a text"),
        ({"repository_id": "lake", "event_type": "post-commit", "branch_id": "x" * 2000}, "longer"),
    ],
)
def test_a_bad_webhook_names_its_field(body: object, words: str) -> None:
    with pytest.raises(BadEvent, match=words):
        event_from_webhook(body, 0.0)


def event(kind: EventType, at: float) -> LakeFSEvent:
    return LakeFSEvent(kind, "lake", DEV, at)
